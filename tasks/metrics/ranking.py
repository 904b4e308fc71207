"""From similarities to ranks: who is relevant to whom, and how far down they stand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from schemas.batch import PairBatch
from schemas.errors import DataError
from tasks.metrics.average_precision import AveragePrecision
from tasks.metrics.contract import Ranking
from tasks.metrics.recall import Recall

KS = (1, 5, 10)
_BLOCK = 512  # queries whose similarities exist at once

Similarity = NDArray[np.floating] | tuple[NDArray[np.floating], NDArray[np.floating]]


@dataclass(frozen=True)
class Retrieval:
    """Both directions of one corpus: media as queries against texts, and texts against media.

    Args:
        media_to_text: A query is a medium, the gallery are the texts, each once.
        text_to_media: A query is a text, the gallery are the media, each once.
    """

    media_to_text: Ranking
    text_to_media: Ranking

    @property
    def rsum(self) -> float:
        """Sum of the six recalls at 1, 5 and 10 in per cent: 0 to 600, as tables of the field have it."""
        sides = (self.media_to_text, self.text_to_media)
        return sum(100 * float(recall_at(side.best, k).mean()) for side in sides for k in KS)

    def per_query(self, k: int) -> NDArray[np.float64]:
        """Return recall at k of all queries, media first, then texts. Shape (Q,), 0 or 1; for `compare`."""
        found = [recall_at(side.best, k) for side in (self.media_to_text, self.text_to_media)]
        return np.concatenate(found)

    def summary(self) -> dict[str, float]:
        """Return `<direction>_r1`, `_r5`, `_r10` and `_map` in per cent, and `_median_rank`."""
        found: dict[str, float] = {}
        for name, side in (("media_to_text", self.media_to_text), ("text_to_media", self.text_to_media)):
            for k in KS:
                found[f"{name}_r{k}"] = 100 * float(recall_at(side.best, k).mean())
            found[f"{name}_map"] = 100 * float(AveragePrecision()(side).mean())
            found[f"{name}_median_rank"] = float(np.median(side.best))
        return found


def recall_at(rank: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Return 1 where a relevant item stands among the first k, else 0. Shape (Q,).

    Args:
        rank: (Q,) ranks of the best relevant item, from 1.
        k: How many places count.

    Raises:
        ValueError: k is under 1.
    """
    return Recall(k).of(rank)


def same_group(query: NDArray[np.integer], gallery: NDArray[np.integer]) -> csr_array:
    """Return the (Q, G) sparse boolean matrix of who is relevant: those of an equal number."""
    numbers, member = np.unique(np.concatenate([query, gallery]), return_inverse=True)
    sides = (member[: len(query)], member[len(query) :])
    return _sharing(*(_incidence(np.arange(len(side)), len(side), side, len(numbers)) for side in sides))


def ranks(similarity: Similarity, relevant: csr_array) -> NDArray[np.int64]:
    """Return the rank of each query's best relevant item, 1 the top. Shape (Q,); see `ranking`."""
    return ranking(similarity, relevant).best


