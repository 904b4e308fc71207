"""What every late scorer promises: token vectors of a query and of items to one score an item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source


@dataclass(frozen=True)
class Tokens:
    """Token vectors of K items, padded to the longest.

    Args:
        vectors: (K, m, d) float32, unit length; what stands in padding does not matter.
        mask: (K, m) true where there is a token.

    Raises:
        DataError: The shapes do not fit, an item has no token, or a token has an entry that is not finite.
    """

    vectors: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 3 or self.mask.shape != self.vectors.shape[:2]:
            raise DataError(
                f"tokens are (K, m, d) with a mask (K, m); found {self.vectors.shape} and {self.mask.shape}"
            )
        if not self.mask.any(axis=1).all():
            row = int(np.flatnonzero(~self.mask.any(axis=1))[0])
            raise DataError(f"item {row} has no token; leave it out, or give it one vector for the whole")
        if not np.isfinite(self.vectors[self.mask]).all():
            row = int(np.flatnonzero((~np.isfinite(self.vectors).all(axis=2) & self.mask).any(axis=1))[0])
            raise DataError(f"tokens of item {row} have entries that are not finite")

    def __len__(self) -> int:
        return len(self.vectors)

    @classmethod
    def of(cls, items: Sequence[NDArray[np.float32]], dim: int | None = None) -> "Tokens":
        """Pad items of (m, d) each.

        Args:
            items: Each item's tokens.
            dim: d, needed when there are no items.

        Raises:
            DataError: Items are of different widths, or one has no token.
        """
        if any(item.ndim != 2 for item in items) or len({item.shape[1] for item in items}) > 1:
            shapes = ", ".join(str(item.shape) for item in items[:4])
            raise DataError(f"every item is (m, d) with one d for all; found {shapes} ...")
        width = items[0].shape[1] if items else dim or 0
        longest = max((len(item) for item in items), default=0)
        vectors = np.zeros((len(items), longest, width), np.float32)
        mask = np.zeros((len(items), longest), bool)
        for row, item in enumerate(items):
            vectors[row, : len(item)] = item
            mask[row, : len(item)] = True
        return cls(vectors, mask)


class LateScorer(Protocol):
    """Compares a query with items token by token, after both were encoded alone."""

    name: ClassVar[str]
    source: ClassVar[Source]

    def __call__(self, query: NDArray[np.float32], items: Tokens) -> NDArray[np.float32]:
        """Return a score per item. Shape (K,), float32, higher is closer.

        Padding takes part in no maximum, mean or sum.

        Args:
            query: (n, d) the query's tokens, unit length, n at least 1.
            items: The items' tokens.

        Raises:
            DataError: The query has no token, another width than the items, or an entry that is not finite.
        """
        ...
