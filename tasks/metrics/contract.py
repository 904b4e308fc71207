"""What every metric of a ranking promises: one value a query, so that differences can be tested."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source

NOWHERE = 2**62  # rank of an item that was not found: below any that was, and its reciprocal adds nothing


@dataclass(frozen=True)
class Ranking:
    """Where the relevant items of Q queries stand.

    Args:
        rank: (R,) int64, ranks of the relevant items from 1, ascending within a query; `NOWHERE` where an item
            was not found.
        start: (Q + 1,) int64; those of query q are `rank[start[q]:start[q + 1]]`, one at least.
        gain: (R,) float64, how relevant each is, above 0; None: all alike.
    """

    rank: NDArray[np.int64]
    start: NDArray[np.int64]
    gain: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if len(self.start) < 1 or self.start[0] != 0 or self.start[-1] != len(self.rank):
            raise ValueError(f"start must run from 0 to {len(self.rank)}, found {self.start}")
        if (np.diff(self.start) < 1).any():
            raise ValueError(f"query {np.flatnonzero(np.diff(self.start) < 1)[0]} has no relevant item")
        if self.gain is not None and (self.gain.shape != self.rank.shape or not (self.gain > 0).all()):
            raise ValueError(f"gain must be {len(self.rank)} numbers above 0, found {self.gain}")

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def count(self) -> NDArray[np.int64]:
        """(Q,) how many relevant items each query has."""
        return np.diff(self.start)

    def within(self, k: int | NDArray[np.integer]) -> NDArray[np.float64]:
        """Return how many relevant items each query has among its first k. Shape (Q,); k may be (Q,) too."""
        first = np.repeat(np.broadcast_to(np.asarray(k), (len(self),)), self.count)
        return self.total((self.rank <= first).astype(np.float64))

    def total(self, value: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the sum over each query's relevant items of a value a relevant item. Shape (Q,)."""
        return np.add.reduceat(value, self.start[:-1]) if len(self) else np.zeros(0)

    @property
    def best(self) -> NDArray[np.int64]:
        """(Q,) rank of the best relevant item of each query."""
        return self.rank[self.start[:-1]]


class Metric(Protocol):
    """Says of each query how well it was answered."""

    name: ClassVar[str]
    source: ClassVar[Source]
    higher_is_better: ClassVar[bool]

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the metric per query. Shape (Q,), float64."""
        ...
