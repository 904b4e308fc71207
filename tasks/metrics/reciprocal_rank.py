"""One over the rank of the first relevant item; its mean over queries is MRR."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics.contract import NOWHERE, Ranking


@dataclass(frozen=True)
class ReciprocalRank:
    """One over the rank of the first relevant item, 0 where it is not among the first k.

    Args:
        k: How many places count. None: all.

    Raises:
        ValueError: k is under 1.
    """

    name: ClassVar[str] = "reciprocal-rank"
    source: ClassVar[Source] = Source(
        title="The TREC-8 Question Answering Track Report",
        authors="Voorhees",
        year=1999,
        url="https://trec.nist.gov/pubs/trec8/papers/qa_report.pdf",
    )
    higher_is_better: ClassVar[bool] = True

    k: int | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"k must be at least 1, found {self.k}")

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the reciprocal per query. Shape (Q,), float64, in [0, 1]."""
        counted = ranking.best < NOWHERE if self.k is None else ranking.best <= self.k
        return np.where(counted, 1 / ranking.best, 0.0)
