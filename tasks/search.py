"""Search a snapshot: what the command line, HTTP and Python callers share."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from schemas.ranking import Query
from storage import search as vectors
from storage.lake import Lake
from storage.versions import Snapshot
from tasks.fusion import Fusion
from tasks.rerankers import Reranker
from tasks.retrieval.find import find
from tasks.slots import Kinds


@dataclass(frozen=True)
class Hit:
    """One result of a search.

    Args:
        media_id: The medium; of a text, the first it belongs to, "" for none.
        similarity: Cosine similarity of the item to the query, in [-1, 1]; NaN where only words were matched.
        uri: Where its bytes are.
        texts: Its kept texts.
        thumbnail: WebP bytes.
        licence: Licence, where known.
        item_id: What was found: the medium, or the text.
        score: What it was ordered by; higher is better.
    """

    media_id: str
    similarity: float
    uri: str
    texts: tuple[str, ...]
    thumbnail: bytes = field(repr=False, default=b"")
    licence: str = ""
    item_id: str = ""
    score: float = 0.0


@dataclass(frozen=True)
class Results:
    """Hits, best first, what they were found in, and what to know about them.

    Args:
        snapshot_id: The snapshot.
        encoder: The encoder's table; "" where only words were matched.
        hits: Best first.
        notes: What was done to the query or may be missing from the hits.
        exact: No better item can have been missed.
    """

    snapshot_id: str
    encoder: str
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    exact: bool = True


def search(
    lake: Lake,
    text: str | None = None,
    *,
    fusion: Fusion | None = None,
    reranker: Reranker | None = None,
    at_least: float | None = None,
    adjust: bool = True,
    slots: Kinds | Collection[str] = "none",
    without: Collection[str] = (),
    **asked: Any,
) -> Results:
    """Return what is kept and nearest to a text, a picture, items, or all of them together.

    A picture is compared with the media's own vectors. Words are compared with those and with the vectors of the
    media's kept texts, and the two orders are fused by reciprocal ranks (Cormack et al. 2009, k = 60).

    Args:
        lake: The lake.
        text: What to look for, in words.
        fusion: How several orders become one.
        reranker: Looks more closely at the first hundred.
        at_least: Leave out what a calibrated reranker scores lower.
        adjust: Use the similarity that was fitted to the snapshot, where there is one.
        slots: Which words that name values of the tables narrow the search: auto, all, none, or kinds; notes say which
            did.
        without: Kinds of slots that do not count.
        asked: Further fields of `schemas.ranking.Query`: image, like, unlike, replace, side, modality, where, among, k,
            offset, first, search, by, at, encoder.

    Raises:
        DataError: Nothing says what is looked for, or the lake is empty.
        BadInput: The picture cannot be decoded.
        EncoderError: The encoder's weights are not those that made the vectors.
        TypeError: A query has no such field.
    """
    if strangers := sorted(asked.keys() - {one.name for one in fields(Query)}):
        raise TypeError(
            f"a query takes no {strangers[0]!r}; it takes {', '.join(one.name for one in fields(Query))}"
        )
    if isinstance(asked.get("image"), str):
        asked["image"] = Path(asked["image"])
    query = Query(text=text, **asked)
    found = find(
        lake, query, fusion=fusion, reranker=reranker, at_least=at_least, adjust=adjust, slots=slots, without=without
    )  # fmt: skip
    hits = _hits(
        lake,
        found.snapshot,
        query,
        found.table,
        found.candidates.item_ids,
        found.candidates.scores,
        found.vector,
    )
    return Results(
        found.snapshot.snapshot_id, found.table, tuple(hits), found.candidates.notes, found.candidates.exact
    )


def _hits(
    lake: Lake,
    snapshot: Snapshot,
    query: Query,
    table: str,
    ids: Sequence[str],
    scores: np.ndarray,
    vector: np.ndarray | None,
) -> list[Hit]:
    """Return what a person needs to see of each item, in the order given."""
    cosine = _cosines(lake, snapshot, table, list(ids), vector)
    pairs = _kept_pairs(lake, snapshot, "media_id" if query.side == "media" else "text_id", list(ids))
    text_ids = sorted({text_id for _, text_id in pairs} | (set(ids) if query.side == "text" else set()))
    texts = {
        row["text_id"]: row["text"]
        for row in vectors.by_ids(
            lake, snapshot, "texts", "text_id", text_ids, ["text_id", "text"]
        ).to_pylist()
    }
    media_ids = list(ids) if query.side == "media" else sorted({media_id for media_id, _ in pairs})
    columns = ["media_id", "uri", "thumbnail", "licence"]
    media = {
        row["media_id"]: row
        for row in vectors.by_ids(lake, snapshot, "media", "media_id", media_ids, columns).to_pylist()
    }
    own = 0 if query.side == "media" else 1
    hits = []
    for item, score in zip(ids, scores, strict=True):
        of_item = [pair for pair in pairs if pair[own] == item]
        medium = item if query.side == "media" else min((pair[0] for pair in of_item), default="")
        row = media.get(medium, {})
        said = {texts[text_id] for _, text_id in of_item} if query.side == "media" else {texts[item]}
        hits.append(
            Hit(
                medium,
                cosine.get(item, float("nan")),
                row.get("uri") or "",
                tuple(sorted(said)),
                row.get("thumbnail") or b"",
                row.get("licence") or "",
                item,
                float(score),
            )
        )
    return hits


def _cosines(
    lake: Lake, snapshot: Snapshot, table: str, ids: list[str], vector: np.ndarray | None
) -> dict[str, float]:
    if vector is None or not table:
        return {}
    rows = vectors.by_ids(lake, snapshot, table, "item_id", ids, ["item_id", "vector"]).to_pylist()
    return {row["item_id"]: float(np.dot(vector, np.asarray(row["vector"], np.float32))) for row in rows}


def _kept_pairs(
    lake: Lake, snapshot: Snapshot, key: Literal["media_id", "text_id"], ids: list[str]
) -> list[tuple[str, str]]:
    """Return (media_id, text_id) of the kept pairs of media or texts."""
    rows = vectors.pairs_by(lake, snapshot, key, ids).to_pylist()
    return [(row["media_id"], row["text_id"]) for row in rows if row["present"] and row["kept"] is not False]
