"""Rankings of a corpus for media: by vectors, by words, and several of them as one."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.captioners.contract import Corpus
from tasks.filters._words import words

if TYPE_CHECKING:  # opened when first used: naming a captioner needs no index
    from bm25s import BM25

_QUERIES = 256  # media compared at once
_GALLERY = 8192  # vectors of the corpus they are compared with at once
_SLACK = 16  # candidates beyond those asked for, whose order float32 may have got wrong
_STEP = 2.0**-14  # similarities closer than this are ordered by row first, by exact values in the end
_ROWS = np.int64(1 << 40)


@dataclass(frozen=True)
class Links:
    """Which rows go with a row: the texts of each medium, the media of each text.

    Args:
        start: (R + 1,) where a row's links begin.
        to: (P,) what it is linked to, in the order of the pairs.
        pair: (P,) row of the pair that says so.
    """

    start: NDArray[np.int64]
    to: NDArray[np.int64]
    pair: NDArray[np.int64]

    def __getitem__(self, row: int) -> NDArray[np.int64]:
        return self.to[self.start[row] : self.start[row + 1]]

    def pairs(self, row: int) -> NDArray[np.int64]:
        """Return the rows of its pairs."""
        return self.pair[self.start[row] : self.start[row + 1]]


def links(row: NDArray[np.int64], to: NDArray[np.int64], rows: int) -> Links:
    """Return what each of `rows` rows is linked to."""
    order = np.argsort(row, kind="stable")
    start = np.zeros(rows + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=rows), out=start[1:])
    return Links(start, to[order], order.astype(np.int64))


def require_corpus(corpus: Corpus) -> None:
    """Refuse a corpus that does not fit together.

    Raises:
        DataError: Counts or widths differ, a pair names a row there is not, a medium stands there twice, or a
            vector is not finite.
    """
    media, texts = len(corpus.media_ids), len(corpus.texts)
    sides = (("media", corpus.media_vec, media), ("text", corpus.text_vec, texts))
    for side, vectors, count in sides:
        if vectors.ndim != 2 or len(vectors) != count:
            raise DataError(f"the corpus has {count} {side} rows but its {side} vectors are {vectors.shape}")
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise DataError(f"{len(broken)} {side} vectors are not finite, first in row {broken[0]}")
    if media and texts and corpus.media_vec.shape[1] != corpus.text_vec.shape[1]:
        raise DataError(
            f"media vectors are {corpus.media_vec.shape[1]} and text vectors {corpus.text_vec.shape[1]} wide; "
            "use a joint encoder"
        )
    require_pairs(corpus)


def require_pairs(corpus: Corpus) -> None:
    """Refuse pairs of rows there are not, and a medium that stands there twice.

    Raises:
        DataError: It is so.
    """
    pairs, media, texts = corpus.pairs, len(corpus.media_ids), len(corpus.texts)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise DataError(f"pairs must be (P, 2), found {pairs.shape}")
    if len(pairs) and (pairs.min() < 0 or pairs[:, 0].max() >= media or pairs[:, 1].max() >= texts):
        raise DataError(f"a pair names a row beyond the {media} media and {texts} texts of the corpus")
    if len(set(corpus.media_ids)) < media:
        raise DataError(
            f"{media - len(set(corpus.media_ids))} media stand in the corpus twice; merge their pairs"
        )


def nearest(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    count: int,
    passed_over: Sequence[NDArray[np.int64]],
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """Return the rows of the gallery closest to each query and their cosines, the closest first.

    The gallery is gone through in chunks; equal cosines are ordered by row. The cosines of those found are
    computed anew one query at a time, so that they do not depend on what else is asked.

    Args:
        queries: (N, D) unit.
        gallery: (M, D) unit.
        count: How many; all there are, if fewer.
        passed_over: For each query, rows that are no answer.
    """
    rows: list[NDArray[np.int64]] = []
    cosines: list[NDArray[np.float64]] = []
    for start in range(0, len(queries), _QUERIES):
        chunk = queries[start : start + _QUERIES]
        found = _coarse(chunk, gallery, count + _SLACK, passed_over[start : start + _QUERIES])
        for query, candidates in zip(chunk, found, strict=True):
            exact = cosines_to(query, gallery[candidates])
            order = np.lexsort((candidates, -exact))[:count]
            rows.append(candidates[order])
            cosines.append(exact[order])
    return rows, cosines


def cosines_to(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each vector with the query. Shape (K,); the same whatever K is."""
    return np.asarray((vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).round(9))


