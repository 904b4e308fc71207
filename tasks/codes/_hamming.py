"""Hamming distances of packed codes: the popcount of what differs."""

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 24  # of differences held at once


def distances(queries: NDArray[np.uint8], gallery: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return how many bits differ between every query and every row of the gallery. Shape (Q, N), uint16.

    bits - 2 x distance is the dot product of the codes read as -1 and +1.

    Args:
        queries: (Q, B) packed codes.
        gallery: (N, B) packed codes.

    Raises:
        ValueError: The codes are not packed (uint8), not of one width, or longer than 65,535 bits.
    """
    if queries.dtype != np.uint8 or gallery.dtype != np.uint8:
        raise ValueError(f"codes are packed, uint8; found {queries.dtype} and {gallery.dtype}")
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"codes of one width, (Q, B) and (N, B); found {queries.shape} and {gallery.shape}")
    if 8 * queries.shape[1] > np.iinfo(np.uint16).max:
        raise ValueError(f"codes have at most 65,535 bits; found {8 * queries.shape[1]}")
    found = np.empty((len(queries), len(gallery)), np.uint16)
    block = max(1, BLOCK_BYTES // max(1, gallery.size))
    for start in range(0, len(queries), block):
        differ = queries[start : start + block, None, :] ^ gallery[None]
        found[start : start + block] = np.bitwise_count(differ).sum(axis=2, dtype=np.uint16)
    return found


def nearest(
    queries: NDArray[np.uint8], gallery: NDArray[np.uint8], k: int
) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Return rows of the gallery nearest to each query, and their distances. Each (Q, min(k, N)).

    Exact. Of equal distances the smaller row comes first.

    Raises:
        ValueError: `k` is under 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1; found {k}")
    found = distances(queries, gallery)
    rows = np.argsort(found, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(found, rows, axis=1)
