"""Share of queries with a relevant item among the first few."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics.contract import Ranking


@dataclass(frozen=True)
class Recall:
    """1 where any relevant item is among the first k, else 0: image-text retrieval's R@k.

    Args:
        k: How many places count.

    Raises:
        ValueError: k is under 1.
    """

    name: ClassVar[str] = "recall"
    source: ClassVar[Source] = Source(
        title="Framing Image Description as a Ranking Task: Data, Models and Evaluation Metrics",
        authors="Hodosh et al.",
        year=2013,
        url="https://doi.org/10.1613/jair.3994",
        departs="identical texts and near-duplicate media are relevant too, and each counts once",
    )
    higher_is_better: ClassVar[bool] = True

    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, found {self.k}")

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return 0 or 1 per query. Shape (Q,), float64."""
        return self.of(ranking.best)

    def of(self, rank: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return 0 or 1 per query from the ranks of their best relevant items. Shape (Q,), float64."""
        return (rank <= self.k).astype(np.float64)
