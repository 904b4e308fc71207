"""Precision where it could be perfect and recall too."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics.contract import Ranking


@dataclass(frozen=True)
class RPrecision:
    """The share of relevant items among the first R, where R is how many the query has."""

    name: ClassVar[str] = "r-precision"
    source: ClassVar[Source] = Source(
        title="Introduction to Information Retrieval, section 8.4",
        authors="Manning et al.",
        year=2008,
        url="https://nlp.stanford.edu/IR-book/html/htmledition/evaluation-of-ranked-retrieval-results-1.html",
    )
    higher_is_better: ClassVar[bool] = True

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the share per query. Shape (Q,), float64, in [0, 1]."""
        return ranking.within(ranking.count) / ranking.count
