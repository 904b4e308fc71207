"""A query, whole: candidates, a similarity fitted to the gallery, a closer look, and how many are worth showing."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from schemas.errors import DataError
from schemas.ranking import Candidates, Query
from storage import bridges
from storage.bridges import Bridge
from storage.lake import Lake
from storage.matrix import matrix_of
from storage.search import EncoderTable, dense, encoder_table, encoder_tables
from storage.versions import Snapshot
from tasks.bridges import Crossing
from tasks.fusion import Fusion
from tasks.rerankers import Asked, Reranker
from tasks.rerankers import Found as Closer
from tasks.rerankers.cut import best_first, kept
from tasks.retrieval.adjust import stored
from tasks.retrieval.asked import AskedOf, asked, items_of
from tasks.retrieval.first import first_stage, without
from tasks.slots import Kinds, Slot, narrowed

LOOKED_AT = 100  # candidates that are looked at more closely, at least
ADJUSTED = (
    2000  # candidates whose order a fitted similarity may change, at least: hubs stand before many others
)


@dataclass(frozen=True)
class Found:
    """What a query found, and where.

    Args:
        snapshot: What was searched.
        table: The encoder's table; "" where words alone were matched.
        candidates: Best first, `query.offset` passed over.
        vector: The query's vector; None where words alone were matched.
        slots: What of the query's words narrowed it.
    """

    snapshot: Snapshot
    table: str
    candidates: Candidates
    vector: np.ndarray | None
    slots: tuple[Slot, ...] = ()


def find(
    lake: Lake,
    query: Query,
    *,
    fusion: Fusion | None = None,
    reranker: Reranker | None = None,
    at_least: float | None = None,
    adjust: bool = True,
    slots: Kinds | Collection[str] = "none",
    without: Collection[str] = (),
    snapshot: Snapshot | None = None,
) -> Found:
    """Return what a query finds.

    Args:
        lake: The lake.
        query: What is looked for.
        fusion: How several orders become one; reciprocal ranks by default.
        reranker: Looks more closely at the first hundred.
        at_least: Leave out what the reranker scores lower: up to k results, maybe none. Takes a calibrated reranker.
        adjust: Use the similarity that was fitted to this snapshot, where one was and it was better than the cosine.
        slots: Which words of the query that name values of the tables narrow it: auto, all, none, or kinds (`tasks.slots`).
            Where nothing passes they are given up one after the other, and the notes say so.
        without: Kinds of slots that do not.
        snapshot: What is searched, where it is at hand; else what the query says.

    Raises:
        DataError: The lake is empty, or the query cannot be asked that way.
        NoSuchTable: The snapshot has no vectors of the encoder.
        EncoderError: The encoder's weights are not those that made the vectors.
    """
    if at_least is not None and not getattr(reranker, "calibrated", False):
        raise DataError(
            "a threshold means the same for all queries only with a calibrated reranker: name one"
        )
    if snapshot is None:
        snapshot = lake.snapshot(query.at) if query.at else lake.head()
    if snapshot is None:
        raise DataError(f"{lake.uri} is empty: run `xmodal curate RECIPE` or `xmodal demo` first")
    words_alone = query.first == "match" and reranker is None
    entry = (
        None
        if words_alone and not encoder_tables(lake, snapshot)
        else encoder_table(lake, snapshot, query.encoder, bridged=True)
    )
    wanted = query.k + query.offset
    closer = reranker is not None
    depth = max(LOOKED_AT, wanted) if closer else wanted

    def looked(query: Query) -> tuple[AskedOf | None, Candidates]:
        what = None if words_alone or entry is None else asked(lake, snapshot, entry, query)
        return what, _candidates(lake, snapshot, entry, query, what, depth, fusion, adjust)

    read = narrowed(lake, snapshot, query, slots, without)
    what, candidates = looked(read.query)
    less = read
    while not len(candidates) and (fewer := less.relaxed()) is not None:
        less, (what_of_less, found) = fewer, looked(fewer.query)
        if len(found):
            read, what, candidates = less, what_of_less, found
    query, candidates = read.query, replace(candidates, notes=(*read.notes, *candidates.notes))
    if reranker is not None and entry is not None and what is not None:
        candidates = _closer(lake, snapshot, entry, query, what, candidates, reranker, at_least)
    shown = replace(
        candidates,
        item_ids=candidates.item_ids[query.offset : wanted],
        scores=candidates.scores[query.offset : wanted],
    )
    table = entry.table if entry and what else ""
    return Found(snapshot, table, shown, what.vector if what else None, read.slots)


def _candidates(
    lake: Lake,
    snapshot: Snapshot,
    entry: EncoderTable | None,
    query: Query,
    what: AskedOf | None,
    depth: int,
    fusion: Fusion | None,
    adjust: bool,
) -> Candidates:
    """Return candidates: over a bridge while an encoder's vectors are being made, else of the first stage, adjusted."""
    if entry is not None and what is not None and query.first == "dense":
        bridge = bridges.serving(lake, snapshot, entry.table, side=query.side)
        if bridge is not None:
            return _mixed(lake, snapshot, bridge, query, what, depth)
    if entry is not None and what is not None and adjust and _is_plain(query, what):
        matrix = matrix_of(lake, snapshot, entry.table, "media")
        fitted = stored(lake, snapshot, entry, matrix)
        if fitted is not None:
            found = first_stage(lake, snapshot, entry, query, what, max(depth, ADJUSTED), fusion=fusion)
            return fitted(matrix, what.vector, found)
    return first_stage(lake, snapshot, entry, query, what, depth, fusion=fusion)


