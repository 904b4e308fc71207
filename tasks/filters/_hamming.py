"""Near-duplicates by the Hamming distance of 64-bit picture hashes."""

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import chunks, on_disk

Hashes = NDArray[np.uint64]
Rows = NDArray[np.signedinteger[Any]]

BITS = 64
MAX_DISTANCE = 16
_LEAF = 128  # below this, all pairs are quicker than an index
_CANDIDATES = 1 << 17  # compared at once: 6 MiB
_QUERIES = 1 << 16  # looked up at once
# Candidates and near ones a hash, on the average: where there are no more, all pairs are found at once.
_FEW, _NEAR = 16, 4
_SORTED = 4  # comparisons that a hash's share of a sort costs
_UPPER, _ROW = np.uint64(32), np.uint64((1 << 32) - 1)
# 2**64 over the golden ratio: the upper half of a product with it says most of a key
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def representatives(hashes: Hashes, max_distance: int) -> Rows:
    """Return for every row the row that stands for it; itself if it is the first of its kind.

    Row i joins the first earlier representative at most `max_distance` bits away; without one, it becomes a
    representative. So every row is within `max_distance` of what stands for it, and chains of small steps do
    not tie unlike pictures together as they would in connected components. The order of rows is the priority.

    Flat pictures have hashes with (nearly) all bits equal, which say little: a hash with at most
    max(3, max_distance) bits set, or unset, only matches its equals.

    How: equal hashes are merged. The bits are cut into max_distance + r bands; two hashes that near agree in r of
    them (pigeonhole), so only rows equal there are compared; r is chosen by the number of rows and by how much their
    bits vary. Where that leaves few to compare, all near pairs are found with a sort for each choice of bands, and
    settled in their order: O(n log n). Where it leaves many (bits that only vary together, a thousand shots of one scene),
    the later rows are looked up, half by half, among the representatives of the earlier ones, so that what has found
    its own is compared no more: O(n log² n) plus the candidates compared, at worst quadratic in time. Memory stays
    O(n) whatever the hashes.

    Args:
        hashes: (N,) unsigned 64-bit.
        max_distance: Bits that may differ, 0-16.

    Returns:
        (N,) row indices, int32 where that is enough.

    Raises:
        ValueError: `hashes` is not (N,) uint64, or `max_distance` is out of range.
    """
    if hashes.ndim != 1 or hashes.dtype != np.uint64:
        raise ValueError(f"hashes must be (N,) uint64, found {hashes.shape} {hashes.dtype}")
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ValueError(f"max_distance must be in 0-{MAX_DISTANCE}, found {max_distance}")
    number = _number(len(hashes))
    first, stands_for = _merged(hashes)

    bits = np.bitwise_count(hashes[first])
    telling = np.minimum(bits, BITS - bits) > max(3, max_distance)
    distinct = np.sort(first[telling])  # in order of priority
    del first, bits, telling
    if max_distance and len(distinct):
        count, hashes = len(hashes), on_disk(hashes[distinct])  # whoever called may have let go of them
        nearest = distinct[_greedy(hashes, max_distance)]
        joined = np.arange(count, dtype=number)
        joined[distinct] = nearest
        stands_for = joined[stands_for]
    return stands_for


