"""What a statement gave: rows as Arrow, CSV, Parquet or JSON, and where they came from."""

import base64
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq

from storage.sql.scans import Read

Target = str | os.PathLike[str] | IO[bytes]


@dataclass(frozen=True)
class Call:
    """A table function that ran before the statement.

    Args:
        name: The function.
        args: What it was given, as a person would write it.
        rows: Rows it gave.
        seconds: How long it took.
    """

    name: str
    args: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """Rows of a statement.

    Args:
        table: The rows.
        snapshot_id: The snapshot that tables without a version of their own were read at; None in an empty lake.
        reads: What was read, table by table.
        calls: Functions that ran before.
        truncated: There were more rows than the limit.
        seconds: How long it took, calls included.
        sql: What the engine ran.
        plan: The engine's plan, where EXPLAIN asked for it.
        notes: What whoever asked should be told.
    """

    table: pa.Table
    snapshot_id: str | None
    reads: tuple[Read, ...] = ()
    calls: tuple[Call, ...] = ()
    truncated: bool = False
    seconds: float = 0.0
    sql: str = ""
    plan: str = ""
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return self.table.num_rows

    def arrow(self) -> pa.Table:
        """Return the rows."""
        return self.table

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return self.table.to_pylist()

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Which version of which table was read: [{table, snapshot, version}], each once."""
        found = {(read.table, read.snapshot_id, read.version): None for read in self.reads}
        return [
            {"table": table, "snapshot": snapshot, "version": version} for table, snapshot, version in found
        ]

    @property
    def pushed(self) -> list[dict[str, Any]]:
        """What was read of each table: [{table, version, source, columns, filters, rows}]."""
        return [
            {
                "table": read.table,
                "version": read.version,
                "source": read.source,
                "columns": list(read.columns),
                "filters": list(read.filters),
                "rows": read.rows,
            }
            for read in self.reads
        ]

    def to_csv(self, target: Target) -> None:
        """Write CSV, UTF-8 with a header. Lists and structs are JSON, bytes hexadecimal."""
        with _opened(target) as file:
            pacsv.write_csv(_flat(self.table), file)

    def to_parquet(self, target: Target) -> None:
        """Write Parquet; its metadata says where the rows came from. Intervals are texts."""
        with _opened(target) as file:
            pq.write_table(_without_intervals(self._said()), file, compression="zstd")

    def to_arrow(self, target: Target) -> None:
        """Write an Arrow IPC file; its metadata says where the rows came from."""
        with _opened(target) as file:
            feather.write_feather(self._said(), file, compression="uncompressed")

    def to_json(self, target: Target) -> None:
        """Write a JSON list of objects. Bytes are base64; NaN and infinities are null, as JSON has none."""
        with _opened(target) as file:
            file.write(b"[")
            for place, batch in enumerate(_batches(self.table)):
                said = orjson.dumps(batch.to_pylist(), default=_plain, option=orjson.OPT_NON_STR_KEYS)[1:-1]
                file.write((b",\n" if place else b"\n") + said)
            file.write(b"\n]\n")

    def text(self, kind: str) -> str:
        """Return the rows as `csv` or `json` text."""
        held = io.BytesIO()
        {"csv": self.to_csv, "json": self.to_json}[kind](held)
        return held.getvalue().decode()

    def _said(self) -> pa.Table:
        metadata = {
            **(self.table.schema.metadata or {}),
            b"xmodal.provenance": json.dumps(self.provenance).encode(),
            b"xmodal.sql": self.sql.encode(),
            b"xmodal.truncated": str(self.truncated).lower().encode(),
        }
        return self.table.replace_schema_metadata(metadata)


@contextmanager
def _opened(target: Target) -> Iterator[IO[bytes]]:
    """Open a path so that a file is whole or not there; a stream is used as it is."""
    if not isinstance(target, (str, os.PathLike)):
        yield target
        return
    path = Path(target)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _batches(table: pa.Table) -> Sequence[pa.RecordBatch]:
    return [batch for batch in table.to_batches(max_chunksize=10_000) if len(batch)]


def _flat(table: pa.Table) -> pa.Table:
    """Return a table whose columns CSV can hold."""
    columns, names = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        names.append(name)
        if pa.types.is_nested(kind) or isinstance(kind, pa.ExtensionType):
            columns.append(
                _texts(
                    column,
                    lambda value: orjson.dumps(
                        value, default=_plain, option=orjson.OPT_NON_STR_KEYS
                    ).decode(),
                )
            )
        elif (
            pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
        ):
            columns.append(_texts(column, lambda value: value.hex()))
        elif pa.types.is_dictionary(kind):
            columns.append(column.cast(kind.value_type))
        elif pa.types.is_interval(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
            columns.append(_texts(column, str))
        else:
            columns.append(column)
    return pa.table(columns, names=names) if names else table


def _without_intervals(table: pa.Table) -> pa.Table:
    """Return a table whose columns Parquet can hold: spans of months, days and nanoseconds become texts."""
    for place, column in enumerate(table.schema):
        if pa.types.is_interval(column.type):
            table = table.set_column(place, column.name, _texts(table[place], str))
    return table


def _texts(column: pa.ChunkedArray, said: Callable[[Any], str]) -> pa.Array:
    return pa.array([None if value is None else said(value) for value in column.to_pylist()], pa.string())


def _plain(value: object) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    return str(value)
