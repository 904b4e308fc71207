"""Rows of a table by key without reading the table: which row has which key is read once a version, and held.

A filter on a key compares every row of its column. Here the first bytes of every key are held in order, 16 bytes a row
with the row's id; what is fetched is compared with the whole key.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.lake import Lake
from storage.matrix import Recent
from storage.versions import Snapshot

HELD_BYTES = 512 << 20  # of all keys
OPEN_TABLES = 64
MOST = 4096  # rows fetched one by one; beyond, reading the column is no slower
_WIDTH = 8  # bytes of a key that are held


@dataclass(frozen=True, eq=False)
class Keys:
    """The keys of a version of a table.

    Args:
        heads: (N,) uint64, ascending: the first eight bytes of each key.
        row_ids: (N,) uint64 ids of their rows, as the table gives them.
    """

    heads: NDArray[np.uint64]
    row_ids: NDArray[np.uint64]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.heads.nbytes + self.row_ids.nbytes

    def rows_of(self, keys: Sequence[str]) -> NDArray[np.uint64]:
        """Return the ids of all rows whose key begins as one of these does, ascending."""
        wanted = np.unique(_heads(pa.array(keys, pa.string())))
        first, last = (np.searchsorted(self.heads, wanted, side) for side in ("left", "right"))
        parts = [self.row_ids[low:high] for low, high in zip(first, last, strict=True)]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.uint64)


@dataclass(frozen=True, eq=False)
class Opened:
    """A version of a table that stays open.

    Args:
        dataset: The table.
    """

    dataset: lance.LanceDataset

    @cached_property
    def content(self) -> str:
        """Digest over its data and deletion files, whose names are random: equal digests are equal rows."""
        files = [
            json.dumps(one.metadata.to_json(), sort_keys=True, default=str)
            for one in self.dataset.get_fragments()
        ]
        return hashlib.blake2b("\n".join(files).encode(), digest_size=20).hexdigest()


_OPEN: Recent[Opened] = Recent(OPEN_TABLES, lambda _: 1)
_KEYS: Recent[Keys] = Recent(HELD_BYTES, lambda keys: keys.nbytes)


def opened(lake: Lake, snapshot: Snapshot, table: str) -> Opened:
    """Return a table at a snapshot, open since it was last asked for. To read; whoever writes opens it anew.

    Raises:
        NoSuchTable: The snapshot has no such table.
    """
    # a lake made anew at the same place has snapshots of the same names, but not of the same moment
    key = (lake.uri, snapshot.snapshot_id, snapshot.created_at, snapshot.run_id, table)
    return _OPEN.get(key, lambda: Opened(lake.dataset(table, snapshot)))


def fetched(
    lake: Lake, snapshot: Snapshot, table: str, key: str, wanted: Sequence[str], columns: Sequence[str]
) -> pa.Table | None:
    """Return the rows that have one of these keys; None where so many may have one that the table is better read.

    Args:
        lake: The lake.
        snapshot: Which state of it.
        table: Name of a table of the lake.
        key: Column of strings.
        wanted: Keys.
        columns: What to return of each row.

    Raises:
        NoSuchTable: The snapshot has no such table.
    """
    table_of = opened(lake, snapshot, table)
    dataset = table_of.dataset
    at = _KEYS.get((table_of.content, key), lambda: _read(dataset, key)).rows_of(wanted)
    if len(at) > MOST:
        return None
    names = list(dict.fromkeys([*columns, key]))
    if not len(at):
        return dataset.schema.empty_table().select(list(columns))
    rows = dataset._take_rows(at.tolist(), columns=names)
    return rows.filter(pc.is_in(rows[key], value_set=pa.array(wanted, pa.string()))).select(list(columns))


def _read(dataset: lance.LanceDataset, key: str) -> Keys:
    heads, row_ids = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for batch in dataset.scanner(columns=[key], with_row_id=True).to_batches():
        heads.append(_heads(batch[key]))
        row_ids.append(batch["_rowid"].to_numpy())
    head = np.concatenate(heads)
    order = np.argsort(head, kind="stable")
    return Keys(head[order], np.concatenate(row_ids)[order])


def _heads(keys: pa.Array) -> NDArray[np.uint64]:
    """Return the first eight bytes of each string as a number; shorter strings end in zeros. (N,) uint64."""
    cut = pc.fill_null(pc.binary_slice(keys.cast(pa.binary()), 0, _WIDTH), b"")
    return np.array(cut.to_pylist(), f"S{_WIDTH}").view(">u8").astype(np.uint64)