def _merged(hashes: Hashes) -> tuple[Rows, Rows]:
    """Return the first row of each hash, and for each of (N,) rows the first one with its hash; a third of np.unique's memory."""
    number = _number(len(hashes))
    order = np.argsort(hashes, kind="stable").astype(number)
    ordered = hashes[order]
    is_first = np.ones(len(hashes), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    del ordered
    first = order[is_first]
    stands_for = np.empty(len(hashes), number)
    stands_for[order] = first[np.cumsum(is_first, dtype=number) - 1]
    return first, stands_for


def _number(count: int) -> type[np.signedinteger[Any]]:
    """Return the narrowest type of this many row numbers."""
    return np.int32 if count < 1 << 31 else np.int64


def _greedy(hashes: Hashes, max_distance: int) -> Rows:
    """Return the representative of each of (M,) distinct hashes, in order, as indices into them."""
    number = _number(len(hashes))
    if _LEAF < len(hashes) < 1 << 32 and (pairs := _near(hashes, max_distance)) is not None:
        return _settled(pairs, len(hashes))
    found = np.full(len(hashes), -1, dtype=number)
    _settle(np.arange(len(hashes), dtype=number), hashes, max_distance, found)
    return found


def _near(hashes: Hashes, max_distance: int) -> NDArray[np.uint64] | None:
    """Return all pairs of rows within reach, ascending, the later one in the upper 32 bits; None: too many to compare at once."""
    found = np.empty(0, np.uint64)
    left = _FEW * len(hashes)
    keyed = np.empty(len(hashes), np.uint64)
    for mask in _masks(max_distance, len(hashes), _entropy(hashes), _SORTED):
        for part in chunks(len(hashes), _QUERIES):
            # The key's digest and the row in one number: a sort of those takes a third of what an order of keys does. Keys of
            # one digest by chance are compared for nothing.
            rows = np.arange(part.start, part.stop, dtype=np.uint64)
            keyed[part] = (hashes[part] & mask) * _SPREAD & ~_ROW | rows
        keyed.sort()
        at, ends = _crowds(keyed)
        left -= int((ends - at - 1).sum())
        if left < 0 or len(found) > _NEAR * len(hashes):
            return None
        gap, under = 0, [found]
        while len(at):
            gap += 1
            there = at + gap < ends
            at, ends = at[there], ends[there]
            one, other = keyed[at] & _ROW, keyed[at + gap] & _ROW  # a row's number rises within a key
            near = np.bitwise_count(hashes[one] ^ hashes[other]) <= max_distance
            under.append(other[near] << _UPPER | one[near])
        found = np.unique(np.concatenate(under))  # what is alike is so under many masks
    return found


def _crowds(keyed: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places whose key, the upper half, stands at the next one too, and for each where its key ends."""
    equal = [np.empty(0, np.int64)]
    for part in chunks(len(keyed) - 1, _QUERIES):
        behind = keyed[part.start + 1 : part.stop + 1]
        equal.append(np.flatnonzero((behind ^ keyed[part]) >> _UPPER == 0) + part.start)
    at = np.concatenate(equal)
    last = np.flatnonzero(np.diff(at, append=len(keyed) + 1) > 1)  # of each key
    return at, np.repeat(at[last] + 2, np.diff(last, prepend=-1))


def _settled(pairs: NDArray[np.uint64], count: int) -> Rows:
    """Return what stands for each row, if all pairs within reach are these."""
    stands_for = np.arange(count, dtype=_number(count))
    stands = bytearray(b"\1") * count
    for part in chunks(len(pairs), _QUERIES):
        later, earlier = pairs[part] >> _UPPER, pairs[part] & _ROW
        for row, before in zip(later.tolist(), earlier.tolist(), strict=True):
            if stands[before] and stands[row]:
                stands[row] = 0
                stands_for[row] = before
    return stands_for


def _settle(block: Rows, hashes: Hashes, max_distance: int, found: Rows) -> None:
    """Fill in `found` for a block of rows that no representative before the block is near to."""
    if len(block) <= _LEAF:
        near = np.bitwise_count(hashes[block, None] ^ hashes[block]) <= max_distance  # (M, M)
        for row, row_near in zip(block, near, strict=True):
            if found[row] < 0:
                found[block[row_near & (found[block] < 0)]] = row
        return
    earlier, later = np.split(block, [len(block) // 2])
    _settle(earlier, hashes, max_distance, found)
    standing = earlier[found[earlier] == earlier]
    nearest = _first_within(hashes[later], hashes[standing], max_distance)
    hit = nearest < len(standing)
    found[later[hit]] = standing[nearest[hit]]
    _settle(later[~hit], hashes, max_distance, found)


def _first_within(queries: Hashes, gallery: Hashes, max_distance: int) -> Rows:
    """Return for each of (Q,) queries the first of (G,) gallery hashes within reach, or G."""
    first = np.full(len(queries), len(gallery), dtype=_number(len(gallery)))
    for mask in _masks(max_distance, len(gallery), _entropy(gallery)):
        keys = gallery & mask
        order = np.argsort(keys).astype(_number(len(gallery)))
        keys = keys[order]
        for at in range(0, len(queries), _QUERIES):
            part = slice(at, at + _QUERIES)
            _look_up(queries[part], mask, keys, order, gallery, max_distance, first[part])
    return first


def _look_up(
    queries: Hashes,
    mask: np.uint64,
    keys: Hashes,
    order: Rows,
    gallery: Hashes,
    max_distance: int,
    first: Rows,
) -> None:
    """Lower `first` to the first gallery hash within reach among those that equal a query under a mask."""
    asked = queries & mask
    order_of = np.argsort(
        asked
    )  # looked up one after another, they find most of the way in the processor's memory
    asked = asked[order_of]
    found = np.searchsorted(keys, asked)
    hit = np.flatnonzero(found < len(keys))
    hit = hit[keys[found[hit]] == asked[hit]]
    start, count = np.zeros(len(queries), np.intp), np.zeros(len(queries), np.intp)
    start[order_of[hit]] = found[hit]
    count[order_of[hit]] = np.searchsorted(keys, asked[hit], side="right") - found[hit]
    hit = np.flatnonzero(count)
    for rows in _chunks(hit, count[hit]):
        counts = count[rows]
        begin = np.cumsum(counts) - counts
        position = np.arange(counts.sum()) + np.repeat(start[rows] - begin, counts)
        candidate = order[position]
        far = np.bitwise_count(gallery[candidate] ^ np.repeat(queries[rows], counts)) > max_distance
        candidate[far] = len(gallery)
        first[rows] = np.minimum(first[rows], np.minimum.reduceat(candidate, begin))


def _chunks(rows: Rows, counts: Rows) -> Iterator[Rows]:
    """Cut rows where their candidates fill a chunk; one row may exceed it."""
    chunk = np.cumsum(counts) // _CANDIDATES
    yield from np.split(rows, np.flatnonzero(np.diff(chunk)) + 1) if len(rows) else ()


def _masks(
    max_distance: int, gallery: int, telling: NDArray[np.float64], look_up: float = 16
) -> list[np.uint64]:
    """Return masks such that two hashes within `max_distance` agree under at least one of them.

    Bits that hardly vary in the gallery tell nothing apart: what a mask leaves to compare follows from the entropy under
    it. So bands get equal shares of that, and the less there is, the more bands a mask takes.

    Args:
        max_distance: Bits that may differ.
        gallery: Number of hashes looked up in.
        telling: (64,) entropy of each bit, in [0, 1].
        look_up: How many comparisons it costs to find those that are equal under a mask, a query.
    """

    def cost(shared: int) -> float:
        """Per query: look-ups, and candidates of evenly spread hashes."""
        bands = max_distance + shared
        return comb(bands, shared) * (look_up + gallery * 2 ** (-telling.sum() * shared / bands))

    shared = min(range(1, 5), key=cost)
    bands = max_distance + shared
    # Bits are dealt out from the most telling on, of equal ones by row + column: a flat strip of the picture then does
    # not fill a whole band.
    place = np.arange(BITS)
    order = np.lexsort((place, place // 8 + place % 8, -telling.round(1)))
    band = [sum(1 << bit for bit in order[b::bands].tolist()) for b in range(bands)]
    return [np.uint64(sum(chosen)) for chosen in combinations(band, shared)]


def _entropy(hashes: Hashes) -> NDArray[np.float64]:
    """Return how many bits of information each bit holds by itself, in [0, 1], from at most 4,096 of the hashes. (64,)."""
    some = hashes[:: max(1, len(hashes) // 4096)].astype("<u8")
    bits = np.unpackbits(some.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    share = np.clip(bits.mean(axis=0), 1e-9, 1 - 1e-9) if len(bits) else np.full(BITS, 0.5)
    return np.asarray(-(share * np.log2(share) + (1 - share) * np.log2(1 - share)))
