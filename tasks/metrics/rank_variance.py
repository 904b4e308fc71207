"""Does a thing stand at one rank, whatever the language it is asked for in?

Mean Rank Variance of Nie et al. (2024), "Improving the Consistency in Cross-Lingual Cross-Modal Retrieval with 1-to-K
Contrastive Learning", https://arxiv.org/abs/2406.18254. What its text calls a variance its released code computes as a
standard deviation; here each has its name.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.metrics.contract import NOWHERE


@dataclass(frozen=True)
class RankSpread:
    """How far apart the ranks of one target stand over the ways to ask for it.

    Args:
        target: (T,) targets asked for in at least two ways, ascending.
        variance: (T,) of the ranks of each, over all its ways (population variance), in ranks squared.
        single: Targets left out, for there was one way to ask for them.
    """

    target: NDArray[np.int64]
    variance: NDArray[np.float64]
    single: int

    @property
    def deviation(self) -> NDArray[np.float64]:
        """(T,) standard deviation of the ranks, in ranks."""
        return np.sqrt(self.variance)

    @property
    def rank_var(self) -> float:
        """Mean over targets of the variance."""
        return float(self.variance.mean())

    @property
    def rank_std(self) -> float:
        """Mean over targets of the standard deviation."""
        return float(self.deviation.mean())


def rank_spread(rank: NDArray[np.integer], target: NDArray[np.integer]) -> RankSpread:
    """Return how the ranks of each target spread over the queries that ask for it.

    Args:
        rank: (Q,) rank of the target for each query, such as `Ranking.best`; whether from 0 or 1 is all the same.
        target: (Q,) what each query asks for: queries of one number are one request in several languages or words.

    Raises:
        DataError: No target is asked for in two ways, or one was not found.
        ValueError: Shapes differ.
    """
    if rank.shape != target.shape or rank.ndim != 1:
        raise ValueError(f"rank is {rank.shape} but target is {target.shape}; both must be (Q,)")
    if len(lost := np.flatnonzero(rank >= NOWHERE)):
        raise DataError(f"query {lost[0]} did not find its target; search the whole gallery to know its rank")
    numbers, member, ways = np.unique(target, return_inverse=True, return_counts=True)
    several = ways > 1
    if not several.any():
        raise DataError(
            f"none of {len(numbers)} targets is asked for in two ways; there is nothing to compare"
        )
    value = rank.astype(np.float64)
    mean = np.bincount(member, weights=value) / ways
    variance = np.bincount(member, weights=np.square(value - mean[member])) / ways
    return RankSpread(numbers[several].astype(np.int64), variance[several], int((~several).sum()))
