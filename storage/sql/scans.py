"""Tables as the engine scans them: columns and filters go down to Lance, and what they were is noted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lance
import pyarrow as pa
import pyarrow.dataset as pds

from storage.streams import Stream

COUNTED = "__rows"  # a column that costs nothing: what the engine asks for where it only counts
BATCH_BYTES = 4 << 20
FILTERED_BYTES = 32 << 20  # of what a filter is put to, few of which come back
COUNT_BATCH = 122_880  # rows; the engine's own row group, so that threads share the work
_COUNT_TYPE = pa.bool_()


@dataclass
class Read:
    """What a statement read of one table.

    Args:
        table: The table.
        snapshot_id: Of which snapshot; None for logs, which stand outside snapshots.
        version: Lance version.
        source: `lance`; `memory` where the columns are kept in the engine; `ids` where rows were looked up by key; `arrow`
            for what fits into a list.
        columns: Columns that were read.
        filters: What went down with them, as the engine said it.
        rows: Rows that came back.
    """

    table: str
    snapshot_id: str | None
    version: int
    source: str = "lance"
    columns: list[str] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)
    rows: int = 0

    def note(self, columns: Sequence[str], wanted: object) -> None:
        """Add one scan."""
        self.columns += [name for name in columns if name not in self.columns and name != COUNTED]
        if wanted is not None and str(wanted) not in self.filters:
            self.filters.append(str(wanted))


class Scan(pds.Dataset):
    """A Lance table as the engine sees it.

    The engine asks `scanner` for columns and a filter. A filter Lance does not take, as on a part of a struct, is
    applied here instead.

    Args:
        rows: The table.
        columns: Columns it shows.
        read: Where to note what was asked.
        dry: Note it and give no rows.
    """

    def __init__(
        self, rows: lance.LanceDataset, columns: Sequence[str], read: Read, *, dry: bool = False
    ) -> None:
        self._rows = rows
        self._dry = dry
        self._read = read
        schema = rows.schema
        self._schema = pa.schema([pa.field(COUNTED, _COUNT_TYPE), *(schema.field(name) for name in columns)])

    @property
    def schema(self) -> pa.Schema:
        """The columns, the one that costs nothing first: it is what the engine takes where it needs none."""
        return self._schema

    def scanner(self, *_: Any, columns: Sequence[str] | None = None, filter: Any = None, **__: Any) -> Any:
        """Return the rows of some columns that pass a filter."""
        names = list(columns) if columns is not None else self._schema.names
        self._read.note(names, filter)
        if self._dry:
            asked = pa.schema([self._schema.field(name) for name in names])
            return Stream(asked, ())
        if names == [COUNTED]:
            return self._counted(filter)
        if COUNTED in names:
            raise pa.ArrowInvalid(
                f"{COUNTED} is no column to read"
            )  # the engine never asks for it with others
        schema = pa.schema([self._schema.field(name) for name in names])
        return Stream(schema, self._noted(self._batches(names, filter)))

    def _batches(self, names: list[str], wanted: Any) -> Iterator[pa.RecordBatch]:
        size = batch_rows(
            pa.schema([self._schema.field(name) for name in names]),
            BATCH_BYTES if wanted is None else FILTERED_BYTES,
        )
        try:
            batches = self._rows.scanner(columns=names, filter=wanted, batch_size=size).to_batches()
            first = next(batches, None)
        except (ValueError, OSError, NotImplementedError, pa.ArrowException):
            if wanted is None:
                raise
            every = [name for name in self._schema.names if name != COUNTED]
            reader = self._rows.scanner(columns=every, batch_size=size).to_reader()
            yield from pds.Scanner.from_batches(reader, columns=names, filter=wanted).to_batches()
            return
        if first is not None:
            yield first
            yield from batches

    def _noted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self._read.rows += len(batch)
            yield batch

    def _counted(self, wanted: Any) -> pds.Scanner:
        try:
            count = self._rows.count_rows() if wanted is None else self._rows.count_rows(filter=wanted)
        except (TypeError, ValueError, OSError, NotImplementedError, pa.ArrowException):
            every = [name for name in self._schema.names if name != COUNTED]
            reader = self._rows.scanner(columns=every).to_reader()
            count = pds.Scanner.from_batches(reader, filter=wanted).count_rows()
        self._read.rows += count
        schema = pa.schema([self._schema.field(COUNTED)])
        whole = pa.record_batch([pa.nulls(min(count, COUNT_BATCH), _COUNT_TYPE)], schema=schema)
        parts = (whole.slice(0, min(COUNT_BATCH, count - at)) for at in range(0, count, COUNT_BATCH))
        return pds.Scanner.from_batches(parts, schema=schema)


def readable(schema: pa.Schema) -> list[str]:
    """Return the columns the engine can take: neither half-precision numbers nor references to bytes kept apart."""
    return [field.name for field in schema if not _unreadable(field)]


def batch_rows(schema: pa.Schema, most: int = BATCH_BYTES) -> int:
    """Return how many rows are read at once, by how wide they are."""
    return max(64, min(32_768, most // max(1, sum(width(field.type) for field in schema))))


def looked_up(
    dataset: lance.LanceDataset, wanted: Mapping[str, pa.Array], columns: Sequence[str], read: Read
) -> pa.Table:
    """Return rows whose columns hold one of some values, by the values alone.

    Args:
        dataset: The table.
        wanted: {column of texts: values}; a row must pass all.
        columns: Columns to read.
        read: Where to note it.
    """
    said = []
    for name, values in wanted.items():
        listed = ", ".join(_quoted(value) for value in values.to_pylist())
        said.append(f"{name} IN ({listed})" if listed else "false")
    found = dataset.to_table(columns=list(columns), filter=" AND ".join(said))
    read.source = "ids"
    read.columns = list(columns)
    read.filters = [f"{name} IN ({len(values)} ids)" for name, values in wanted.items()]
    read.rows = found.num_rows
    return found


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


def _unreadable(field: pa.Field) -> bool:
    if (field.metadata or {}).get(b"lance-encoding:blob") or pa.types.is_float16(field.type):
        return True
    inner = getattr(field.type, "value_type", None)
    return bool(isinstance(inner, pa.DataType) and pa.types.is_float16(inner)) or isinstance(
        field.type, pa.ExtensionType
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
