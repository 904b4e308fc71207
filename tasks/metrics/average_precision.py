"""Precision at every relevant item, averaged; its mean over queries is mAP."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics.contract import Ranking


@dataclass(frozen=True)
class AveragePrecision:
    """Mean, over the relevant items, of the share of relevant ones among those up to it."""

    name: ClassVar[str] = "average-precision"
    source: ClassVar[Source] = Source(
        title="Introduction to Information Retrieval, section 8.4",
        authors="Manning et al.",
        year=2008,
        url="https://nlp.stanford.edu/IR-book/html/htmledition/evaluation-of-ranked-retrieval-results-1.html",
        departs="ties go to items that are not relevant",
    )
    higher_is_better: ClassVar[bool] = True

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the average precision per query. Shape (Q,), float64, in (0, 1]."""
        if len(ranking) == 0:
            return np.zeros(0)
        count = np.diff(ranking.start)
        nth = np.arange(len(ranking.rank)) - np.repeat(ranking.start[:-1], count) + 1
        return np.add.reduceat(nth / ranking.rank, ranking.start[:-1]) / count
