"""Both sides of a space, checked, and rows drawn where all pairs of rows would be too many."""

import numpy as np
from numpy.typing import NDArray

from tasks.similarities._bank import require_vectors


def require_sides(
    media: NDArray[np.float32], text: NDArray[np.float32], *, least: int = 1, paired: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both sides as float32.

    Raises:
        DataError: A side has under `least` vectors, or some are not finite or not of unit length.
        ValueError: Widths differ, or numbers where rows are pairs.
    """
    media = require_vectors("media", media, least=least)
    text = require_vectors("text", text, width=media.shape[1], least=least)
    if paired and len(media) != len(text):
        raise ValueError(f"rows must be pairs, found {len(media)} media and {len(text)} texts")
    return media, text


def drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Return all rows of so many, or `most` of them drawn without replacement; ascending."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).astype(np.int64)
