"""Look up vectors of a snapshot: which kept media or texts lie nearest."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas.errors import NoSuchTable
from schemas.tables import EMBEDDINGS_PREFIX
from storage.lake import Lake
from storage.versions import Snapshot

_ID = {"media": "media_id", "text": "text_id"}


@dataclass(frozen=True)
class EncoderTable:
    """An encoder's table at a snapshot, and what its metadata says of the encoder.

    Args:
        table: Name of the table.
        ref: The encoder as the recipe named it: {"name": ..., "params": ...}.
        identity: Name, parameters, digest of the weights, width.
        rows: Vectors in it.
    """

    table: str
    ref: dict[str, object]
    identity: dict[str, object]
    rows: int


@dataclass(frozen=True)
class Neighbour:
    """One result: an id, and its cosine similarity to the query in [-1, 1]."""

    item_id: str
    similarity: float


def encoder_tables(lake: Lake, snapshot: Snapshot) -> list[EncoderTable]:
    """Return the encoders' tables of a snapshot, largest first."""
    found = []
    for table in snapshot.versions:
        if table.startswith(EMBEDDINGS_PREFIX):
            dataset = lake.dataset(table, snapshot)
            said = dataset.schema.metadata or {}
            ref = json.loads(said.get(b"xmodal.encoder_ref", b"{}"))
            identity = json.loads(said.get(b"xmodal.encoder", b"{}"))
            found.append(EncoderTable(table, ref, identity, snapshot.row_counts[table]))
    return sorted(found, key=lambda entry: -entry.rows)


def encoder_table(lake: Lake, snapshot: Snapshot, name: str | None = None) -> EncoderTable:
    """Return an encoder's table by its own or its encoder's name; the largest by default.

    Raises:
        NoSuchTable: The snapshot has no such table.
    """
    found = encoder_tables(lake, snapshot)
    for entry in found:
        if name in (None, entry.table, entry.ref.get("name")):
            return entry
    has = (
        ", ".join(entry.table for entry in found)
        or "none: name an encoder in the recipe and run `xmodal curate`"
    )
    raise NoSuchTable(f"no vectors of {name or 'any encoder'} at {snapshot.snapshot_id}; it has {has}")


def nearest(
    lake: Lake, snapshot: Snapshot, table: str, vector: np.ndarray, k: int, *, side: str = "media"
) -> list[Neighbour]:
    """Return the k nearest kept items of a side, nearest first. Exact.

    Args:
        lake: The lake.
        snapshot: What to search.
        table: The encoder's table.
        vector: (D,) unit vector, float32.
        k: How many at most.
        side: media or text.

    Raises:
        ValueError: `side` is neither, `k` is under 1, or the vector has another width than the table.
    """
    if side not in _ID or k < 1:
        raise ValueError(f"side is media or text and k at least 1; found {side!r} and {k}")
    dataset = lake.dataset(table, snapshot)
    width = dataset.schema.field("vector").type.list_size
    if vector.shape != (width,):
        raise ValueError(f"the query has shape {vector.shape} but vectors of {table} are {width} wide")
    total = dataset.count_rows(filter=f"side = '{side}'")
    asked = k
    while True:  # vectors of what was dropped later are still there: ask for more until enough are kept
        asked = min(max(asked, 1), max(total, 1))
        found = dataset.scanner(
            columns=["item_id", "_distance"],
            filter=f"side = '{side}'",
            prefilter=True,
            nearest={"column": "vector", "q": vector, "k": asked, "metric": "cosine", "use_index": False},
        ).to_table()
        kept = _kept(lake, snapshot, side, found["item_id"])
        hits = [
            Neighbour(item_id, 1.0 - distance)
            for item_id, distance in zip(
                found["item_id"].to_pylist(), found["_distance"].to_pylist(), strict=True
            )
            if item_id in kept
        ]
        if len(hits) >= k or asked >= total:
            return hits[:k]
        asked *= 4


def by_ids(
    lake: Lake, snapshot: Snapshot, table: str, key: str, ids: list[str], columns: list[str]
) -> pa.Table:
    """Return rows of a content table by key, in no particular order."""
    if not ids:
        return lake.dataset(table, snapshot).schema.empty_table().select(columns)
    listed = ", ".join(f"'{_hexadecimal(item)}'" for item in ids)
    return lake.dataset(table, snapshot).to_table(columns=columns, filter=f"{key} IN ({listed})")


def _kept(lake: Lake, snapshot: Snapshot, side: str, ids: pa.ChunkedArray) -> set[str]:
    key = _ID[side]
    table = "media" if side == "media" else "texts"
    rows = by_ids(lake, snapshot, table, key, ids.to_pylist(), [key, "kept", "present"])
    return {row[key] for row in rows.to_pylist() if row["present"] and row["kept"] is not False}


def _hexadecimal(item: str) -> str:
    if not item.isalnum():
        raise ValueError(f"{item!r} is no id: ids are hexadecimal digits")
    return item
