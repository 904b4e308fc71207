"""What SQL can ask of the engine: search, match, hybrid, similar_to, neighbours and similarity."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError
from schemas.ranking import Query
from storage.lake import Lake
from storage.matrix import matrix_of
from storage.search import dense, encoder_table
from storage.sql import Functions
from storage.versions import Snapshot
from tasks.retrieval.asked import encoder_of, items_of
from tasks.retrieval.find import find

K = 10
FOUND = pa.schema(
    [pa.field("digest", pa.string()), pa.field("score", pa.float32()), pa.field("rank", pa.int32())]
)


def search(lake: Lake, snapshot: Snapshot | None, /, text: str | None = None, **options: Any) -> pa.Table:
    """Return what a search finds: digest (media_id, or text_id where side is text), score and rank.

    Args:
        lake: The lake.
        snapshot: What the statement reads.
        text: In words.
        options: k, offset, side, modality, by, where, encoder, like, unlike, first and search: fields of `Query`. Several
            values are a list. A picture is not among them: a statement reads no files.
    """
    return _found(lake, snapshot, _query(snapshot, {"text": text, **options}))


def match(lake: Lake, snapshot: Snapshot | None, /, text: str, **options: Any) -> pa.Table:
    """Return what shares words with a text, by BM25. Options as for `search`."""
    return _found(lake, snapshot, _query(snapshot, {"text": text, **options, "first": "match"}))


def hybrid(lake: Lake, snapshot: Snapshot | None, /, text: str, **options: Any) -> pa.Table:
    """Return what vectors and words find together, fused by ranks. Options as for `search`."""
    return _found(lake, snapshot, _query(snapshot, {"text": text, **options, "first": "hybrid"}))


def similar_to(lake: Lake, snapshot: Snapshot | None, /, digest: str, **options: Any) -> pa.Table:
    """Return what resembles an item, the item itself left out. Options as for `search`."""
    return _found(lake, snapshot, _query(snapshot, {**options, "like": digest}))


def neighbours(
    lake: Lake,
    snapshot: Snapshot | None,
    /,
    k: int = K,
    side: str = "media",
    of: str = "",
    encoder: str | None = None,
    where: str | None = None,
) -> pa.Table:
    """Return for each kept item of a side its k nearest of another: digest, neighbour, score and rank.

    Args:
        lake: The lake.
        snapshot: What the statement reads.
        k: How many each.
        side: What the neighbours are: media or text.
        of: Whose they are; the same side by default, and then an item is none of its own.
        encoder: Encoder, where there are several.
        where: Condition on the items whose neighbours are asked; large tables take a condition or a while.
    """
    if snapshot is None:
        raise DataError("the lake is empty: run `xmodal curate RECIPE` first")
    of = of or side
    entry = encoder_table(lake, snapshot, encoder)
    matrix = matrix_of(lake, snapshot, entry.table, of)
    scope = matrix.scope(where)
    rows = np.arange(len(matrix)) if scope.rows is None else scope.rows
    own = of == side
    parts = []
    for start in range(0, len(rows), 1024):
        at = rows[start : start + 1024]
        ids = matrix.ids.take(pa.array(at)).to_pylist()
        found = dense(lake, snapshot, entry.table, matrix.vectors.values[at], k + own, side=side)
        for item, near in zip(ids, found, strict=True):
            stay = [row for row, other in enumerate(near.item_ids) if not (own and other == item)][:k]
            parts.append(
                pa.table(
                    {
                        "digest": pa.array([item] * len(stay), pa.string()),
                        "neighbour": pa.array([near.item_ids[row] for row in stay], pa.string()),
                        "score": pa.array(near.scores[stay], pa.float32()),
                        "rank": pa.array(range(1, len(stay) + 1), pa.int32()),
                    }
                )
            )
    empty = pa.schema([FOUND.field("digest"), pa.field("neighbour", pa.string()), *list(FOUND)[1:]])
    return pa.concat_tables(parts) if parts else empty.empty_table()


def similarity(
    lake: Lake, snapshot: Snapshot | None, /, text: str, encoder: str | None = None
) -> Callable[..., pa.Array]:
    """Return the cosine of items, given by digest, with a text; null for items without a vector.

    A text that is the digest of an item means that item.
    """
    if snapshot is None:
        raise DataError("the lake is empty: run `xmodal curate RECIPE` first")
    entry = encoder_table(lake, snapshot, encoder)
    if len(text) in (32, 64) and not text.strip("0123456789abcdef"):
        vector = items_of(lake, snapshot, entry.table, [text])[text]
    else:
        vector = encoder_of(entry)([text])[0]
    sides = [matrix_of(lake, snapshot, entry.table, side) for side in ("media", "text")]

    def cosines(digests: pa.Array) -> pa.Array:
        out = np.full(len(digests), np.nan)
        for matrix in sides:
            at = pc.index_in(digests, value_set=matrix.ids).fill_null(-1).to_numpy(zero_copy_only=False)
            inside = at >= 0
            out[inside] = matrix.vectors.values[at[inside]] @ vector
        return pa.array(out, pa.float64(), mask=np.isnan(out))

    return cosines


def _query(snapshot: Snapshot | None, options: dict[str, Any]) -> Query:
    if snapshot is None:
        raise DataError("the lake is empty: run `xmodal curate RECIPE` first")
    known = Query.__dataclass_fields__.keys() - {"vector", "image", "replace", "at"}
    if strangers := sorted(options.keys() - known):
        raise TypeError(f"takes no {strangers[0]!r}; it takes {', '.join(sorted(known))}")
    for name in ("like", "unlike", "modality"):
        if name in options:
            given = options[name]
            options[name] = (given,) if isinstance(given, str) else tuple(given)
    query = Query(**options)
    return replace(query, at=snapshot.snapshot_id)


def _found(lake: Lake, snapshot: Snapshot | None, query: Query) -> pa.Table:
    found = find(lake, query, snapshot=snapshot).candidates
    return pa.table(
        {
            "digest": pa.array(found.item_ids, pa.string()),
            "score": pa.array(found.scores, pa.float32()),
            "rank": pa.array(range(query.offset + 1, query.offset + 1 + len(found)), pa.int32()),
        },
        schema=FOUND,
    )


FUNCTIONS = Functions(
    tables={
        "search": search,
        "match": match,
        "hybrid": hybrid,
        "similar_to": similar_to,
        "neighbours": neighbours,
    },
    scalars={"similarity": similarity},
)