def _mixed(
    lake: Lake, snapshot: Snapshot, bridge: Bridge, query: Query, what: AskedOf, depth: int
) -> Candidates:
    """Return candidates while only some items have vectors of the encoder: the others by their old ones."""

    def nearest(table: str, vector: np.ndarray, k: int) -> Candidates:
        (found,) = dense(
            lake, snapshot, table, vector[None], k,
            side=query.side, where=query.where, modality=query.modality, among=query.among, search=query.search,
        )  # fmt: skip
        return found

    crossed = Crossing.from_state(bridge.crossings[query.side])(what.vector[None])[0]
    return without(
        bridges.mixed(
            lake, snapshot, bridge, what.vector, crossed,
            k=depth + len(what.without), side=query.side, nearest=nearest,
        ),
        what.without,
    )  # fmt: skip


def _is_plain(query: Query, what: AskedOf) -> bool:
    """Whether words are compared with vectors of media alone: what similarities were fitted for."""
    alone = query.side == "media" and query.first == "dense" and query.by == "media"
    return alone and what.words is not None and not query.unlike and query.replace is None


def _closer(
    lake: Lake,
    snapshot: Snapshot,
    entry: EncoderTable,
    query: Query,
    what: AskedOf,
    found: Candidates,
    reranker: Reranker,
    at_least: float | None,
) -> Candidates:
    """Return candidates in the reranker's order, cut where it says so."""
    if not len(found):
        return found
    vectors = items_of(lake, snapshot, entry.table, list(found.item_ids))
    looked = Closer(found.item_ids, np.stack([vectors[item] for item in found.item_ids]), found.scores)
    scores = reranker(Asked(what.vector, query.text), looked)
    order = best_first(found.item_ids, scores)
    notes = found.notes
    if at_least is not None:
        stay = kept(found.item_ids, scores, at_least=at_least, k=len(order))
        notes = (
            *notes,
            f"{len(order) - len(stay)} of {len(order)} candidates scored under {at_least:g} and were left out",
        )
        order = stay
    return replace(
        found,
        item_ids=tuple(found.item_ids[row] for row in order),
        scores=np.asarray(scores[order], np.float32),
        exact=False,
        notes=notes,
        facts={**found.facts, "reranker": reranker.name},
    )
