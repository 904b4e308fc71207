"""The best rows of a matrix for a query, with none left out: one product, then a few rows looked at closely."""

import numpy as np
from numpy.typing import NDArray

from storage.matrix import Scope, Vectors

BLOCK = 1 << 24  # products held at once
GATHERED = 0.25  # share of rows up to which only they are multiplied; beyond, all are and some passed over
_CHUNK = 256  # products of which the largest is looked at first
_NEAR = 1 << 18  # numbers gathered at once
_CLOSELY = 1 << 14  # rows looked at closely at once

Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]  # rows, best first, and their scores


def best(scope: Scope, queries: NDArray[np.float32], wanted: int) -> list[Ranked]:
    """Return the best rows of a scope for each query, by inner product; of equal scores the smaller id comes first.

    The products are taken in float32, which says what can be among the best; those rows' scores are then summed in
    float64 and rounded. So a score does not depend on which other rows and queries were asked with it.

    Args:
        scope: Rows that may be found.
        queries: (Q, D) float32, finite.
        wanted: How many, at least 1.
    """
    near = candidates(scope.vectors, scope.rows, queries, wanted)
    return [ranked(scope.vectors, rows, query, wanted) for rows, query in zip(near, queries, strict=True)]


def candidates(
    vectors: Vectors, rows: NDArray[np.int64] | None, queries: NDArray[np.float32], wanted: int
) -> list[NDArray[np.int64]]:
    """Return for each query rows that hold its best `wanted` for certain, and few more."""
    values = vectors.values
    gathered = rows is not None and len(rows) < GATHERED * len(values)
    total = len(rows) if rows is not None and gathered else len(values)
    step = max(_CHUNK, BLOCK // len(queries))
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    slack = (values.shape[1] + 4) * 2.0**-23 * vectors.largest_norm * lengths  # twice what float32 can be off
    places: list[list[NDArray[np.int64]]] = [[] for _ in queries]
    products: list[list[NDArray[np.float32]]] = [[] for _ in queries]
    for start in range(0, total, step):
        if rows is not None and gathered:
            here: NDArray[np.int64] | None = rows[start : start + step]
            product = _gathered(values, rows[start : start + step], queries)  # (Q, rows)
        else:
            block = values[start : start + step]
            here = None
            if rows is not None:
                low, high = np.searchsorted(rows, (start, start + len(block)))
                here = rows[low:high]
            product = _products(block, queries)
        for n, line in enumerate(product):
            if here is not None and not gathered:
                line = line[here - start]
            top = _top(line, wanted, slack[n])
            places[n].append(top + start if here is None else here[top])
            products[n].append(line[top])
    return [_joined(places[n], products[n], wanted, slack[n]) for n in range(len(queries))]


def ranked(vectors: Vectors, rows: NDArray[np.int64], query: NDArray[np.float32], wanted: int) -> Ranked:
    """Return the best of a few rows, best first. Scores are summed in float64 and rounded to float32."""
    exact = query.astype(np.float64)
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _CLOSELY):
        some = slice(start, start + _CLOSELY)
        scores[some] = (vectors.values[rows[some]].astype(np.float64) * exact).sum(axis=1)
    if len(rows) > wanted:
        at_least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        rows, scores = rows[scores >= at_least], scores[scores >= at_least]
    ids = vectors.ids.take(rows).to_pylist()
    order = sorted(range(len(rows)), key=lambda n: (-scores[n], ids[n]))[:wanted]
    return rows[order], scores[order]


def _products(block: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    return (block @ queries[0])[None] if len(queries) == 1 else queries @ block.T  # (Q, rows)


def _gathered(
    values: NDArray[np.float32], rows: NDArray[np.int64], queries: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the products of some rows, copied a few at a time to one place that stays in the cache. (Q, rows)."""
    few = max(64, _NEAR // max(values.shape[1], 1))
    place = np.empty((min(few, len(rows)), values.shape[1]), np.float32)
    found = np.empty((len(queries), len(rows)), np.float32)
    for start in range(0, len(rows), few):
        some = rows[start : start + few]
        block = np.take(values, some, axis=0, out=place[: len(some)], mode="clip")  # "raise" would copy twice
        found[:, start : start + few] = _products(block, queries)
    return found


def _top(line: NDArray[np.float32], wanted: int, slack: float) -> NDArray[np.int64]:
    """Return places of the largest `wanted` values, and of those too close to tell."""
    if len(line) <= wanted:
        return np.arange(len(line))
    chunks = len(line) // _CHUNK
    if chunks > wanted:  # so many values, one a chunk, are no smaller than this one: nor are the best
        largest = line[: chunks * _CHUNK].reshape(chunks, _CHUNK).max(axis=1)
        bound = np.partition(largest, chunks - wanted)[chunks - wanted]
        near = np.flatnonzero(line >= np.float32(bound - slack))
    else:
        near = np.arange(len(line))
    return near[_among(line[near], wanted, slack)]


def _among(values: NDArray[np.float32], wanted: int, slack: float) -> NDArray[np.bool_]:
    if len(values) <= wanted:
        return np.ones(len(values), bool)
    bound = np.partition(values, len(values) - wanted)[len(values) - wanted]
    return values >= bound - slack


def _joined(
    places: list[NDArray[np.int64]], products: list[NDArray[np.float32]], wanted: int, slack: float
) -> NDArray[np.int64]:
    if not places:
        return np.empty(0, np.int64)
    every = np.concatenate(places)
    return every[_among(np.concatenate(products), wanted, slack)]
