"""Precision at every relevant item, averaged; its mean over queries is mAP."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics.contract import NOWHERE, Ranking


@dataclass(frozen=True)
class AveragePrecision:
    """Mean, over the relevant items, of the share of relevant ones among those up to it.

    Args:
        k: How many places count; items below are as if not found. None: all.

    Raises:
        ValueError: k is under 1.
    """

    name: ClassVar[str] = "average-precision"
    source: ClassVar[Source] = Source(
        title="Introduction to Information Retrieval, section 8.4",
        authors="Manning et al.",
        year=2008,
        url="https://nlp.stanford.edu/IR-book/html/htmledition/evaluation-of-ranked-retrieval-results-1.html",
        departs="ties as the ranking has them",
    )
    higher_is_better: ClassVar[bool] = True

    k: int | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"k must be at least 1, found {self.k}")

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the average precision per query. Shape (Q,), float64, in [0, 1]; 0 where nothing was found."""
        count = ranking.count
        nth = np.arange(len(ranking.rank)) - np.repeat(ranking.start[:-1], count) + 1
        counted = ranking.rank < NOWHERE if self.k is None else ranking.rank <= self.k
        return ranking.total(np.where(counted, nth / ranking.rank, 0.0)) / count
