"""One DuckDB connection over a snapshot and a run's staged rows: joins that spill to disk instead of to memory."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pds

from schemas.tables import TableSpec
from storage import rows
from storage.lake import Lake
from storage.staging import Staging
from storage.versions import Snapshot

BATCH_ROWS = 512


@dataclass(frozen=True)
class Workbench:
    """Names a query may use: `base_<table>` for the snapshot, and whatever was added.

    Args:
        con: The connection.
        lake: The lake.
        base: The snapshot behind `base_<table>`; None: every base table is empty.
        staging: Where results are written.
    """

    con: duckdb.DuckDBPyConnection
    lake: Lake
    base: Snapshot | None
    staging: Staging

    def add_base(self, *specs: TableSpec) -> None:
        """Offer tables as they are in the snapshot; empty where it has none."""
        for spec in specs:
            has = self.base is not None and spec.name in self.base.versions
            rows_of: pds.Dataset = (
                self.lake.dataset(spec.name, self.base) if has else pds.dataset(spec.stored.empty_table())
            )
            self.con.register(f"base_{_name(spec.name)}", rows_of)

    def add_staged(self, name: str, paths: Sequence[str], schema: pa.Schema) -> None:
        """Offer staged files as one table."""
        self.con.register(_name(name), self.staging.dataset(paths, schema))

    def table(self, sql: str, params: Sequence[object] = ()) -> pa.Table:
        """Return a query's rows; for small results."""
        return self.con.sql(sql, params=list(params)).to_arrow_table()

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return a query's rows as tuples; for small results."""
        return self.con.execute(sql, list(params)).fetchall()

    def batches(
        self, sql: str, params: Sequence[object] = (), *, size: int = BATCH_ROWS
    ) -> pa.RecordBatchReader:
        """Stream a query's rows."""
        return self.con.sql(sql, params=list(params)).to_arrow_reader(size)

    def tables(self, sql: str, params: Sequence[object] = (), *, size: int) -> Iterator[pa.Table]:
        """Stream a query's rows as tables of exactly `size` rows, the last one shorter, whatever DuckDB's batches are."""
        held: list[pa.RecordBatch] = []
        count = 0
        for batch in self.batches(sql, params, size=size):
            while len(batch):
                part = batch.slice(0, size - count)
                batch = batch.slice(len(part))
                held.append(part)
                count += len(part)
                if count == size:
                    yield pa.Table.from_batches(held).combine_chunks()
                    held, count = [], 0
        if held:
            yield pa.Table.from_batches(held).combine_chunks()

    def stage(self, sql: str, *parts: str, schema: pa.Schema | None = None) -> str:
        """Write a query's rows to a staged file, streaming, and return its path."""
        reader = self.batches(sql)
        wanted = schema or reader.schema
        return self.staging.write_batches(
            (
                pa.Table.from_batches([batch])
                .select(wanted.names)
                .cast(wanted)
                .combine_chunks()
                .to_batches()[0]
                for batch in reader
                if len(batch)
            ),
            wanted,
            *parts,
        )

    def stage_rows(self, sql: str, spec: TableSpec, *parts: str) -> str:
        """Write a query's rows as rows of a content table, digest included, and return the file's path."""

        def digested() -> Iterator[pa.RecordBatch]:
            for batch in self.batches(sql):
                if len(batch):
                    yield from (
                        rows.with_digest(pa.Table.from_batches([batch]), spec).combine_chunks().to_batches()
                    )

        return self.staging.write_batches(digested(), spec.stored, *parts)


@contextmanager
def workbench(
    lake: Lake, base: Snapshot | None, staging: Staging, *, memory: str = "512MB"
) -> Iterator[Workbench]:
    """Open a connection with bounded memory that reads nothing but what it is given.

    Args:
        lake: The lake.
        base: The snapshot to read.
        staging: Where results go.
        memory: Limit before queries spill to a temporary folder.
    """
    with TemporaryDirectory(prefix="xmodal-spill-") as spill:
        config: dict[str, Any] = {
            "memory_limit": memory,
            "temp_directory": str(Path(spill)),
            "python_enable_replacements": "false",
            "threads": "2",
            "preserve_insertion_order": "false",
        }
        with duckdb.connect(config=config) as con:
            con.execute("SET TimeZone = 'UTC'")
            con.execute("SET enable_external_access = false")  # last: it also freezes temp_directory
            yield Workbench(con, lake, base, staging)


def _name(name: str) -> str:
    """Return the name, refusing what could leave an SQL identifier."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} cannot name a table of a query")
    return name