def ranking(similarity: Similarity, relevant: csr_array) -> Ranking:
    """Return where the relevant items of every query stand.

    Ties go against us: an item that is not relevant and as similar as a relevant one stands before it. So
    vectors that are all alike are worth nothing, which mean ranks would reward.

    Args:
        similarity: (Q, G), higher is closer; or the (Q, D) and (G, D) vectors whose dot products it is, which
            are taken in blocks.
        relevant: (Q, G) sparse; what is not zero is relevant.

    Raises:
        DataError: A similarity is not finite, or a query has no relevant item.
        ValueError: Shapes do not fit.
    """
    queries, gallery = similarity if isinstance(similarity, tuple) else (similarity, None)
    shape = (len(queries), queries.shape[1] if gallery is None else len(gallery))
    if relevant.shape != shape or (gallery is not None and gallery.shape[1] != queries.shape[1]):
        found = [side.shape for side in (queries, gallery) if side is not None]
        raise ValueError(f"relevant is {relevant.shape} but similarities come from {found}")
    relevant = csr_array(relevant, copy=True)
    relevant.sum_duplicates()
    relevant.eliminate_zeros()
    start = relevant.indptr.astype(np.int64)
    if len(alone := np.flatnonzero(np.diff(start) == 0)):
        raise DataError(
            f"{len(alone)} queries have no relevant item, first query {alone[0]}; leave them out or add theirs"
        )

    rank = np.empty(len(relevant.indices), dtype=np.int64)
    for first in range(0, shape[0], _BLOCK):
        rows = slice(first, first + _BLOCK)
        block = queries[rows].copy() if gallery is None else queries[rows] @ gallery.T  # (<=BLOCK, G)
        if not np.isfinite(block).all():
            row = first + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise DataError(f"similarities of query {row} are not finite; embed again")
        within = slice(start[first], start[min(first + _BLOCK, shape[0])])
        owner = np.repeat(np.arange(len(block)), np.diff(start[first : first + len(block) + 1]))
        own = block[owner, relevant.indices[within]]
        block[owner, relevant.indices[within]] = -np.inf
        block.sort(axis=1)
        for row in range(len(block)):
            mine = slice(start[first + row], start[first + row + 1])
            descending = np.sort(own[mine.start - within.start : mine.stop - within.start])[::-1]
            before = shape[1] - np.searchsorted(block[row], descending, side="left")
            rank[mine] = before + np.arange(1, len(descending) + 1)
    return Ranking(rank, start)


def retrieval(media: NDArray[np.floating], text: NDArray[np.floating], pairs: PairBatch) -> Retrieval:
    """Return both directions over pairs, whatever their keys and groups say is one counted once.

    A medium and a text are relevant to each other if some pair has both, or if pairs they stand in share a
    group; no further: what another medium of the same text says is not. Media of one `media_key` are one query
    and one gallery item, with the vector of the first; texts of one `text_key` likewise: otherwise a picture
    with five captions would fill five places of a gallery. Queries are in order of first appearance, so that
    two runs over the same pairs can be compared query by query.

    Args:
        media: (N, K) vectors of the media under a head, unit length for cosines.
        text: (N, K) vectors of the texts.
        pairs: The N pairs; only keys and groups are read.

    Raises:
        DataError: A similarity is not finite.
        ValueError: There are not N vectors of one width.
    """
    if media.shape != text.shape or len(media) != len(pairs):
        raise ValueError(f"media is {media.shape}, text is {text.shape} and there are {len(pairs)} pairs")
    rows = np.arange(len(pairs), dtype=np.int64)
    medium, first_medium = _once(rows if pairs.media_key is None else pairs.media_key)
    words, first_text = _once(rows if pairs.text_key is None else pairs.text_key)
    group = _once(rows if pairs.group is None else pairs.group)[0]
    of_medium = _incidence(medium, len(first_medium), group, len(rows))
    of_text = _incidence(words, len(first_text), group, len(rows))
    relevant = _sharing(of_medium, of_text)
    sides = media[first_medium], text[first_text]
    return Retrieval(ranking(sides, relevant), ranking(sides[::-1], csr_array(relevant.T)))


def _once(key: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (N,) numbers of the distinct keys in order of first appearance, and the row where each appears."""
    _, first, member = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[member].astype(np.int64), first[order].astype(np.int64)


def _incidence(item: NDArray[np.integer], items: int, number: NDArray[np.integer], numbers: int) -> csr_array:
    """Return the (items, numbers) matrix of who has which number, item i of `item` having `number[i]`."""
    ones = np.ones(len(item), dtype=np.int32)
    return csr_array(coo_array((ones, (item, number)), shape=(items, numbers)))


def _sharing(query: csr_array, gallery: csr_array) -> csr_array:
    """Return the (Q, G) boolean matrix of who shares a column."""
    return csr_array((query @ gallery.T) > 0)
