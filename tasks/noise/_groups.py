"""Groups of pairs that must not be told apart, and folds that respect them."""

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.batch import PairBatch, chunks, empty_on_disk, index_dtype, row_numbers

_CHUNK = 65_536  # rows looked up at once


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
    first = _first(found)
    is_first = np.zeros(len(found), dtype=bool)
    is_first[first] = True
    rank = (np.cumsum(is_first, dtype=index_dtype(len(found))) - 1)[first]
    return _picked(rank, found)


def counted(label: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return numbers from 0 without gaps, in the labels' order, (N,), and how often each stands there, (K,)."""
    if not len(label) or label.min() < 0 or label.max() > 4 * len(label):
        ordered = np.sort(label)
        starts = np.flatnonzero(np.r_[np.ones(min(1, len(label)), dtype=bool), ordered[1:] != ordered[:-1]])
        values, count = ordered[starts], np.diff(starts, append=len(label))
        del ordered, starts
        return _places(label, values), count
    count = np.bincount(label)  # a sort would hold five times as much
    there = count > 0
    return label if there.all() else _picked(np.cumsum(there) - 1, label), count[there]


def first_of(label: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the first row of each label, in the labels' order. (K,)."""
    return _first(_numbered(label))


class Standing:
    """Where each value of a column stands, to be asked for many at a time.

    Args:
        column: (R,) integers.
    """

    def __init__(self, column: NDArray[np.integer]) -> None:
        self._order = np.argsort(column, kind="stable")
        self._values = column[self._order]

    def cells(self, values: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return every (row of `values`, row of the column) with one value, as two arrays in step."""
        first, count = self._found(values)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(np.arange(len(values)), count), self._order[np.repeat(first, count) + within]

    def fill(self, block: NDArray[np.floating], values: NDArray[np.integer], number: float) -> None:
        """Write a number to those cells of a block, (len(values), R)."""
        first, count = self._found(values)
        # Lists of all cells would be larger than the block where one value is frequent.
        for row in np.flatnonzero(count):
            block[row, self._order[first[row] : first[row] + count[row]]] = number

    def _found(self, values: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where each value begins among those in order, and how often it stands there."""
        first = np.searchsorted(self._values, values, side="left")
        return first, np.searchsorted(self._values, values, side="right") - first


def _first(number: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the first row of each number from 0; there are no gaps. (K,)."""
    first = np.empty(int(number.max(initial=-1)) + 1, index_dtype(len(number)))
    for at in reversed(list(chunks(len(number), _CHUNK))):
        rows = np.arange(at.start, at.stop)[::-1]  # of equal places the last one written stays
        first[number[at][::-1]] = rows
    return first


def _places(label: NDArray[np.integer], values: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return where each label stands among values in order. (N,)."""
    found = empty_on_disk(len(label), np.int64)
    for at in chunks(len(label), _CHUNK):
        order = np.argsort(label[at])  # what is looked up in order is found in a fraction of the time
        found[at][order] = np.searchsorted(values, label[at][order])
    return found


def _picked(values: NDArray[np.integer], at: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the values at some places. (N,)."""
    found = empty_on_disk(len(at), np.int64)
    for rows in chunks(len(at), _CHUNK):
        found[rows] = values[at[rows]]
    return found


def _numbered(label: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return numbers from 0 without gaps, equal where the labels are."""
    return counted(label)[0]


def _joined(group: NDArray[np.integer], label: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return groups joined where a label is shared; both are numbers from 0 without gaps, and so is what is returned."""
    groups, values = (int(numbers.max(initial=-1)) + 1 for numbers in (group, label))
    if _within(label, group, values):
        return group
    if _within(group, label, groups):
        return label
    shared = (np.bincount(label) > 1)[label]  # a label that stands once joins nothing
    joining, value = group[shared], _numbered(label[shared])
    values = int(value.max(initial=-1)) + 1
    kind = index_dtype(groups + values)
    ends = (joining.astype(kind), (value + groups).astype(kind))  # a node per group and one per value
    graph = scipy.sparse.coo_array((np.ones(len(joining), dtype=np.int8), ends), shape=(groups + values,) * 2)
    return _picked(scipy.sparse.csgraph.connected_components(graph, directed=False)[1][:groups], group)


def _within(fine: NDArray[np.integer], coarse: NDArray[np.integer], count: int) -> bool:
    """Return whether rows of one number from 0 to `count` share the other number too."""
    its = np.empty(count, coarse.dtype)
    its[fine] = coarse
    return all((its[fine[at]] == coarse[at]).all() for at in chunks(len(fine), _CHUNK))


def folds_of(group: NDArray[np.int64], folds: int, rng: np.random.Generator) -> NDArray[np.integer]:
    """Return the fold of each pair, 0 to folds - 1; pairs of one group share it.

    Groups are shuffled, then dealt largest first, so that folds are of like size unless one group is huge.

    Args:
        group: (N,) group of each pair.
        folds: Number of folds, at most the number of groups.
        rng: Shuffles the groups.
    """
    member, size = counted(group)
    shuffled = rng.permutation(row_numbers(len(size)))
    pairs = size[shuffled].astype(index_dtype(len(group)))
    large = np.flatnonzero(pairs > 1)
    large = large[np.argsort(-pairs[large], kind="stable")]
    dealt = np.concatenate([shuffled[large], shuffled[pairs == 1]])
    fold = np.empty(len(size), dtype=np.min_scalar_type(-folds))
    fold[dealt] = np.resize(np.arange(folds, dtype=fold.dtype), len(size))
    return fold[member]
