"""Tables as the engine scans them: columns and filters go down to Lance, and what they were is noted."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import lance
import pyarrow as pa
import pyarrow.dataset as pds
from lance.dataset import ScannerBuilder

from storage.quoting import literals
from storage.sql.words import CODED, PLAIN, REFUSALS, Part, Words, spelled
from storage.streams import Stream, batch_rows, in_words, width

COUNTED = "__rows"  # a column that costs nothing: what the engine asks for where it only counts
FILTERED_BYTES = 32 << 20  # of what a filter is put to, few of which come back
COUNT_BATCH = 122_880  # rows; the engine's own row group, so that threads share the work
_COUNT_TYPE = pa.bool_()
_EQUALS = re.compile(r'\((\w+) == "')  # as Arrow writes a filter
_EITHER = re.compile(r" or |invert\(")


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
        if wanted is not None and (words := in_words(wanted)) not in self.filters:
            self.filters.append(words)


class Scan(pds.Dataset):
    """A Lance table as the engine sees it.

    The engine asks `scanner` for columns and a filter. A filter Lance does not take, as on a part of a struct, is
    applied here instead.

    Args:
        rows: The table.
        columns: Columns it shows.
        read: Where to note what was asked.
        dry: Note it and give no rows.
        words: How its texts lie: what has few words is given as numbers and a dictionary.
    """

    def __init__(
        self,
        rows: lance.LanceDataset,
        columns: Sequence[str],
        read: Read,
        *,
        dry: bool = False,
        words: Words = PLAIN,
    ) -> None:
        self._rows = rows
        self._dry = dry
        self._read = read
        self._words = words
        schema = rows.schema
        shown = [
            schema.field(name).with_type(CODED) if name in words.few else schema.field(name)
            for name in columns
        ]
        self._schema = pa.schema([pa.field(COUNTED, _COUNT_TYPE), *shown])

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
        schema = pa.schema([self._schema.field(name) for name in names])
        for part in self._words.parts:
            given = 0
            if part.coded:
                try:
                    for batch in spelled(self._scanned(names, wanted, part, coded=True), schema):
                        given += len(batch)
                        yield batch
                    continue
                except REFUSALS:  # a page does not lie as its footer says: as texts, from the row that is due
                    pass
            yield from spelled(self._plain(names, wanted, part), schema, given)

    def _plain(self, names: list[str], wanted: Any, part: Part) -> Iterator[pa.RecordBatch]:
        batches = self._scanned(names, wanted, part)
        try:
            first = next(batches, None)
        except REFUSALS:
            if wanted is None:
                raise
            every = [name for name in self._schema.names if name != COUNTED]
            batches = self._scanned(every, None, part)
            scanner = pds.Scanner.from_batches(
                batches, schema=self._texts(every), columns=names, filter=wanted
            )
            yield from scanner.to_batches()
            return
        if first is not None:
            yield first
            yield from batches

    def _scanned(
        self, names: list[str], wanted: Any, part: Part, *, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        yield from self._asked(names, wanted, part, coded=coded).to_scanner().to_batches()

    def _asked(self, names: list[str], wanted: Any, part: Part, *, coded: bool = False) -> ScannerBuilder:
        """Ask Lance for rows: for few words as numbers and a dictionary, or as texts."""
        rows = self._words.coded if coded else self._rows
        assert rows is not None
        schema = pa.schema([self._schema.field(name) for name in names])
        scan = ScannerBuilder(self._rows).columns(names)
        if part.fragments is not None:
            its = set(part.fragments)
            scan = scan.with_fragments([each for each in rows.get_fragments() if each.fragment_id in its])
        if wanted is None:
            scan = scan.batch_size(batch_rows(schema))
        else:
            scan = scan.filter(wanted)  # in terms of texts: Arrow cannot say it of numbers and a dictionary
            scan = scan.batch_size(batch_rows(schema, FILTERED_BYTES))
            if (late := self._late(names, wanted, coded=coded)) is not None:
                scan = scan.late_materialization(late)
        scan.ds = rows
        return scan

    def _texts(self, names: list[str]) -> pa.Schema:
        return pa.schema([self._rows.schema.field(name) for name in names])

    def _late(self, names: list[str], wanted: Any, *, coded: bool) -> bool | list[str] | None:
        """Return which columns are read of the rows that pass alone; None: as Lance sees fit, which is every text."""
        words = in_words(wanted)
        if not _EITHER.search(words) and any(name in self._words.many for name in _EQUALS.findall(words)):
            return True
        if not coded or not self._words.few.intersection(names):
            return None
        return [
            name
            for name in names
            if name not in self._words.few and not _narrow(self._schema.field(name).type)
        ]

    def _noted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self._read.rows += len(batch)
            yield batch

    def _count(self, wanted: Any, part: Part) -> int:
        for coded in (True, False) if part.coded else (False,):
            with suppress(TypeError, *REFUSALS):
                return int(self._asked([], wanted, part, coded=coded).with_row_id().to_scanner().count_rows())
        every = [name for name in self._schema.names if name != COUNTED]
        batches = self._scanned(every, None, part)
        return int(pds.Scanner.from_batches(batches, schema=self._texts(every), filter=wanted).count_rows())

    def _counted(self, wanted: Any) -> pds.Scanner:
        if wanted is None:
            count = self._rows.count_rows()
        else:
            count = sum(self._count(wanted, part) for part in self._words.parts)
        self._read.rows += count
        schema = pa.schema([self._schema.field(COUNTED)])
        whole = pa.record_batch([pa.nulls(min(count, COUNT_BATCH), _COUNT_TYPE)], schema=schema)
        parts = (whole.slice(0, min(COUNT_BATCH, count - at)) for at in range(0, count, COUNT_BATCH))
        return pds.Scanner.from_batches(parts, schema=schema)


def readable(schema: pa.Schema) -> list[str]:
    """Return the columns the engine can take: neither half-precision numbers nor references to bytes kept apart."""
    return [field.name for field in schema if not _unreadable(field)]


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
        said.append(f"{name} IN ({literals(values.to_pylist())})" if len(values) else "false")
    found = dataset.to_table(columns=list(columns), filter=" AND ".join(said))
    read.source = "ids"
    read.columns = list(columns)
    read.filters = [f"{name} IN ({len(values)} ids)" for name, values in wanted.items()]
    read.rows = found.num_rows
    return found


def _narrow(kind: pa.DataType) -> bool:
    return pa.types.is_primitive(kind) and width(kind) <= 8


def _unreadable(field: pa.Field) -> bool:
    if (field.metadata or {}).get(b"lance-encoding:blob") or pa.types.is_float16(field.type):
        return True
    inner = getattr(field.type, "value_type", None)
    return bool(isinstance(inner, pa.DataType) and pa.types.is_float16(inner)) or isinstance(
        field.type, pa.ExtensionType
    )
