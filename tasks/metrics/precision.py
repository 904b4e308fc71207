"""Share of relevant items among the first few."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics.contract import Ranking


@dataclass(frozen=True)
class Precision:
    """The share of the first k places that a relevant item holds; a place that nothing holds counts as wrong.

    Args:
        k: How many places count.

    Raises:
        ValueError: k is under 1.
    """

    name: ClassVar[str] = "precision"
    source: ClassVar[Source] = Source(
        title="Introduction to Information Retrieval, section 8.4",
        authors="Manning et al.",
        year=2008,
        url="https://nlp.stanford.edu/IR-book/html/htmledition/evaluation-of-ranked-retrieval-results-1.html",
    )
    higher_is_better: ClassVar[bool] = True

    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, found {self.k}")

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the share per query. Shape (Q,), float64, in [0, 1]."""
        return ranking.within(self.k) / self.k
