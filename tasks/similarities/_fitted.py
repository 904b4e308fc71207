"""What fitted similarities share: checks, and a score less what is known of the item."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.similarities.contract import State


@dataclass(frozen=True)
class Lowered:
    """The similarity less a number an item.

    Args:
        lowered: (G,) float32.
    """

    lowered: NDArray[np.float32]

    def state(self) -> State:
        """Return `lowered`."""
        return {"lowered": self.lowered}

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return what the state was taken of."""
        (lowered,) = per_item(state, "lowered")
        return cls(lowered)

    def gallery(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors as they are."""
        require_items(vectors, len(self.lowered))
        return vectors

    def __call__(
        self, similarity: NDArray[np.float32], rows: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return similarity - lowered[rows]. Shape (Q, K)."""
        require_candidates(similarity, rows, len(self.lowered))
        return np.asarray(similarity - self.lowered[rows], dtype=np.float32)


def require_candidates(
    similarity: NDArray[np.floating[Any]], rows: NDArray[np.integer[Any]], items: int
) -> None:
    """Refuse candidates that are not.

    Raises:
        DataError: A similarity is not finite.
        ValueError: Shapes differ, or a row is none of the gallery's.
    """
    if similarity.ndim != 2 or similarity.shape != rows.shape:
        raise ValueError(f"similarity is {similarity.shape} and rows are {rows.shape}; both must be (Q, K)")
    if not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"rows must be integers, found {rows.dtype}")
    if rows.size and (rows.min() < 0 or rows.max() >= items):
        raise ValueError(
            f"rows must be 0 to {items - 1}, positions in the gallery the similarity was fitted on; "
            f"found {rows.min()} to {rows.max()}"
        )
    if len(broken := np.flatnonzero(~np.isfinite(similarity).all(axis=1))):
        raise DataError(f"similarities of query {broken[0]} are not finite; embed it again")


def require_items(vectors: NDArray[np.floating[Any]], items: int, width: int | None = None) -> None:
    """Refuse vectors of another gallery.

    Raises:
        ValueError: There are more or fewer, or they have another width.
    """
    if vectors.ndim != 2 or len(vectors) != items or width not in (None, vectors.shape[1]):
        raise ValueError(
            f"vectors are {vectors.shape} but the similarity was fitted on {items} of {width or 'any'} width; "
            "fit it to this gallery"
        )


def wanted(state: Mapping[str, NDArray[Any]], *names: str) -> list[NDArray[Any]]:
    """Return some arrays of a state.

    Raises:
        DataError: One is missing.
    """
    if missing := [name for name in names if name not in state]:
        raise DataError(f"the state lacks {missing[0]!r}, it has {', '.join(sorted(state))}; fit it again")
    return [np.asarray(state[name]) for name in names]


def per_item(state: Mapping[str, NDArray[Any]], *names: str) -> list[NDArray[Any]]:
    """Return some arrays of a state that have one entry an item.

    Raises:
        DataError: One is missing, or they differ in length.
    """
    found = wanted(state, *names)
    shapes = {array.shape for array in found}
    if len(shapes) != 1 or found[0].ndim != 1:
        raise DataError(f"{', '.join(names)} must be (G,) each, found {sorted(shapes)}; fit it again")
    return found
