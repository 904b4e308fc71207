"""How many media of a gallery a text fits better, as well, and worse than its own."""

import numpy as np
from numpy.typing import NDArray

from tasks.assessors._vectors import TIE

_ROWS = 512  # texts whose similarities exist at once
_COLUMNS = 4096  # media they are compared with at once


def rivals(
    text: NDArray[np.float32],
    similarity: NDArray[np.float32],
    own: NDArray[np.int64],
    gallery: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the other media a text fits better than its own, and as well as its own.

    Memory stays flat: at most `_ROWS` x `_COLUMNS` similarities exist at once.

    Args:
        text: (N, D) unit vectors.
        similarity: (N,) cosine of each text with its own medium.
        own: (N,) row of the gallery that is no rival.
        gallery: (M, D) unit vectors.

    Returns:
        better: (N,) number of rivals with a higher cosine.
        equal: (N,) number of rivals with the same, but for rounding.
    """
    better, equal = np.zeros(len(text), dtype=np.int64), np.zeros(len(text), dtype=np.int64)
    for first in range(0, len(text), _ROWS):
        rows = slice(first, first + _ROWS)
        mine = similarity[rows, None]
        for start in range(0, len(gallery), _COLUMNS):
            columns = gallery[start : start + _COLUMNS]
            margin = text[rows] @ columns.T - mine  # (<=ROWS, <=COLUMNS)
            inside = np.flatnonzero((own[rows] >= start) & (own[rows] < start + len(columns)))
            margin[inside, own[rows][inside] - start] = -np.inf
            better[rows] += (margin > TIE).sum(axis=1)
            equal[rows] += (np.abs(margin) <= TIE).sum(axis=1)
    return better, equal
