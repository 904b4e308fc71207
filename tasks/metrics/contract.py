"""What every metric of a ranking promises: one value a query, so that differences can be tested."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source


@dataclass(frozen=True)
class Ranking:
    """Where the relevant items of Q queries stand.

    Args:
        rank: (R,) int64, ranks of the relevant items from 1, ascending within a query.
        start: (Q + 1,) int64; those of query q are `rank[start[q]:start[q + 1]]`, one at least.
    """

    rank: NDArray[np.int64]
    start: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.start) < 1 or self.start[0] != 0 or self.start[-1] != len(self.rank):
            raise ValueError(f"start must run from 0 to {len(self.rank)}, found {self.start}")
        if (np.diff(self.start) < 1).any():
            raise ValueError(f"query {np.flatnonzero(np.diff(self.start) < 1)[0]} has no relevant item")

    def __len__(self) -> int:
        return len(self.start) - 1

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
