"""Rows in seeded batches, and which of them show the same thing."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch

if TYPE_CHECKING:
    from torch import Tensor


def shuffled_batches(
    rows: NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the rows in random batches, every row once.

    A last batch of one row would have no negatives; it joins the batch before.
    """
    order = rng.permutation(rows)
    cuts = list(range(batch_size, len(order), batch_size))
    if cuts and len(order) - cuts[-1] == 1:
        cuts.pop()
    return np.split(order, cuts)


def shows_the_same(
    pairs: PairBatch, rows: NDArray[np.int64], columns: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Return which pairs share a group, a medium or a text, so that one's text is no wrong answer to the other.

    Args:
        pairs: All pairs.
        rows: (R,) rows of them.
        columns: (C,) rows of them; `rows` if None.

    Returns:
        (R, C) bool; a row is the same as itself.
    """
    across = rows if columns is None else columns
    same = np.equal.outer(rows, across)
    for key in (pairs.group, pairs.media_key, pairs.text_key):
        if key is not None:
            same |= np.equal.outer(key[rows], key[across])
    return same


def same_tensor(pairs: PairBatch, rows: NDArray[np.int64]) -> "Tensor":
    """Return `shows_the_same` of a batch as losses take it. (B, B) bool."""
    import torch

    return torch.from_numpy(shows_the_same(pairs, rows))
