"""Rows as the engine reads them, at the pace it reads: Arrow's own scanner runs ahead of its reader by up to 1 GiB."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds

BATCH_BYTES = 2 << 20  # of a batch: of more, the memory is new to the processor every time
BATCH_ROWS = 1 << 15
PLACE = pa.field("place", pa.int64())
FILTERED_ROWS = 8192  # that a filter is put to at once


class Stream:
    """All that the engine asks of a scanner.

    Args:
        schema: The columns.
        batches: Their rows.
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self.projected_schema = schema
        self._batches = batches

    def to_reader(self) -> pa.RecordBatchReader:
        """Return the rows, once."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self._batches)

    def to_table(self) -> pa.Table:
        """Return the rows, once."""
        return self.to_reader().read_all()


class Batches(pds.Dataset):
    """Rows that can be read again and again, a batch at a time.

    Args:
        schema: Columns of theirs.
        make: Gives them from the first on, as often as it is called.
    """

    def __init__(self, schema: pa.Schema, make: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        self._schema, self._make = schema, make

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._schema

    def count_rows(self, *_: Any, **__: Any) -> int:
        """Return the number of rows."""
        return sum(len(batch) for batch in self._read([]))

    def to_batches(self, columns: Sequence[str] | None = None, **_: Any) -> Iterator[pa.RecordBatch]:
        """Yield the rows as they lie in the files, in their order."""
        return self._read(self._schema.names if columns is None else columns)

    def to_table(self, columns: Sequence[str] | None = None, filter: Any = None, **_: Any) -> pa.Table:
        """Return the rows."""
        return self.scanner(columns=columns, filter=filter).to_table()

    def scanner(self, columns: Sequence[str] | None = None, filter: Any = None, **_: Any) -> Any:  # type: ignore[override]
        """Return the rows of some columns that pass a filter, to be read once."""
        names = self._schema.names if columns is None else list(columns)
        asked = self._asked(names)
        return Stream(asked, self._read(names) if filter is None else self._filtered(names, filter))

    def _asked(self, names: Sequence[str]) -> pa.Schema:
        return pa.schema([self._schema.field(name) for name in names])

    def _read(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        asked = self._asked(names)
        for stored in self._make():
            batch = stored.select(list(names))
            yield batch if batch.schema.equals(asked) else batch.cast(asked)

    def _filtered(self, names: list[str], wanted: Any) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        for batch in self._read(self._schema.names):
            held.append(batch)
            if sum(map(len, held)) >= FILTERED_ROWS:
                yield from passing(held, self._schema, names, wanted)
                held = []
        yield from passing(held, self._schema, names, wanted)


def mapped_files(paths: Sequence[str], schema: pa.Schema) -> Batches:
    """Return Arrow files as one table, mapped: what is read of them belongs to no process.

    Args:
        paths: On local disk, in order.
        schema: Columns of theirs.

    Raises:
        FileNotFoundError: One is not there.
    """
    for path in paths:
        os.stat(path)

    def stored() -> Iterator[pa.RecordBatch]:
        for path in paths:
            with pa.memory_map(path) as source:
                file = pa.ipc.open_file(source)
                for number in range(file.num_record_batches):
                    yield file.get_batch(number)

    return Batches(schema, stored)


def held(rows: pa.Table) -> Batches:
    """Return a table that is mapped, as the engine is to read it: batch after batch."""
    return Batches(rows.schema, rows.to_batches)


def numbered(rows: pds.Dataset, columns: Sequence[str]) -> pa.RecordBatchReader:
    """Stream columns of rows with their numbers, as `place`."""
    schema = pa.schema([PLACE, *(rows.schema.field(name) for name in columns)])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in rows.to_batches(columns=list(columns), batch_readahead=2, fragment_readahead=1):
            place = pa.array(np.arange(start, start + len(batch)))
            yield pa.record_batch([place, *batch.columns], schema=schema)
            start += len(batch)

    return pa.RecordBatchReader.from_batches(schema, batches())


def batch_rows(schema: pa.Schema, most: int = BATCH_BYTES, rows: int = BATCH_ROWS) -> int:
    """Return how many rows, at most `rows`, are read at once, by how wide they are."""
    return max(64, min(rows, most // max(1, sum(width(field.type) for field in schema))))


def width(kind: pa.DataType) -> int:
    """Guess the bytes of one value."""
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size * width(kind.value_type)
    if pa.types.is_fixed_size_binary(kind):
        return kind.byte_width
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return 8192
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return 4 * width(kind.value_type)
    if pa.types.is_boolean(kind):
        return 1
    try:
        return max(1, kind.bit_width // 8)
    except ValueError:
        return 64


def in_words(wanted: Any) -> str:
    """Return a filter as Arrow says it. Arrow cuts long lists of texts at a byte, which may lie within a letter."""
    try:
        return str(wanted)
    except UnicodeDecodeError as error:
        return error.object.decode(errors="replace")


def passing(
    batches: list[pa.RecordBatch], schema: pa.Schema, names: list[str], wanted: Any
) -> Iterator[pa.RecordBatch]:
    """Yield columns of the rows that pass a filter."""
    if batches:
        scanner = pds.Scanner.from_batches(
            batches, schema=schema, columns=names, filter=wanted, use_threads=False
        )
        asked = pa.schema([schema.field(name) for name in names])
        for batch in scanner.to_table().to_batches():
            yield batch.cast(asked)
