"""The first stage: a query to candidates, by vectors, by words, both, token by token, or by codes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.ranking import Candidates, Query
from storage.fulltext import match
from storage.lake import Lake
from storage.passing import condition, passing
from storage.search import EncoderTable, dense, pairs_by
from storage.versions import Snapshot
from tasks.fusion import Fusion, ReciprocalRank
from tasks.retrieval.asked import AskedOf
from tasks.retrieval.tokens_and_codes import by_codes, by_tokens

POOL = 100  # items of each order that are fused, at least
FEW = 2000  # media of which all texts are compared rather than the nearest texts of all media until enough are theirs
Vector = NDArray[np.float32]


def first_stage(
    lake: Lake,
    snapshot: Snapshot,
    entry: EncoderTable | None,
    query: Query,
    what: AskedOf | None,
    depth: int,
    *,
    fusion: Fusion | None = None,
) -> Candidates:
    """Return the best `depth` candidates; `query.k` and `query.offset` are the caller's.

    Args:
        lake: The lake.
        snapshot: What to search.
        entry: The encoder's table; None for words alone.
        query: What is looked for.
        what: Its vector; None for words alone.
        depth: How many.
        fusion: How orders are fused; reciprocal ranks with k = 60 by default (Cormack et al. 2009).

    Raises:
        DataError: The query cannot be asked that way.
    """
    depth += len(what.without) if what else 0
    if query.first == "match":
        found = by_words(lake, snapshot, query, depth)
    elif query.first == "late":
        found = by_tokens(lake, snapshot, query, depth)
    elif entry is None or what is None:
        raise DataError(f"a {query.first} query needs vectors, and {snapshot.snapshot_id} has none")
    elif query.first == "dense":
        found = by_vector(lake, snapshot, entry.table, query, what, depth, fusion=fusion)
    elif query.first == "hybrid":
        pool = max(POOL, depth)
        orders = [
            by_vector(lake, snapshot, entry.table, query, what, pool, fusion=fusion),
            by_words(lake, snapshot, query, pool),
        ]
        found = fused(orders, depth, fusion)
    elif query.first == "codes":
        found = by_codes(lake, snapshot, entry, query, what, depth)
    else:
        raise DataError(
            f"no first stage is called {query.first!r}; it is dense, match, hybrid, late or codes"
        )
    return without(found, what.without) if what else found


def without(found: Candidates, items: frozenset[str]) -> Candidates:
    """Return candidates but for these items: what was asked by is no answer."""
    stay = [row for row, item in enumerate(found.item_ids) if item not in items]
    if len(stay) == len(found):
        return found
    return replace(found, item_ids=tuple(found.item_ids[row] for row in stay), scores=found.scores[stay])


def by_words(lake: Lake, snapshot: Snapshot, query: Query, depth: int) -> Candidates:
    """Return candidates by BM25.

    Raises:
        DataError: The query has no words.
    """
    if query.text is None:
        raise DataError("matching words needs a text")
    return match(
        lake, snapshot, query.text, depth,
        side=query.side, where=query.where, modality=query.modality, among=query.among,
    )  # fmt: skip


def by_vector(
    lake: Lake,
    snapshot: Snapshot,
    table: str,
    query: Query,
    what: AskedOf,
    depth: int,
    *,
    fusion: Fusion | None = None,
) -> Candidates:
    """Return candidates by vectors: of the items themselves, and where words ask for media, of the media's texts."""

    def own(k: int) -> Candidates:
        (found,) = dense(
            lake, snapshot, table, what.vector[None], k,
            side=query.side, where=query.where, modality=query.modality, among=query.among, search=query.search,
        )  # fmt: skip
        return found

    if query.side == "text" or query.by == "media" or what.words is None:
        return own(depth)
    if query.by == "texts":
        return by_texts(lake, snapshot, table, query, what.vector, depth)
    pool = max(POOL, depth)
    return fused([own(pool), by_texts(lake, snapshot, table, query, what.vector, pool)], depth, fusion)


def by_texts(
    lake: Lake, snapshot: Snapshot, table: str, query: Query, vector: Vector, depth: int
) -> Candidates:
    """Return the media whose best kept text is nearest to a vector.

    Where few media may be found their texts are compared; else more and more texts are asked until nothing can be missed.
    """
    allowed: set[str] | None = None
    if query.where is not None or query.modality:
        of_rows = condition("media", query.where, query.modality)
        allowed = set(passing(lake, snapshot, "media", of_rows, ["media_id"])["media_id"].to_pylist())
    if query.among is not None:
        allowed = set(query.among) if allowed is None else allowed & set(query.among)
    asked, among, known = max(POOL, 2 * depth), None, None
    if allowed is not None and len(allowed) <= FEW:
        known = kept_pairs(lake, snapshot, sorted(allowed), "media_id")
        among = frozenset(text_id for _, text_id in known)
        asked = len(among) + 1
    while True:
        (texts,) = dense(
            lake, snapshot, table, vector[None], asked, side="text", search=query.search, among=among
        )
        score = dict(zip(texts.item_ids, texts.scores.tolist(), strict=True))
        best: dict[str, float] = {}
        for media_id, text_id in known if known is not None else kept_pairs(lake, snapshot, list(score)):
            if text_id not in score:
                continue  # dropped itself, or without a vector
            if allowed is None or media_id in allowed:
                best[media_id] = max(best.get(media_id, -np.inf), score[text_id])
        order = sorted(best, key=lambda media_id: (-best[media_id], media_id))
        all_seen = len(texts) < asked
        if all_seen or (len(order) >= depth and texts.scores[-1] < best[order[depth - 1]]):
            return Candidates(
                tuple(order[:depth]),
                np.array([best[media_id] for media_id in order[:depth]], np.float32),
                exact=texts.exact,
                notes=texts.notes,
                facts={**texts.facts, "texts": len(texts)},
            )
        asked *= 4


def kept_pairs(
    lake: Lake, snapshot: Snapshot, ids: Sequence[str], of: Literal["text_id", "media_id"] = "text_id"
) -> list[tuple[str, str]]:
    """Return (media_id, text_id) of the kept pairs of texts, or of media."""
    rows = pairs_by(lake, snapshot, of, list(ids)).to_pylist()
    return [(row["media_id"], row["text_id"]) for row in rows if row["present"] and row["kept"] is not False]


def fused(orders: Sequence[Candidates], depth: int, fusion: Fusion | None = None) -> Candidates:
    """Return one order of several."""
    how = fusion or ReciprocalRank()
    runs = [{"q": dict(zip(one.item_ids, one.scores.tolist(), strict=True))} for one in orders]
    scores = how(runs).get("q", {})
    order = list(scores)[:depth]
    return Candidates(
        tuple(order),
        np.array([scores[item] for item in order], np.float32),
        exact=False,  # an item just below both pools may have come before one high in a single one
        notes=tuple(dict.fromkeys(note for one in orders for note in one.notes)),
        facts={"fusion": how.name, "orders": [dict(one.facts) for one in orders]},
    )
