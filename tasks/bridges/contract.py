"""What every bridge promises: vectors of a new encoder in, unit vectors in the old one's space out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """N items of which both encoders have vectors, row i of both arrays being item i.

    Args:
        new: (N, D') unit vectors of the new encoder, float32.
        old: (N, D) unit vectors of the old one.
        weight: (N,) not negative; how much each counts. None: all alike.

    Raises:
        ValueError: Shapes do not fit.
        DataError: There is no row, a vector is not finite, or a weight is negative or not finite.
    """

    new: Vectors
    old: Vectors
    weight: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.new.ndim != 2 or self.old.ndim != 2 or len(self.new) != len(self.old):
            raise ValueError(f"new is {self.new.shape} but old is {self.old.shape}; both must be (N, D)")
        if not len(self.new):
            raise DataError("a bridge needs items that both encoders have vectors of; found none")
        for side, vectors in (("new", self.new), ("old", self.old)):
            broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if len(broken):
                raise DataError(
                    f"{len(broken)} {side} vectors are not finite, first in row {broken[0]}; embed again"
                )
        if self.weight is None:
            return
        if self.weight.shape != (len(self.new),):
            raise ValueError(f"weight is {self.weight.shape} but there are {len(self.new)} rows")
        if not (np.isfinite(self.weight).all() and (self.weight >= 0).all() and self.weight.any()):
            raise DataError("weights must be finite and not negative, and one of them positive")

    def __len__(self) -> int:
        return len(self.new)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights with a sum of 1. (N,)."""
        weight = np.ones(len(self)) if self.weight is None else self.weight.astype(np.float64)
        share: NDArray[np.float64] = weight / weight.sum()
        return share

    def joined(self, other: Self, weight: float) -> "Rows":
        """Return these rows and `other`'s, which together count `weight` times as much as these together."""
        share = np.concatenate([self.weights, weight * other.weights]).astype(np.float32)
        return Rows(
            np.concatenate([self.new, other.new]), np.concatenate([self.old, other.old]), weight=share
        )


@dataclass(frozen=True)
class Crossing:
    """A fitted bridge: unit((x - centre) A + max(0, (x - centre) B + b) C + offset).

    Args:
        matrix: A, (D', D).
        centre: (D',).
        offset: (D,).
        inner: B, (D', H), of a hidden layer; None: there is none.
        bias: b, (H,).
        outer: C, (H, D).
    """

    matrix: Vectors
    centre: Vectors
    offset: Vectors
    inner: Vectors | None = None
    bias: Vectors | None = None
    outer: Vectors | None = None

    def __post_init__(self) -> None:
        wide, narrow = self.matrix.shape
        if self.centre.shape != (wide,) or self.offset.shape != (narrow,):
            raise ValueError(
                f"matrix is {self.matrix.shape}, but centre {self.centre.shape} and offset {self.offset.shape}"
            )

    def __call__(self, new: Vectors) -> Vectors:
        """Return where the new encoder's vectors lie for the old one. (Q, D') to (Q, D), float32, unit length.

        Raises:
            ValueError: The vectors have another width than the bridge was fitted on.
            DataError: A vector is not finite, or nothing of it reaches the old space.
        """
        if new.ndim != 2 or new.shape[1] != len(self.matrix):
            raise ValueError(
                f"vectors are {new.shape} but this bridge was fitted on (N, {len(self.matrix)}); "
                "encode with the encoder it leads from"
            )
        centred = new - self.centre
        found = centred @ self.matrix + self.offset
        if self.inner is not None and self.bias is not None and self.outer is not None:
            found = found + np.maximum(centred @ self.inner + self.bias, 0) @ self.outer
        length = np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True)
        lost = np.flatnonzero(~(length[:, 0] > 1e-9))
        if len(lost):
            raise DataError(
                f"row {lost[0]} has no direction in the old space (length {length[lost[0], 0]:g}); "
                "it is not finite, or unlike all that the bridge learnt from"
            )
        unit: Vectors = (found / length).astype(np.float32)
        return unit

    def state(self) -> dict[str, Vectors]:
        """Return the arrays by name."""
        return {name: array for name, array in vars(self).items() if array is not None}

    @classmethod
    def from_state(cls, state: Mapping[str, Vectors]) -> Self:
        """Return the crossing that `state` was taken from.

        Raises:
            DataError: Arrays are missing, or there are others.
        """
        try:
            return cls(**state)
        except (TypeError, ValueError) as error:
            raise DataError(f"the arrays {sorted(state)} are no bridge: {error}") from error


class Bridge(Protocol):
    """Learns to lead a new encoder's queries into the space of old vectors."""

    name: ClassVar[str]
    source: ClassVar[Source]

    def fit(self, rows: Rows, *, seed: int = 0) -> Crossing:
        """Return the crossing learnt from items both encoders know: texts, and media where some were encoded anew.

        Raises:
            DataError: The rows allow none.
        """
        ...
