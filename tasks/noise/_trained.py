"""What scorers that train heads share: what the heads see, when they cannot tell, whom a pair competes with."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from tasks.noise._groups import folds_of, group_of

if TYPE_CHECKING:
    from tasks.training.towers import Towers

FEWEST_GROUPS = 16  # below, a head has nothing to learn from, and a pair hardly a competitor

_CHUNK = 512  # rows whose similarities exist at once
_ROWS = 8192  # rows a covariance is summed over at once


def for_heads(pairs: PairBatch, components: int, *, seed: int) -> PairBatch:
    """Return the pairs with each side brought to its leading principal components, and their groups.

    With more entries than there are pairs a head learns every pair by heart within a few passes, the wrong
    ones too. Each entry is standardised first; the components keep their spread, but are turned at random:
    a tower standardises its input, which would blow up the last of them to the size of the first.

    Args:
        pairs: Pairs, finite.
        components: Components kept of a side; all there are, if fewer.
        seed: Seed of the turn.
    """
    media_turn, text_turn = (np.random.default_rng((seed, side)) for side in range(2))
    return replace(
        pairs,
        media_vec=_leading(pairs.media_vec, components, media_turn),
        text_vec=_leading(pairs.text_vec, components, text_turn),
        group=group_of(pairs),
        common=False,
    )


def can_tell(pairs: PairBatch) -> bool:
    """Return whether there are groups enough to learn from."""
    return len(np.unique(group_of(pairs))) >= FEWEST_GROUPS


def _leading(vectors: NDArray[np.float32], components: int, rng: np.random.Generator) -> NDArray[np.float32]:
    dim = vectors.shape[1]
    if not len(vectors):
        return np.zeros((0, min(components, dim)), dtype=np.float32)
    mean, spread = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    # An entry that hardly moves is no news, and its rounding would be blown up to the size of the others.
    floor = max(1e-2 * float(np.sqrt((spread**2).mean())), 1e-6)
    mean, scale = mean.astype(np.float32), np.maximum(spread, floor).astype(np.float32)
    covariance = np.zeros((dim, dim))
    for start in range(0, len(vectors), _ROWS):
        rows = (vectors[start : start + _ROWS] - mean) / scale
        covariance += rows.T @ rows
    kept = np.linalg.eigh(covariance)[1][:, max(dim - components, 0) :]
    turn = np.linalg.qr(rng.normal(size=(kept.shape[1], kept.shape[1])))[0]
    project = (kept @ turn).astype(np.float32)
    return np.concatenate(
        [
            ((vectors[start : start + _ROWS] - mean) / scale) @ project
            for start in range(0, len(vectors), _ROWS)
        ]
    ).astype(np.float32)


def learned_and_judged(
    group: NDArray[np.int64], folds: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows to train on and rows to score by it; one fold: all rows, both times.

    Args:
        group: (N,) group of each pair; none is on both sides.
        folds: Number of folds.
        rng: Deals the groups.
    """
    rows = np.arange(len(group), dtype=np.int64)
    if folds == 1:
        yield rows, rows
        return
    fold = folds_of(group, folds, rng)
    for held_out in range(folds):
        yield rows[fold != held_out], rows[fold == held_out]


def passes(rows: int, batch_size: int, steps: int) -> int:
    """Return the passes over so many rows that make at least so many steps.

    Args:
        rows: Rows, at least 1.
        batch_size: Rows per step.
        steps: Wanted.
    """
    return math.ceil(steps / math.ceil(rows / batch_size))


def mean_of_rivals(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    query_group: NDArray[np.int64],
    gallery_group: NDArray[np.int64],
    of: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Return the mean of a function of the cosine, over rows of the gallery of another group. Shape (N,).

    Args:
        queries: (N, K) unit vectors.
        gallery: (R, K) unit vectors.
        query_group: (N,) groups.
        gallery_group: (R,) groups.
        of: Applied to cosines, entry by entry.

    Returns:
        The means; NaN where nothing competes.
    """
    means = np.zeros(len(queries))
    for start in range(0, len(queries), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        rival = query_group[chunk, None] != gallery_group  # (<=CHUNK, R)
        values = np.where(rival, of(queries[chunk] @ gallery.T), 0)
        count = rival.sum(axis=1)
        means[chunk] = np.where(
            count > 0, values.sum(axis=1, dtype=np.float64) / np.maximum(count, 1), np.nan
        )
    return means


def both_ways(
    towers: "Towers",
    pairs: PairBatch,
    rows: NDArray[np.int64],
    *,
    rivals: NDArray[np.int64],
    of: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a function of the cosine of each pair, and its means over rival texts and over rival media.

    Args:
        towers: Bring both sides into one space.
        pairs: All pairs, with groups.
        rows: (M,) pairs judged.
        rivals: (R,) pairs whose texts and media compete.
        of: Applied to cosines, entry by entry.

    Returns:
        Own, of rival texts, of rival media; each (M,); the means are NaN where nothing competes.
    """
    group = group_of(pairs)
    media, text = towers.media(pairs.media_vec[rows]), towers.text(pairs.text_vec[rows])
    rival_media, rival_text = towers.media(pairs.media_vec[rivals]), towers.text(pairs.text_vec[rivals])
    own = of(np.einsum("nk,nk->n", media, text)).astype(np.float64)
    return (
        own,
        mean_of_rivals(media, rival_text, group[rows], group[rivals], of),
        mean_of_rivals(text, rival_media, group[rows], group[rivals], of),
    )
