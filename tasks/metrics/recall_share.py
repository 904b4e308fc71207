"""Share of the relevant items among the first few."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics.contract import Ranking


@dataclass(frozen=True)
class RecallShare:
    """The share of a query's relevant items that is among the first k: recall as search engines have it.

    `recall` is 1 as soon as one is. The two agree where every query has one relevant item.

    Args:
        k: How many places count.

    Raises:
        ValueError: k is under 1.
    """

    name: ClassVar[str] = "recall-share"
    source: ClassVar[Source] = Source(
        title="Introduction to Information Retrieval, section 8.3",
        authors="Manning et al.",
        year=2008,
        url="https://nlp.stanford.edu/IR-book/html/htmledition/evaluation-of-unranked-retrieval-sets-1.html",
        departs="of the first k; queries without a relevant item are left out, where trec_eval says 0",
    )
    higher_is_better: ClassVar[bool] = True

    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, found {self.k}")

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the share per query. Shape (Q,), float64, in [0, 1]."""
        return ranking.within(self.k) / ranking.count