def _coarse(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    count: int,
    passed_over: Sequence[NDArray[np.int64]],
) -> list[NDArray[np.int64]]:
    """Return for each query the rows of highest cosine to within `_STEP`, fewer where there are fewer."""
    never = np.iinfo(np.int64).min
    best = np.empty(
        (len(queries), 0), np.int64
    )  # cosine in steps, then the row: higher is closer, or earlier
    query_of = np.repeat(np.arange(len(queries)), [len(rows) for rows in passed_over])
    hidden = np.concatenate([*passed_over, np.empty(0, np.int64)])
    for start in range(0, len(gallery), _GALLERY):
        part = gallery[start : start + _GALLERY]
        steps = np.rint((queries @ part.T) / _STEP).astype(np.int64)  # (N, <=GALLERY)
        keys = steps * _ROWS - np.arange(start, start + len(part))
        inside = (hidden >= start) & (hidden < start + len(part))
        keys[query_of[inside], hidden[inside] - start] = never
        best = np.concatenate([best, keys], axis=1)
        if best.shape[1] > count:
            best = np.partition(best, -count, axis=1)[:, -count:]
    found = []
    for keys in best:
        keys = keys[keys > never]
        found.append(np.sort(-keys % _ROWS))
    return found


class WordIndex:
    """BM25 over documents.

    Args:
        documents: What each says.
        k1: How soon more of the same word stops counting.
        b: How much longer documents are held back, in [0, 1].
    """

    def __init__(self, documents: Iterable[str], *, k1: float, b: float) -> None:
        self._vocabulary: dict[str, int] = {}
        tokens = [
            [self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words(document)]
            for document in documents
        ]
        self._documents = len(tokens)
        self._index = _indexed(tokens, self._vocabulary, k1, b) if self._vocabulary else None

    def __call__(self, query: str, count: int, passed_over: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the documents that share a word with the query, best first; equal ones by row."""
        score = self.scores(query)
        score[passed_over] = 0
        hits = np.flatnonzero(score > 0)
        if len(hits) > count:  # ties at the edge stay, so that the sort below decides them
            hits = hits[score[hits] >= np.partition(score[hits], -count)[-count]]
        return hits[np.lexsort((hits, -score[hits]))][:count]

    def scores(self, query: str) -> NDArray[np.float32]:
        """Return the score of every document; a word counts as often as it is asked for."""
        known = [self._vocabulary[word] for word in words(query) if word in self._vocabulary]
        if self._index is None or not known:
            return np.zeros(self._documents, np.float32)
        return np.asarray(self._index.get_scores_from_ids(known), np.float32)


def _indexed(tokens: list[list[int]], vocabulary: dict[str, int], k1: float, b: float) -> "BM25":
    from bm25s import BM25

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it reports every index it builds
    index = BM25(method="lucene", k1=k1, b=b)
    index.index((tokens, dict(vocabulary)), show_progress=False)
    return index


def reciprocal_ranks(rankings: Iterable[Iterable[Sequence[int]]], k: int) -> dict[int, float]:
    """Return the sum of 1 / (k + rank) over the rankings, for everything that stands in one.

    Args:
        rankings: Each from best to worst; those that stand together share a rank, counted from 1.
        k: Holds the first ranks back; 60 in the paper.
    """
    total: dict[int, float] = {}
    for ranking in rankings:
        seen: set[int] = set()
        for rank, together in enumerate(ranking, start=1):
            for item in together:
                if item not in seen:
                    seen.add(item)
                    total[item] = total.get(item, 0.0) + 1 / (k + rank)
    return total
