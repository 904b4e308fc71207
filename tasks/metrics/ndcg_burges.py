"""Gain of the relevant items, discounted by their ranks, where twice as relevant is worth far more."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics._discounted import gains, share_of_ideal
from tasks.metrics.contract import Ranking


@dataclass(frozen=True)
class NDCGBurges:
    """Sum of 2 ** relevance - 1 / log2(1 + rank), over that of the ideal order.

    It equals `ndcg` where relevance is 0 or 1.

    Args:
        k: How many places count. None: all.

    Raises:
        ValueError: k is under 1.
    """

    name: ClassVar[str] = "ndcg-burges"
    source: ClassVar[Source] = Source(
        title="Learning to Rank using Gradient Descent",
        authors="Burges et al.",
        year=2005,
        url="https://doi.org/10.1145/1102351.1102363",
    )
    higher_is_better: ClassVar[bool] = True

    k: int | None = 10

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"k must be at least 1, found {self.k}")

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the share per query. Shape (Q,), float64, in [0, 1]."""
        return share_of_ideal(ranking, 2 ** gains(ranking) - 1, self.k)
