"""One DuckDB connection over a snapshot and a run's staged rows: joins that spill to disk instead of to memory."""

import mmap
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count, islice
from tempfile import TemporaryFile
from typing import Any

import duckdb
import lance
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
from numpy.typing import NDArray

from schemas.tables import TableSpec
from storage import rows
from storage.database import as_written, cursor, database, with_enough
from storage.lake import Lake
from storage.matching import keys_of
from storage.repeats import HASHED_ROWS, first_rows, twice
from storage.staging import Staging
from storage.streams import PLACE, Batches, batch_rows, held, numbered
from storage.versions import Snapshot
from storage.windows import ADDRESS, Windowed, addressed, in_windows

BATCH_ROWS = 512  # of rows that may hold pixels or vectors
KEY_ROWS = 4096  # of rows that hold neither
SORTED_ROWS = 1 << 16  # at once
MOST_PARTS = 64  # each reads all rows: with more rows, parts are larger
SAMPLED = 32  # rows for each part
SPARSE = 32  # one row wanted in so many: they are read one by one

__all__ = ["BATCH_ROWS", "KEY_ROWS", "Workbench", "database", "mapped", "sized", "values", "workbench"]

_NAME = r"[a-z][a-z0-9_]*"
_COUNT = count()  # of names for what is being sorted


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
    _staged: dict[str, tuple[Sequence[str], pa.Schema]] = field(default_factory=dict)

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The connection, with everything that was offered opened."""
        return self._knowing(" ".join(self._offered))

    def add_base(self, *specs: TableSpec) -> None:
        """Offer tables as they are in the snapshot; empty where it has none."""
        for spec in specs:
            self.offer(f"base_{spec.name}", partial(_of_snapshot, self.lake, self.base, spec))

    def add_addressed(self, *specs: TableSpec) -> None:
        """Offer `addressed_<table>`: tables as `add_base` does, with `_rowaddr`, where each row lies."""
        for spec in specs:
            self.offer(
                f"addressed_{spec.name}", partial(_of_snapshot, self.lake, self.base, spec, addresses=True)
            )

    def add_staged(self, name: str, paths: Sequence[str], schema: pa.Schema) -> None:
        """Offer staged files as one table."""
        self._staged[name] = (paths, schema)
        self.offer(name, partial(self.staging.dataset, paths, schema))

    def add_placed(self, name: str, *columns: str) -> None:
        """Offer `placed_<name>`: columns of staged files, as they were added, with each row's number, `place`."""
        paths, schema = self._staged[name]
        placed = pa.schema([PLACE, *(schema.field(column) for column in columns)])
        self.offer(
            f"placed_{name}",
            lambda: Batches(placed, lambda: numbered(self.staging.dataset(paths, schema), columns)),
        )

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
        return with_enough(lambda: self._knowing(sql).sql(sql, params=list(params)).to_arrow_table())

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return a query's rows as tuples; for small results."""
        return with_enough(lambda: self.execute(sql, params).fetchall())

    def batches(
        self, sql: str, params: Sequence[object] = (), *, size: int = BATCH_ROWS
    ) -> pa.RecordBatchReader:
        """Stream a query's rows."""
        return self._knowing(sql).sql(sql, params=list(params)).to_arrow_reader(size)

    def tables(self, sql: str, *by: str, params: Sequence[object] = (), size: int) -> Iterator[pa.Table]:
        """Stream a query's rows as tables of exactly `size` rows, the last one shorter; in the order of columns, if any.

        Args:
            sql: The query.
            by: Names of columns, as `ordered` takes them.
            params: Of the query.
            size: Rows of a table, whatever DuckDB's batches are.
        """
        if by:
            yield from sized(self.ordered(sql, *by, params=params, size=size), size)
        else:
            yield from sized(self.batches(sql, params, size=size), size)

    def ordered(
        self, sql: str, *by: str, params: Sequence[object] = (), size: int = KEY_ROWS
    ) -> pa.RecordBatchReader:
        """Stream a query's rows in the order of columns that are never null.

        A sort of the engine's holds a share of all rows, however little memory it may take: they are kept in a file, and
        sorted a part at a time.

        Args:
            sql: The query; it is run at once.
            by: Names of its columns; the first counts most.
            params: Of the query.
            size: Rows of a batch, about.
        """
        rows_of = self.mapped(sql, params)
        return pa.RecordBatchReader.from_batches(rows_of.schema, self.in_order(rows_of, *by, size=size))

    def in_order(self, rows_of: pa.Table, *by: str, size: int = KEY_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream rows that are mapped in the order of columns, as `ordered` does.

        Raises:
            ValueError: One of the columns is null somewhere: which part would have that row?
        """
        if nulls := [one for one in by if rows_of[one].null_count]:
            raise ValueError(f"rows cannot be put in the order of {nulls[0]!r}: it is null in some")
        name, order = f"unordered_{next(_COUNT)}", ", ".join(by)
        self._con.register(name, held(rows_of))
        try:
            for wanted, params in _parts(rows_of, by):
                sql = f"SELECT * FROM {name} WHERE {wanted} ORDER BY {order}"
                yield from self.mapped(sql, params).to_batches(max_chunksize=size)
        finally:
            self._con.unregister(name)

    def chosen(
        self, spec: TableSpec, columns: Sequence[str], sql: str, beside: Sequence[str] = (), *, size: int
    ) -> Iterator[pa.Table]:
        """Stream rows of the snapshot that a query chooses, in the order they lie in, as tables of `size` rows.

        For rows with pixels: they pass no join and wait for no other row.

        Args:
            spec: The table.
            columns: Columns to read.
            sql: Query that gives addresses as `_rowaddr`, each once or several times, and columns to set beside those that are
                read; it may name `addressed`, the key and address of every row of the snapshot.
            beside: Further columns of `addressed`.
            size: Rows of a table; the last one has fewer.
        """
        if self.base is None or spec.name not in self.base.versions:
            return
        dataset = self.lake.dataset(spec.name, self.base, scanned=True)
        found = self._chosen("addressed", partial(_addressed, dataset, spec, beside), sql, "_rowaddr")
        yield from sized(_beside(dataset, columns, found), size)

    def chosen_of_staged(
        self, name: str, columns: Sequence[str], sql: str, beside: Sequence[str], *, size: int
    ) -> Iterator[pa.Table]:
        """Stream rows of staged files that a query chooses, in their order, as tables of `size` rows; as `chosen` does.

        Args:
            name: What the files were added as.
            columns: Columns to read.
            sql: Query that gives rows' numbers as `place`, each once or several times, and columns to set beside; it may name
                `numbered`, the number of every row.
            beside: Columns of `numbered`.
            size: Rows of a table; the last one has fewer.
        """
        files = self.staging.dataset(*self._staged[name])
        found = self._chosen("numbered", partial(numbered, files, beside), sql, "place")
        yield from sized(_at_places(files, columns, found), size)

    def _chosen(self, name: str, make: Callable[[], pa.RecordBatchReader], sql: str, order: str) -> pa.Table:
        """Return a query's rows in order, read from what is offered under a name for it alone."""
        self._con.register(name, Batches(make().schema, make))
        found = self.ordered(sql, order)
        self._con.unregister(name)
        return mapped(found, found.schema)

    def hold(self, name: str, sql: str) -> None:
        """Keep a query's rows under a name, until the workbench closes or the name is held anew: in a file, which is mapped.

        One join a statement: what several joins of one statement hold, they cannot all spill.
        """
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"{name!r} cannot name a table of a query")
        self._con.register(name, held(self.mapped(sql)))

    def hold_firsts(self, name: str, sql: str, key: str) -> None:
        """Keep a query's rows as `hold` does, of those with one key the first: rows with one key are all alike.

        Args:
            name: What to keep them as.
            sql: The query.
            key: One of its columns, never null.
        """
        rows_of = self.mapped(sql)

        def read() -> pa.RecordBatchReader:
            return numbered(pds.dataset(rows_of), [key])

        with cursor() as con, as_written(con):
            is_first, repeated = first_rows(con, read, key, len(rows_of))
        self._con.register(name, held(rows_of if repeated is None else _only(rows_of, is_first)))

    def hold_lacking(self, name: str, sql: str, key: str, others: str, its_key: str) -> None:
        """Keep a query's rows as `hold` does, of those whose key no row of another query has: an anti join that holds neither.

        Args:
            name: What to keep them as.
            sql: The query.
            key: One of its columns: never null, each value once.
            others: The other query; it is streamed.
            its_key: One of its columns, never null.
        """
        rows_of = self.mapped(sql)
        is_lacking = np.ones(len(rows_of), bool)
        with cursor() as con:
            keys = keys_of(con, lambda: numbered(pds.dataset(rows_of), [key]), key, is_lacking)

        def streamed() -> None:
            theirs = f"SELECT hash({its_key}) AS hash, {its_key} AS key FROM ({others})"
            for batch in self.batches(theirs, size=KEY_ROWS):
                for _, numbers in keys.matches(batch["hash"].to_numpy(), batch["key"]):
                    is_lacking[numbers] = False

        with_enough(streamed)
        self._con.register(name, held(_only(rows_of, is_lacking)))

    def hold_repeated(self, name: str, sql: str, *key: str) -> None:
        """Keep a query's rows as `hold` does, of those whose key stands there more than once; a few others may be among them.

        Args:
            name: What to keep them as.
            sql: The query; it is run three times.
            key: Of its columns.
        """
        hashed = f"SELECT hash({', '.join(key)}) AS hash FROM ({sql})"
        ((count,),) = self.rows(f"SELECT count(*) FROM ({sql})")
        again = with_enough(lambda: twice(self.batches(hashed, size=HASHED_ROWS), count))
        self._con.register("hashes_again", pa.table({"hash": again}))
        self.hold(
            name, f"SELECT r.* FROM ({sql}) r SEMI JOIN hashes_again a ON a.hash = hash({', '.join(key)})"
        )
        self.drop("hashes_again")

    def drop(self, *names: str) -> None:
        """Let go of what was held."""
        for name in names:
            self._con.unregister(name)

    def mapped(self, sql: str, params: Sequence[object] = ()) -> pa.Table:
        """Return a query's rows in a temporary file that is mapped: as many as there are. The file goes with them."""

        def made() -> pa.Table:
            reader = self.batches(sql, params, size=KEY_ROWS)
            return mapped(reader, reader.schema)

        return with_enough(made)

    def stage(self, sql: str, *parts: str, schema: pa.Schema | None = None) -> str:
        """Write a query's rows, without pixels or vectors, to a staged file, streaming, and return its path."""

        def staged() -> str:
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

        return with_enough(staged)

    def stage_rows(self, sql: str, spec: TableSpec, *parts: str) -> str:
        """Write a query's rows as rows of a content table, digest included, and return the file's path."""

        def staged() -> str:
            tables = (pa.Table.from_batches([batch]) for batch in self.batches(sql) if len(batch))
            return self.stage_tables(tables, spec, *parts)

        return with_enough(staged)

    def stage_tables(self, tables: Iterable[pa.Table], spec: TableSpec, *parts: str) -> str:
        """Write tables, one after another, as rows of a content table, digest included, and return the file's path."""
        digested = (
            batch for table in tables for batch in rows.with_digest(table, spec).combine_chunks().to_batches()
        )
        return self.staging.write_batches(digested, spec.stored, *parts)

    @contextmanager
    def as_written(self) -> Iterator[None]:
        """Have joins take place as they are written: what stands on the right is held in memory, what stands left passes by.

        For rows with pixels. Sizes are not known here, and the engine would hold them as soon as keys.
        """
        with as_written(self._con):
            yield

    def _knowing(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Return the connection, told of what the statement names."""
        for name in set(re.findall(_NAME, sql)) & self._offered.keys():
            self._con.register(name, self._offered.pop(name)())
        return self._con


@contextmanager
def workbench(lake: Lake, base: Snapshot | None, staging: Staging) -> Iterator[Workbench]:
    """Open a connection of its own, names included, to the `database` around it, or to a new one.

    Args:
        lake: The lake.
        base: The snapshot to read.
        staging: Where results go.
    """
    with cursor() as con:
        yield Workbench(lake, base, staging, con)


def _of_snapshot(
    lake: Lake, base: Snapshot | None, spec: TableSpec, *, addresses: bool = False
) -> pds.Dataset:
    if base is None or spec.name not in base.versions:
        return pds.dataset((spec.stored.append(ADDRESS) if addresses else spec.stored).empty_table())
    dataset = lake.dataset(spec.name, base, scanned=True)
    if not (lacking := [one for one in spec.stored if one.name not in dataset.schema.names]):
        return Windowed(dataset, addresses=addresses)
    table = dataset.to_table(with_row_address=addresses)  # of an earlier version of us, before these columns
    for one in lacking:
        table = table.append_column(one, pa.nulls(len(table), one.type))
    return pds.dataset(table)


def _only(rows_of: pa.Table, wanted: NDArray[np.bool_]) -> pa.Table:
    """Return the rows that are wanted, mapped."""
    starts = np.cumsum([0, *map(len, rows_of.to_batches())])
    found = (
        batch.filter(pa.array(wanted[start : start + len(batch)]))
        for batch, start in zip(rows_of.to_batches(), starts, strict=False)
    )
    return mapped((batch for batch in found if len(batch)), rows_of.schema)


def mapped(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return rows in a temporary file that is mapped; the file goes with them. A single batch stays in memory."""
    rest = iter(batches)
    first = list(islice(rest, 2))
    if len(first) < 2:
        return pa.Table.from_batches(first, schema)
    with TemporaryFile(prefix="xmodal-rows-") as file:  # it has no name that a killed process could leave
        with pa.ipc.new_file(pa.PythonFile(file, "w"), schema) as writer:
            for batch in chain(first, rest):
                writer.write_batch(batch)
        file.flush()
        lying = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return pa.ipc.open_file(pa.BufferReader(lying)).read_all()


def sized(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Cut batches into tables of exactly `size` rows, the last one shorter."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
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


def _parts(rows_of: pa.Table, by: Sequence[str]) -> list[tuple[str, list[object]]]:
    """Return conditions and their parameters: each row fulfils one, rows of a later one come later in the columns' order.

    Where to cut is told by rows at even distances, so that parts are about equally large unless many keys are equal.
    """
    wanted_parts = min(-(-len(rows_of) // SORTED_ROWS), MOST_PARTS)
    if wanted_parts < 2:
        return [("true", [])]
    places = np.linspace(0, len(rows_of) - 1, SAMPLED * wanted_parts).astype(np.int64)
    keys = sorted({tuple(row[name] for name in by) for row in _at(rows_of.select(list(by)), places)})
    cuts = [
        keys[at] for at in sorted({len(keys) * part // wanted_parts for part in range(1, wanted_parts)} - {0})
    ]
    after, before = _compared(by, ">="), _compared(by, "<")
    parts = []
    for low, high in zip([None, *cuts], [*cuts, None], strict=True):
        wanted = [*([after] if low else []), *([before] if high else [])]
        parts.append((" AND ".join(wanted) or "true", [*_values(low or ()), *_values(high or ())]))
    return parts


def _at(rows_of: pa.Table, places: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Yield the rows at ascending places; Arrow's own `take` copies whole columns of texts."""
    start = done = 0
    for batch in rows_of.to_batches():
        end = int(np.searchsorted(places, start + len(batch)))
        yield from batch.take(pa.array(places[done:end] - start)).to_pylist()
        start, done = start + len(batch), end


def _compared(by: Sequence[str], sign: str) -> str:
    """Return the condition that columns, the first counting most, stand so to parameters."""
    name, *further = by
    if not further:
        return f"{name} {sign} ?"
    return f"({name} {sign[0]} ? OR ({name} = ? AND {_compared(further, sign)}))"


def _values(key: Sequence[object]) -> list[object]:
    """Return the parameters of `_compared`."""
    if len(key) < 2:
        return list(key)
    return [key[0], key[0], *_values(key[1:])]


def _addressed(dataset: lance.LanceDataset, spec: TableSpec, beside: Sequence[str]) -> pa.RecordBatchReader:
    """Stream key, further columns and address of every row; columns the table lacks are null."""
    here = [name for name in (spec.key, *beside) if name in dataset.schema.names]
    lacking = [spec.schema.field(name) for name in beside if name not in here]
    read = addressed(dataset, here)
    schema = pa.schema([*read.schema, *lacking])
    batches = (
        pa.record_batch([*batch.columns, *(pa.nulls(len(batch), one.type) for one in lacking)], schema=schema)
        for batch in read
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _at_places(files: pds.Dataset, columns: Sequence[str], chosen: pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield columns of the staged rows at ascending places, and what else was chosen with them."""
    places, further = chosen["place"].to_numpy(), chosen.drop_columns(["place"])
    start = done = 0
    for batch in files.to_batches(columns=list(columns)):
        end = done + int(np.searchsorted(places[done:], start + len(batch)))
        if end > done:
            beside = further.slice(done, end - done)
            rows_of = batch.take(pa.array(places[done:end] - start))
            named = pa.table([*rows_of.columns, *beside.columns], names=[*columns, *beside.column_names])
            yield from named.combine_chunks().to_batches()
        start, done = start + len(batch), end


def _beside(
    dataset: lance.LanceDataset, columns: Sequence[str], chosen: pa.Table
) -> Iterator[pa.RecordBatch]:
    """Yield columns of the rows at ascending addresses, those the table lacks as nulls, and what else was chosen with them.

    Fragments without such a row are not read, and of those with a few only these.
    """
    addresses = chosen["_rowaddr"].to_numpy().astype(np.uint64)
    further = chosen.drop_columns(["_rowaddr"])
    here = [name for name in columns if name in dataset.schema.names]
    done = 0
    for fragment in sorted(dataset.get_fragments(), key=lambda part: part.fragment_id):
        end = int(np.searchsorted(addresses, np.uint64((fragment.fragment_id + 1) << 32)))
        wanted = addresses[done:end]
        few = len(wanted) * SPARSE < fragment.count_rows()
        read = _taken(dataset, here, wanted) if few else _scanned(dataset, here, fragment, wanted)
        for rows_of in read:
            beside = further.slice(done, len(rows_of))
            done += len(rows_of)
            found = [rows_of[name] if name in here else pa.nulls(len(rows_of)) for name in columns]
            named = pa.table([*found, *beside.columns], names=[*columns, *beside.column_names])
            yield from named.combine_chunks().to_batches()


def _taken(
    dataset: lance.LanceDataset, columns: list[str], addresses: NDArray[np.uint64]
) -> Iterator[pa.Table]:
    for start in range(0, len(addresses), BATCH_ROWS):
        each, which = np.unique(addresses[start : start + BATCH_ROWS], return_inverse=True)
        taken = dataset._take_rows(each.tolist(), columns=columns)
        yield taken if len(each) == len(which) else taken.take(pa.array(which))


def _scanned(
    dataset: lance.LanceDataset, columns: list[str], fragment: Any, addresses: NDArray[np.uint64]
) -> Iterator[pa.Table]:
    size = max(BATCH_ROWS, batch_rows(pa.schema([dataset.schema.field(name) for name in columns])))
    done = 0
    for batch in in_windows(dataset, columns, fragment=fragment, addresses=True, batch=size):
        if not len(batch):
            continue
        here = batch["_rowaddr"].to_numpy()
        end = done + int(np.searchsorted(addresses[done:], here[-1], side="right"))
        if end > done:
            which = np.searchsorted(here, addresses[done:end])
            yield pa.Table.from_batches([batch.take(pa.array(which))])
        done = end


def values(column: pa.ChunkedArray) -> Iterator[Any]:
    """Yield a column's values as Python objects, few of them at a time in memory."""
    for chunk in column.chunks:
        for start in range(0, len(chunk), KEY_ROWS):
            yield from chunk.slice(start, KEY_ROWS).to_pylist()
