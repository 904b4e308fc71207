"""Narrow rows of a table by an id, without reading a column of all of it each time.

A scan for a hundred ids costs as much as the table is long, and asking Lance for single rows costs a page each. So the
columns wanted are read once a version of the table and process, in the order of the first 64 bits of the id; what searching
needs of `pairs` takes some 130 bytes a row. Ids are digests, so 64 bits nearly always name one row; the rest is compared.
"""

from collections.abc import Collection
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.matrix import Recent, files_key

MANY = 20_000  # rows under which a scan is as quick
HELD_BYTES = 1 << 30  # of all tables; one that would take more by itself is scanned
_ROW_BYTES = 160  # of a row, about
_DIGITS = 16  # hexadecimal, of an id


@dataclass(frozen=True)
class _Ordered:
    """Rows in the order of an id: `prefixes` are its first 64 bits, ascending, (N,) uint64."""

    prefixes: NDArray[np.uint64]
    rows: pa.Table

    @property
    def nbytes(self) -> int:
        return int(self.prefixes.nbytes + self.rows.nbytes)

    def of(self, wanted: NDArray[np.uint64]) -> pa.Table:
        """Return the rows that may have some ids."""
        first = np.searchsorted(self.prefixes, wanted, side="left")
        count = np.searchsorted(self.prefixes, wanted, side="right") - first
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return self.rows.take(pa.array(np.unique(np.repeat(first, count) + within)))


_KNOWN: Recent[_Ordered | None] = Recent(HELD_BYTES, lambda ordered: ordered.nbytes if ordered else 64)


def rows_by_id(
    dataset: lance.LanceDataset, key: str, ids: Collection[str], columns: tuple[str, ...]
) -> pa.Table | None:
    """Return the rows whose column `key` holds one of some ids, in no particular order; None: scan for them.

    Args:
        dataset: A version of a table.
        key: A column of hexadecimal ids of one length; need not be the table's key.
        ids: What is looked for.
        columns: What to return, `key` among it; all of it is held in memory, so nothing wide.
    """
    if not MANY <= dataset.count_rows() <= HELD_BYTES // _ROW_BYTES:
        return None
    ordered = _KNOWN.get(
        files_key(dataset, "rows by", key, *columns), lambda: _ordered(dataset, key, columns)
    )
    wanted = _prefixes(pa.array(sorted(set(ids)), pa.string()))
    if ordered is None or wanted is None:
        return None
    rows = ordered.of(wanted)
    return rows.filter(pc.is_in(rows[key], value_set=pa.array(list(ids), pa.string())))


def _ordered(dataset: lance.LanceDataset, key: str, columns: tuple[str, ...]) -> _Ordered | None:
    rows = dataset.to_table(columns=list(columns)).combine_chunks()
    prefixes = _prefixes(rows[key].combine_chunks())
    if prefixes is None:
        return None
    order = np.argsort(prefixes, kind="stable")
    return _Ordered(prefixes[order], rows.take(pa.array(order)).combine_chunks())


def _prefixes(ids: pa.Array) -> NDArray[np.uint64] | None:
    """Return the first 64 bits of hexadecimal ids of one length; None where they are something else. (N,)."""
    if not len(ids):
        return np.empty(0, np.uint64)
    lengths = pc.min_max(pc.binary_length(ids)).as_py()
    width = lengths["min"]
    if ids.null_count or width != lengths["max"] or width < _DIGITS:
        return None
    begin = int(np.frombuffer(ids.buffers()[1], np.int32)[ids.offset])
    digits = np.frombuffer(ids.buffers()[2], np.uint8)[begin : begin + width * len(ids)]
    digits = digits.reshape(-1, width)[:, :_DIGITS]
    values = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0"))  # wraps below "0"
    if (values > 15).any():
        return None
    prefixes = np.zeros(len(ids), np.uint64)
    for column in range(_DIGITS):
        prefixes = prefixes << np.uint64(4) | values[:, column].astype(np.uint64)
    return prefixes
