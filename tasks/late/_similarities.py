"""Every token of a query against every token of every item, a block of items at a time."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.late.contract import Tokens

Floats = NDArray[np.float64]
BLOCK = 1 << 22  # cosines held at once


def scored(
    query: NDArray[np.float32], items: Tokens, score: Callable[[Floats, NDArray[np.bool_]], Floats]
) -> NDArray[np.float32]:
    """Return what `score` makes of each block of items. Shape (K,), float32.

    Sums are taken in float64 and rounded last, so that an item scores the same whatever it is padded to.

    Args:
        query: (n, d).
        items: K items.
        score: From cosines (K', m, n) and the mask (K', m) to scores (K',).

    Raises:
        DataError: The query has no token, another width than the items, or an entry that is not finite.
    """
    if query.ndim != 2 or not len(query) or (len(items) and query.shape[1] != items.vectors.shape[2]):
        raise DataError(
            f"a query has tokens (n, {items.vectors.shape[2]}), at least one; found shape {query.shape}"
        )
    if not np.isfinite(query).all():
        raise DataError("tokens of the query have entries that are not finite")
    found = np.empty(len(items), np.float32)
    step = max(1, BLOCK // max(1, items.mask.shape[1] * len(query)))
    for start in range(0, len(items), step):
        rows = slice(start, start + step)
        mask = items.mask[rows]
        tokens = items.vectors[rows]
        if not mask.all():
            tokens = np.where(mask[:, :, None], tokens, 0)  # padding may hold anything
        found[rows] = score(tokens.astype(np.float64) @ query.T.astype(np.float64), mask)
    return found


def best_of_item(cosines: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Return each query token's largest cosine with a token of the item. (K, n)."""
    return np.where(mask[:, :, None], cosines, -np.inf).max(axis=1)


def mean_of_item(values: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Return the mean over an item's tokens of values (K, m). (K,)."""
    return np.asarray(np.where(mask, values, 0).sum(axis=1) / mask.sum(axis=1))
