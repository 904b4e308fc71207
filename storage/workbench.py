"""One DuckDB connection over a snapshot and a run's staged rows: joins that spill to disk instead of to memory."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import duckdb
import psutil
import pyarrow as pa
import pyarrow.dataset as pds

from schemas.tables import TableSpec
from storage import rows
from storage.lake import Lake
from storage.scratch import scratch
from storage.staging import Staging
from storage.versions import Snapshot

BATCH_ROWS = 512  # of rows that may hold pixels or vectors
KEY_ROWS = 4096  # of rows that hold neither
MEMORY = "auto"
# What a query held goes back to the system when it is done, not at some later query: the engine's allocator keeps it.
GIVING_BACK = {
    "allocator_background_threads": "true",
    "allocator_flush_threshold": "16MB",
    "allocator_bulk_deallocation_flush_threshold": "16MB",
}
LEAST_MEMORY = 512 << 20

_NAME = r"[a-z][a-z0-9_]*"
_DATABASE: ContextVar[Sequence[duckdb.DuckDBPyConnection]] = ContextVar("database", default=())


@dataclass(frozen=True)
class Workbench:
    """Names a query may use: `base_<table>` for the snapshot, and whatever was offered.

    What is offered is opened by the first query that names it.

    Args:
        lake: The lake.
        base: The snapshot behind `base_<table>`; None: every base table is empty.
        staging: Where results are written.
    """

    lake: Lake
    base: Snapshot | None
    staging: Staging
    _con: duckdb.DuckDBPyConnection
    _offered: dict[str, Callable[[], pds.Dataset | pa.Table]] = field(default_factory=dict)

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The connection, with everything that was offered opened."""
        return self._knowing(" ".join(self._offered))

    def add_base(self, *specs: TableSpec) -> None:
        """Offer tables as they are in the snapshot; empty where it has none."""
        for spec in specs:
            self.offer(f"base_{spec.name}", partial(_of_snapshot, self.lake, self.base, spec))

    def add_staged(self, name: str, paths: Sequence[str], schema: pa.Schema) -> None:
        """Offer staged files as one table."""
        self.offer(name, partial(self.staging.dataset, paths, schema))

    def offer(self, name: str, rows_of: Callable[[], pds.Dataset | pa.Table]) -> None:
        """Offer rows under a name of lower-case letters, digits and underscores."""
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"{name!r} cannot name a table of a query")
        self._offered[name] = rows_of

    def execute(self, sql: str, params: Sequence[object] = ()) -> duckdb.DuckDBPyConnection:
        """Run a statement, such as one that makes a view."""
        return self._knowing(sql).execute(sql, list(params))

    def table(self, sql: str, params: Sequence[object] = ()) -> pa.Table:
        """Return a query's rows; for small results."""
        return self._knowing(sql).sql(sql, params=list(params)).to_arrow_table()

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return a query's rows as tuples; for small results."""
        return self.execute(sql, params).fetchall()

    def batches(
        self, sql: str, params: Sequence[object] = (), *, size: int = BATCH_ROWS
    ) -> pa.RecordBatchReader:
        """Stream a query's rows."""
        return self._knowing(sql).sql(sql, params=list(params)).to_arrow_reader(size)

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
        """Write a query's rows, without pixels or vectors, to a staged file, streaming, and return its path."""
        reader = self.batches(sql, size=KEY_ROWS)
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
    def as_written(self) -> Iterator[None]:
        """Have joins take place as they are written: what stands on the right is held in memory, what stands left passes by.

        For rows with pixels. Sizes are not known here, and the engine would hold them as soon as keys.
        """
        setting = self._con.cursor()  # one of its own: where the block fails, ours still has an open result
        setting.execute("SET GLOBAL disabled_optimizers = 'join_order,build_side_probe_side'")
        try:
            yield
        finally:
            setting.execute("RESET GLOBAL disabled_optimizers")
            setting.close()

    def _knowing(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Return the connection, told of what the statement names."""
        for name in set(re.findall(_NAME, sql)) & self._offered.keys():
            self._con.register(name, self._offered.pop(name)())
        return self._con


@contextmanager
def database(memory: str = MEMORY) -> Iterator[None]:
    """Have all workbenches opened inside share one DuckDB: starting one costs more than most of their queries.

    It reads nothing but what a workbench offers it.

    Args:
        memory: Limit of all of them together before queries spill to a temporary folder, such as "4GB"; auto: a quarter of
            the machine's memory. Several joins of one query hold keys at once, which cannot all be spilled.
    """
    if memory == "auto":
        memory = f"{max(LEAST_MEMORY, psutil.virtual_memory().total // 4)}B"
    with scratch("spill") as spill:
        config: dict[str, Any] = {
            **GIVING_BACK,
            "memory_limit": memory,
            "temp_directory": spill,
            "python_enable_replacements": "false",
            "threads": "2",
            "preserve_insertion_order": "false",
        }
        with duckdb.connect(config=config) as con:
            con.execute("SET enable_external_access = false")  # last: it also freezes temp_directory
            shared = [con]
            token = _DATABASE.set(shared)
            try:
                yield
            finally:
                _DATABASE.reset(token)
                shared.clear()  # a task's copy of the context lives on: it shall not hold the connection


@contextmanager
def workbench(lake: Lake, base: Snapshot | None, staging: Staging) -> Iterator[Workbench]:
    """Open a connection of its own, names included, to the `database` around it, or to a new one.

    Args:
        lake: The lake.
        base: The snapshot to read.
        staging: Where results go.
    """
    with ExitStack() as stack:
        if not _DATABASE.get():
            stack.enter_context(database())
        con = stack.enter_context(_DATABASE.get()[0].cursor())
        con.execute("SET TimeZone = 'UTC'")
        yield Workbench(lake, base, staging, con)


def _of_snapshot(lake: Lake, base: Snapshot | None, spec: TableSpec) -> pds.Dataset:
    if base is None or spec.name not in base.versions:
        return pds.dataset(spec.stored.empty_table())
    dataset = lake.dataset(spec.name, base)
    if not (lacking := [one for one in spec.stored if one.name not in dataset.schema.names]):
        return dataset
    table = dataset.to_table()  # of an earlier version of us, before these columns
    for one in lacking:
        table = table.append_column(one, pa.nulls(len(table), one.type))
    return pds.dataset(table)


def values(column: pa.ChunkedArray) -> Iterator[Any]:
    """Yield a column's values as Python objects, few of them at a time in memory."""
    for chunk in column.chunks:
        for start in range(0, len(chunk), KEY_ROWS):
            yield from chunk.slice(start, KEY_ROWS).to_pylist()
