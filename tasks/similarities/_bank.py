"""Similarities of a bank with a gallery, block by block, and what is kept of them for each item."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

ENTRIES = 1 << 22  # similarities that exist at once; at most 150 MB with what is computed from them
_CHUNK = 8192  # vectors checked at once
_UNIT = 1e-2  # a stored half float is off by less


def require_vectors(
    what: str, vectors: NDArray[Any], *, width: int | None = None, least: int = 1
) -> NDArray[np.float32]:
    """Return unit vectors as float32, checked.

    Args:
        what: What they are, for the message: "gallery" ...
        vectors: (N, D).
        width: D that is asked for; any by default.
        least: N at least.

    Raises:
        DataError: There are too few, or one is not finite or not of unit length.
        ValueError: The shape is another.
    """
    if vectors.ndim != 2 or (width is not None and vectors.shape[1] != width):
        wanted = "(N, D)" if width is None else f"(N, {width})"
        raise ValueError(f"{what} vectors must be {wanted}, found {vectors.shape}")
    if len(vectors) < least:
        raise DataError(f"{what} has {len(vectors)} vectors but {least} are needed; embed some first")
    for start in range(0, len(vectors), _CHUNK):
        norm = np.linalg.norm(vectors[start : start + _CHUNK].astype(np.float64), axis=1)
        if len(broken := np.flatnonzero(~np.isfinite(norm))):
            raise DataError(f"the {what} vector of row {start + broken[0]} is not finite; embed it again")
        if len(broken := np.flatnonzero(np.abs(norm - 1) > _UNIT)):
            raise DataError(
                f"the {what} vector of row {start + broken[0]} has length {norm[broken[0]]:.4g}; "
                "divide vectors by their lengths"
            )
    return np.asarray(vectors, dtype=np.float32)


def blocks(
    bank: NDArray[np.float32], gallery: NDArray[np.float32], *, own: bool = False
) -> Iterator[NDArray[np.float32]]:
    """Yield the similarities of some rows of the bank, in order, with all of the gallery. Each (<=B, G).

    Args:
        bank: (B, D).
        gallery: (G, D).
        own: Bank and gallery are the same, and an item's similarity with itself is -inf.
    """
    rows = max(1, ENTRIES // max(1, len(gallery)))
    for start in range(0, len(bank), rows):
        block = bank[start : start + rows] @ gallery.T
        if own:
            own_rows = np.arange(len(block))
            block[own_rows, start + own_rows] = -np.inf
        yield block


def soft_maximum(
    bank: NDArray[np.float32], gallery: NDArray[np.float32], beta: float, *, own: bool = False
) -> NDArray[np.float64]:
    """Return log(mean over the bank of exp(beta s)) / beta of each item. Shape (G,); 0 where the bank is empty.

    It is a similarity: the mean of the bank's for small beta, their maximum for large.

    Args:
        bank: (B, D).
        gallery: (G, D).
        beta: Positive.
        own: As in `blocks`.
    """
    count = len(bank) - own
    if count < 1:
        return np.zeros(len(gallery))
    top = np.full(len(gallery), -np.inf)
    total = np.zeros(len(gallery))
    for block in blocks(bank, gallery, own=own):
        top, total = add_exponentials(top, total, beta * block.astype(np.float64))
    return (np.log(total) + top - np.log(count)) / beta


def add_exponentials(
    top: NDArray[np.float64], total: NDArray[np.float64], logits: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (top, total) with total * exp(top) increased by the sum over rows of exp(logits). Both (G,).

    Args:
        top: (G,) largest logit so far; -inf where there is none.
        total: (G,) sum of exp(logit - top) so far.
        logits: (B, G); -inf adds nothing.
    """
    higher = np.maximum(top, logits.max(axis=0))
    shift = np.where(np.isfinite(higher), higher, 0)  # -inf less -inf is no number
    return higher, total * np.exp(top - shift) + np.exp(logits - shift).sum(axis=0)


def nearest_mean(bank: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """Return the mean of the k highest similarities each item has with the bank; of all, if fewer. Shape (G,)."""
    best = np.empty((0, len(gallery)), dtype=np.float32)
    for block in blocks(bank, gallery):
        seen = np.concatenate([best, block])
        best = seen if len(seen) <= k else np.partition(seen, -k, axis=0)[-k:]
    best.sort(axis=0)  # the order of a sum is in its last bit
    return best.mean(axis=0, dtype=np.float64)


def activated(
    bank: NDArray[np.float32], gallery: NDArray[np.float32], k: int, *, own: bool = False
) -> NDArray[np.bool_]:
    """Return which items are among the k nearest of some row of the bank. Shape (G,); ties: smaller rows first."""
    found = np.zeros(len(gallery), dtype=np.bool_)
    for block in blocks(bank, gallery, own=own):
        found |= (among_nearest(block, k) & np.isfinite(block)).any(axis=0)
    return found


def among_nearest(similarity: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Return which entries are among the k highest of their row; of equal ones the first. Shape (Q, G)."""
    if k >= similarity.shape[1]:
        return np.ones(similarity.shape, dtype=np.bool_)
    edge = np.partition(similarity, -k, axis=1)[:, -k, None]
    above = similarity > edge
    left = k - above.sum(axis=1, keepdims=True)
    tied = similarity == edge
    return np.asarray(above | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= left)))
