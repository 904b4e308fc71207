"""A table read some rows at a time: Lance reads ahead up to 2 GB of what a slow reader has not yet taken.

A whole scan of 27 columns of a million rows held 190 MB, in windows of 65,536 rows it holds 28, for the same CPU; of narrow
columns windows of 16,384 rows hold half of those.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from numpy.typing import NDArray

from storage.streams import Stream, batch_rows, in_words, passing, width

ROWS = 1 << 14  # of a window: with fewer, planning the next one begins to count
BYTES = 16 << 20  # of one, about: rows with pixels or vectors are fewer
FAR = 4  # times as much where each window is asked for over a network
ADDRESS = pa.field("_rowaddr", pa.uint64())
WIDE = 1024  # bytes of a value: not read of a window in which no row passes


class Windowed(pds.Dataset):
    """A Lance table as DuckDB sees it; columns go down to Lance, filters are applied to what each window gives.

    Args:
        rows: The table.
        columns: What is shown of it; by default every column.
        size: Rows of a window; by default by how wide they are.
        addresses: Whether `_rowaddr`, where each row lies, is shown as well.
    """

    def __init__(
        self,
        rows: lance.LanceDataset,
        columns: Sequence[str] | None = None,
        size: int | None = None,
        *,
        addresses: bool = False,
    ) -> None:
        self._rows, self._size = rows, size
        stored = rows.schema
        self._schema = stored if columns is None else pa.schema([stored.field(name) for name in columns])
        if addresses:
            self._schema = self._schema.append(ADDRESS)

    @property
    def schema(self) -> pa.Schema:
        """The table's columns."""
        return self._schema

    def scanner(self, *_: Any, columns: Sequence[str] | None = None, filter: Any = None, **__: Any) -> Any:
        """Return the rows of some columns that pass a filter, to be read once."""
        names = list(self._schema.names if columns is None else columns)
        return Stream(
            self._asked(names), self._read(names) if filter is None else self._filtered(names, filter)
        )

    def _read(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if ADDRESS.name not in names:
            yield from in_windows(self._rows, names, size=self._size)
            return
        stored = [name for name in names if name != ADDRESS.name]
        for batch in in_windows(self._rows, stored, size=self._size, addresses=True):
            yield batch.select(list(names))

    def _asked(self, names: Sequence[str]) -> pa.Schema:
        return pa.schema([self._schema.field(name) for name in names])

    def _filtered(self, names: list[str], wanted: Any) -> Iterator[pa.RecordBatch]:
        of_filter = self._of_filter(wanted)
        read = self._asked(list(dict.fromkeys([*names, *of_filter])))
        if ADDRESS.name in read.names:
            for batch in self._read(read.names):
                yield from passing([batch], read, names, wanted)
            return
        is_wide = any(
            width(one.type) >= WIDE for one in self._asked([name for name in names if name not in of_filter])
        )
        for start, rows in _windows(self._rows, self._rows, read, self._size):
            if is_wide and of_filter and not self._passes(of_filter, start, rows, wanted):
                continue
            for batch in _window(self._rows, read.names, start, rows):
                yield from passing([batch], read, names, wanted)

    def _of_filter(self, wanted: Any) -> list[str]:
        """Return the columns a filter may name."""
        said = in_words(wanted)
        return [name for name in self._schema.names if re.search(rf"\b{re.escape(name)}\b", said)]

    def _passes(self, of_filter: list[str], start: int, rows: int, wanted: Any) -> bool:
        """Whether a row of a window passes the filter."""
        found = _window(self._rows, of_filter, start, rows)
        return any(
            passed.num_rows
            for batch in found
            for passed in passing([batch], self._asked(of_filter), of_filter, wanted)
        )


def in_windows(
    rows: lance.LanceDataset,
    columns: Sequence[str],
    *,
    fragment: Any = None,
    addresses: bool = False,
    batch: int | None = None,
    size: int | None = None,
    wanted: NDArray[np.bool_] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield columns of rows in the order they lie in, window after window.

    Args:
        rows: A table.
        columns: Its columns to read.
        fragment: The part of the table to read; by default all of it.
        addresses: Whether `_rowaddr` is read as well.
        batch: Rows of a batch; by default by how wide they are.
        size: Rows of a window; likewise.
        wanted: Which rows to yield, by their place in the part; windows without any are not read.
    """
    schema = pa.schema([rows.schema.field(name) for name in columns])
    asked: dict[str, Any] = {} if fragment is None else {"fragments": [fragment]}
    for start, count in _windows(rows, fragment or rows, schema, size):
        if wanted is not None and not wanted[start : start + count].any():
            continue
        for rows_of in _window(rows, columns, start, count, batch=batch, with_row_address=addresses, **asked):
            if wanted is None:
                yield rows_of
            else:
                yield rows_of.filter(pa.array(wanted[start : start + len(rows_of)]))
            start += len(rows_of)


def addressed(rows: lance.LanceDataset, columns: Sequence[str]) -> pa.RecordBatchReader:
    """Return columns of every row with its address, `_rowaddr`, to be read once, window after window."""
    schema = pa.schema([*(rows.schema.field(name) for name in columns), ADDRESS])
    return pa.RecordBatchReader.from_batches(schema, in_windows(rows, columns, addresses=True))


def with_values(
    rows: lance.LanceDataset, column: str, values: Sequence[str], columns: Sequence[str]
) -> pa.Table:
    """Return columns of the few rows that have one of some values in a column, in their order: that column is read alone."""
    wanted = pa.array(values, rows.schema.field(column).type)
    found = [
        address
        for batch in in_windows(rows, [column], addresses=True)
        for address in batch["_rowaddr"].filter(pc.is_in(batch[column], value_set=wanted)).to_pylist()
    ]
    taken: pa.Table = rows._take_rows(found, columns=list(columns))
    return taken


def _windows(
    rows: lance.LanceDataset, part: Any, schema: pa.Schema, size: int | None
) -> Iterator[tuple[int, int]]:
    """Yield where each window of a part of a table starts and how many rows it has."""
    count, scale = part.count_rows(), FAR if "://" in rows.uri.removeprefix("file://") else 1
    size = size or batch_rows(schema, scale * BYTES, scale * ROWS)
    for start in range(0, count, size):
        yield start, min(size, count - start)


def _window(
    rows: lance.LanceDataset,
    columns: Sequence[str],
    start: int,
    count: int,
    *,
    batch: int | None = None,
    **asked: Any,
) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([rows.schema.field(name) for name in columns])
    scanner = rows.scanner(
        columns=list(columns), offset=start, limit=count, batch_size=batch or batch_rows(schema), batch_readahead=1,
        fragment_readahead=1, scan_in_order=True, **asked,
    )  # fmt: skip
    yield from scanner.to_batches()
