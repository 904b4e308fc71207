"""What every coder promises: vectors of two sides, some of them paired, to codes that can be compared across sides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source

Side = Literal["media", "text"]


@dataclass(frozen=True)
class SemiPaired:
    """Vectors to learn from. Row n of `media_vec` and of `text_vec` are a pair; the others have no partner.

    Args:
        media_vec: (P, D_m) of paired media.
        text_vec: (P, D_t) of paired texts.
        media_only: (M, D_m) of media without a text; M may be 0.
        text_only: (T, D_t) of texts without a medium; T may be 0.

    Raises:
        DataError: The paired sides differ in rows, widths of a side differ, or an entry is not finite.
    """

    media_vec: NDArray[np.float32]
    text_vec: NDArray[np.float32]
    media_only: NDArray[np.float32]
    text_only: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, vectors in vars(self).items():
            if vectors.ndim != 2:
                raise DataError(f"{name} has shape {vectors.shape}; it must be rows of vectors, (N, D)")
            if not np.isfinite(vectors).all():
                row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
                raise DataError(f"{name} has entries that are not finite, the first in row {row}")
        if len(self.media_vec) != len(self.text_vec):
            raise DataError(
                f"{len(self.media_vec)} paired media need as many texts; found {len(self.text_vec)}"
            )
        for side, paired, alone in (
            ("media", self.media_vec, self.media_only),
            ("text", self.text_vec, self.text_only),
        ):
            if paired.shape[1] != alone.shape[1]:
                raise DataError(
                    f"paired {side} are {paired.shape[1]} wide and unpaired ones {alone.shape[1]}; use one encoder a side"
                )

    def __len__(self) -> int:
        return len(self.media_vec)

    def of(self, side: Side) -> NDArray[np.float64]:
        """Return all vectors of a side, the paired first. Shape (P + unpaired, D)."""
        parts = (self.media_vec, self.media_only) if side == "media" else (self.text_vec, self.text_only)
        return np.concatenate(parts).astype(np.float64)


@dataclass(frozen=True)
class Codes:
    """A fitted coder: the bits of a vector x are the signs of (x - mean) @ map; zero counts as positive.

    Args:
        media_mean: (D_m,), float32.
        media_map: (D_m, bits), float32.
        text_mean: (D_t,), float32.
        text_map: (D_t, bits), float32.

    Raises:
        ValueError: The shapes do not fit, or `bits` is no multiple of 8.
    """

    media_mean: NDArray[np.float32]
    media_map: NDArray[np.float32]
    text_mean: NDArray[np.float32]
    text_map: NDArray[np.float32]

    def __post_init__(self) -> None:
        for mean, matrix in ((self.media_mean, self.media_map), (self.text_mean, self.text_map)):
            if matrix.ndim != 2 or mean.shape != matrix.shape[:1]:
                raise ValueError(f"a map (D, bits) needs a mean (D,); found {matrix.shape} and {mean.shape}")
        if self.bits % 8 or not self.bits or self.text_map.shape[1] != self.bits:
            raise ValueError(
                f"both sides need the same multiple of 8 bits; found {self.bits} and {self.text_map.shape[1]}"
            )

    @property
    def bits(self) -> int:
        """Return the length of a code."""
        return self.media_map.shape[1]

    def code(self, side: Side, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return packed codes, the first bit highest. Shape (N, bits / 8), uint8.

        Raises:
            ValueError: `side` is neither media nor text, or the vectors have another width than the side's map.
            DataError: A vector has an entry that is not finite.
        """
        if side not in ("media", "text"):
            raise ValueError(f"side is media or text; found {side!r}")
        mean, matrix = (
            (self.media_mean, self.media_map) if side == "media" else (self.text_mean, self.text_map)
        )
        if vectors.ndim != 2 or vectors.shape[1] != len(mean):
            raise ValueError(f"{side} vectors must be (N, {len(mean)}); found {vectors.shape}")
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise DataError(f"{side} vectors have entries that are not finite, the first in row {row}")
        return np.packbits((vectors.astype(np.float32) - mean) @ matrix >= 0, axis=1)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Return everything there is to keep, by name."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.float32]]) -> "Codes":
        """Return the coder that `state` was taken from.

        Raises:
            DataError: An array is missing.
        """
        names = tuple(cls.__dataclass_fields__)
        if missing := [name for name in names if name not in state]:
            raise DataError(f"the state of a coder needs {', '.join(names)}; {', '.join(missing)} is missing")
        return cls(**{name: state[name] for name in names})


class Coder(Protocol):
    """Learns short binary codes under which a medium and its text are close in Hamming distance."""

    name: ClassVar[str]
    source: ClassVar[Source]

    @property
    def bits(self) -> int:
        """Return the length of a code."""
        ...

    def __call__(self, rows: SemiPaired) -> Codes:
        """Return maps of both sides to `bits` bits, fitted to the rows.

        Raises:
            DataError: There are too few rows to learn from.
        """
        ...
