"""Gain discounted by rank, as a share of the best that was possible."""

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.contract import NOWHERE, Ranking


def share_of_ideal(ranking: Ranking, gain: NDArray[np.float64], k: int | None) -> NDArray[np.float64]:
    """Return the discounted gain per query over that of the ideal order. Shape (Q,), in [0, 1].

    Args:
        ranking: Where the relevant items stand.
        gain: (R,) what each of them is worth.
        k: How many places count, in the ideal order too. None: all.
    """
    last = NOWHERE - 1 if k is None else k
    query = np.repeat(np.arange(len(ranking)), ranking.count)
    falling = gain[np.lexsort((-gain, query))]
    ideal = np.arange(len(gain)) - np.repeat(ranking.start[:-1], ranking.count) + 1
    reached, possible = (
        ranking.total(np.where(rank <= last, worth / np.log2(1.0 + rank), 0.0))
        for rank, worth in ((ranking.rank, gain), (ideal, falling))
    )
    return reached / possible


def gains(ranking: Ranking) -> NDArray[np.float64]:
    """Return how relevant each relevant item is; 1 where nobody said. Shape (R,)."""
    return np.ones(len(ranking.rank)) if ranking.gain is None else ranking.gain
