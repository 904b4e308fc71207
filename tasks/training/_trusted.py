"""How well towers do on pairs that are known to be right: what decides which epoch is kept."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from tasks.training._batches import shows_the_same

_CHUNK = 1024  # rows whose similarities exist at once


class Embeds(Protocol):
    """What brings both sides into one space."""

    def media(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit vectors of media. (N, Dm) to (N, K)."""
        ...

    def text(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit vectors of texts. (N, Dt) to (N, K)."""
        ...


def recall(towers: Embeds, pairs: PairBatch) -> float:
    """Return recall@1, the mean of both directions, in [0, 1].

    A right answer is any text (medium) of a pair that shows the same thing. It must beat every wrong one: a
    tie is a miss, or a head that maps everything to one point would be perfect.
    """
    hits = [np.mean(right > wrong) for right, wrong in _best(towers, pairs)]
    return float(np.mean(hits))


def margin(towers: Embeds, pairs: PairBatch) -> float:
    """Return the best right similarity less the best wrong one, the mean over pairs and directions, in [-2, 2].

    A query without a wrong answer counts 0.
    """
    margins = [np.where(np.isfinite(wrong), right - wrong, 0).mean() for right, wrong in _best(towers, pairs)]
    return float(np.mean(margins))


def _best(towers: Embeds, pairs: PairBatch) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return, for both directions, the highest right and the highest wrong similarity of each query."""
    media, text = towers.media(pairs.media_vec), towers.text(pairs.text_vec)
    everyone = np.arange(len(pairs))
    directions = []
    for queries, gallery in ((media, text), (text, media)):
        right, wrong = np.empty(len(pairs)), np.empty(len(pairs))
        for start in range(0, len(pairs), _CHUNK):
            rows = everyone[start : start + _CHUNK]
            similarity = queries[rows] @ gallery.T  # (<=CHUNK, N)
            same = shows_the_same(pairs, rows, everyone)
            right[rows] = np.where(same, similarity, -np.inf).max(axis=1)
            wrong[rows] = np.where(same, -np.inf, similarity).max(axis=1)
        directions.append((right, wrong))
    return directions
