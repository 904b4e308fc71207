"""Groups of pairs that must not be told apart, and folds that respect them."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from schemas.batch import PairBatch


def group_of(pairs: PairBatch) -> NDArray[np.int64]:
    """Return the group of each pair: as given, else pairs with one medium or one text, else each its own.

    Returns:
        (N,) group numbers.
    """
    if pairs.group is not None:
        return pairs.group
    keys = [key for key in (pairs.media_key, pairs.text_key) if key is not None]
    return connected(*keys) if keys else np.arange(len(pairs), dtype=np.int64)


def connected(*labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one group per pair; pairs that share a value of any label, also through others, are together.

    With the medium's near-duplicate cluster and the text as labels, this is `PairBatch.group`.

    Args:
        labels: Each (N,), integers of any size.

    Returns:
        (N,) group numbers from 0.

    Example:
        >>> connected(np.array([7, 7, 8, 9]), np.array([1, 2, 2, 3]))
        array([0, 0, 0, 1])
    """
    found = _numbered(labels[0])
    for label in labels[1:]:
        found = _joined(found, _numbered(label))
    first = np.empty(int(found.max(initial=-1)) + 1, dtype=np.int64)
    first[found[::-1]] = np.arange(len(found))[::-1]  # of equal places the last one written stays
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[found]


def counted(label: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return numbers from 0 without gaps, in the labels' order, (N,), and how often each stands there, (K,)."""
    if not len(label) or label.min() < 0 or label.max() > 4 * len(label):
        _, number, count = np.unique(label, return_inverse=True, return_counts=True)
        return number.astype(np.int64, copy=False), count
    count = np.bincount(label)  # a sort would hold five times as much
    there = count > 0
    return label if there.all() else (np.cumsum(there) - 1)[label], count[there]


def _numbered(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers from 0 without gaps, equal where the labels are."""
    return counted(label)[0]


def _joined(group: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return groups joined where a label is shared; both are numbers from 0 without gaps, and so is what is returned."""
    groups, values = (int(numbers.max(initial=-1)) + 1 for numbers in (group, label))
    if values == len(label):  # each its own: nothing is shared
        return group
    if groups == len(group):
        return label
    kind = np.int32 if groups + values < np.iinfo(np.int32).max else np.int64
    ends = (group.astype(kind), (label + groups).astype(kind))  # a node per group and one per value
    graph = coo_array((np.ones(len(group), dtype=np.int8), ends), shape=(groups + values,) * 2)
    component = connected_components(graph, directed=False)[1]
    return component[:groups][group].astype(np.int64)


def folds_of(group: NDArray[np.int64], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the fold of each pair, 0 to folds - 1; pairs of one group share it.

    Groups are shuffled, then dealt largest first, so that folds are of like size unless one group is huge.

    Args:
        group: (N,) group of each pair.
        folds: Number of folds, at most the number of groups.
        rng: Shuffles the groups.
    """
    member, size = counted(group)
    shuffled = rng.permutation(len(size))
    dealt = shuffled[np.argsort(-size[shuffled], kind="stable")]
    fold = np.empty(len(size), dtype=np.int64)
    fold[dealt] = np.arange(len(size)) % folds
    return fold[member]
