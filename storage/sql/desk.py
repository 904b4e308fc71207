"""What one statement has before it: tables of snapshots by name, opened once, and notes on what was read."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb
import lance
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import NoSuchSnapshot, NoSuchTable, SqlError
from schemas.tables import LOGS
from storage.lake import Lake
from storage.quoting import literals
from storage.remembered import Remembered, files_of
from storage.sql import views
from storage.sql.engine import Engine
from storage.sql.scans import Read, Scan, looked_up, readable
from storage.sql.views import Scorer
from storage.sql.words import PLAIN, Words, words_of
from storage.versions import Snapshot

FEW_IDS = 5_000  # up to which rows are looked up by key; more, and scanning is as quick
OPENED = 256  # tables kept open


_TABLES = Remembered(OPENED)
_SCORERS = Remembered(OPENED)
_STUDIES = Remembered(OPENED)
_WORDS = Remembered(OPENED)


@dataclass
class Work:
    """One statement being run.

    Args:
        lake: The lake.
        engine: The engine.
        con: Its cursor.
        check: Raises where the statement has run out of time.
        dry: Note what would be read, and read nothing.
    """

    lake: Lake
    engine: Engine
    con: duckdb.DuckDBPyConnection
    check: Callable[[], None]
    dry: bool = False
    reads: list[Read] = field(default_factory=list)
    borrowed: list[Callable[[], object]] = field(default_factory=list)
    looked: dict[str, pa.Table] = field(default_factory=dict)
    _names: dict[Hashable, str] = field(default_factory=dict)
    _snapshots: dict[str | None, Snapshot | None] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.address = self.lake.place.address

    def snapshot(self, ref: str | None) -> Snapshot | None:
        """Return a snapshot by id, tag or digest; the newest, or None in an empty lake, without one."""
        if ref not in self._snapshots:
            if ref is None:
                self._snapshots[ref] = self.lake.head()
            else:
                self._snapshots[ref] = self.lake.snapshot(ref)
        return self._snapshots[ref]

    def at_time(self, when: datetime) -> Snapshot:
        """Return the newest snapshot made by then."""
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        made = [snapshot for snapshot in self.lake.snapshots() if snapshot.created_at <= moment]
        if not made:
            raise NoSuchSnapshot(f"no snapshot of {self.lake.uri} is as old as {moment.isoformat()}")
        return made[-1]

    def offer(self, rows: pa.Table | Scan) -> str:
        """Register rows under a new name."""
        self._count += 1
        name = f"rows_{self._count}"
        self.con.register(name, rows)
        return name

    def close(self) -> None:
        """Give back what was borrowed."""
        while self.borrowed:
            self.borrowed.pop()()


@dataclass(frozen=True)
class Desk:
    """A snapshot's tables, as a view needs them; see `storage.sql.views.Rows`.

    Args:
        work: The statement.
        snapshot: The snapshot; None in an empty lake, which has logs alone.
    """

    work: Work
    snapshot: Snapshot | None

    def has(self, table: str) -> bool:
        """Say whether the snapshot has a table."""
        return self.snapshot is not None and table in self.snapshot.versions

    def columns(self, table: str) -> pa.Schema:
        """Return the columns of a table that the engine can read.

        Raises:
            NoSuchTable: The snapshot has no such table.
        """
        if table in LOGS:
            dataset = self.work.lake.latest(table)
            schema = LOGS[table].schema if dataset is None else dataset.schema
        else:
            schema = self._opened(table).schema
        return pa.schema([schema.field(name) for name in readable(schema)])

    def count(self, table: str) -> int:
        """Return the rows of a table of the snapshot, as it is stored."""
        dataset = self._opened(table)
        assert self.snapshot is not None
        rows = dataset.count_rows()
        read = Read(table, self.snapshot.snapshot_id, self.snapshot.versions[table], rows=rows)
        self.work.reads.append(read)
        return rows

    def rows(self, table: str, columns: Sequence[str], only: Mapping[str, pa.Array] | None = None) -> str:
        """Offer columns of a table, or of the rows that hold one of some values, and return the name."""
        work = self.work
        asked = (
            table,
            None if table in LOGS else self._identity(table),
            tuple(columns),
            tuple((name, id(values)) for name, values in (only or {}).items()),
        )
        if asked not in work._names:
            work._names[asked] = self._offered(table, columns, only)
        return work._names[asked]

    def values(self, name: str, column: str) -> pa.Array | None:
        """Return the distinct values of a column of offered rows, where they were looked up; else None."""
        if name not in self.work.looked:
            return None
        known = self.work._names
        key = ("values", name, column)
        if key not in known:
            values = pc.unique(self.work.looked[name][column]).drop_null()
            known[key] = values  # type: ignore[assignment]
        return known[key]  # type: ignore[return-value]

    def scorers(self, subject: str) -> Mapping[str, Scorer]:
        """Return {column: scorer} of what has scores: of several parameters of a method those that are current."""
        if not self.has("scores"):
            return {}
        found: dict[str, list[Scorer]] = _SCORERS.get(
            self._all_keys("scores", "decisions", "divisions"), self._found_scorers
        )
        table = next(name for name, its in views.SUBJECTS.items() if its == subject)
        stored = self.columns(table).names if self.has(table) else []
        return views.scorer_columns(found.get(subject, []), views.taken(table, stored))

    def studies(self) -> Sequence[str]:
        """Return the digests of the divisions that are active."""
        if not self.has("divisions"):
            return []

        def found() -> list[str]:
            rows = self.rows("divisions", ["rule_digest", "active"])
            said = self.work.con.execute(
                f"SELECT DISTINCT rule_digest FROM {rows} WHERE active ORDER BY 1"
            ).fetchall()
            return [digest for (digest,) in said]

        return list(self._quietly(_STUDIES, self._identity("divisions"), found))

    def _found_scorers(self) -> dict[str, list[Scorer]]:
        return self._undry(self._read_scorers)

    def _read_scorers(self) -> dict[str, list[Scorer]]:
        """Prefer parameters that the active study or an active decision names, then those of the latest run."""
        studies = literals(self.studies())
        scores = self.rows("scores", ["subject", "method", "params_digest", "inputs", "run_id"])
        joined, decided = "", ""
        if self.has("decisions"):
            rows = self.rows("decisions", ["method", "params_digest", "active"])
            joined = (
                f"LEFT JOIN (SELECT DISTINCT method, params_digest, true AS decided FROM {rows} WHERE active) d "
                "USING (method, params_digest)"
            )
            decided = "coalesce(d.decided, false), "
        sql = f"""
            SELECT subject, method, params_digest FROM (
                SELECT subject, method, params_digest, max(run_id) AS latest, bool_or(inputs IN ({studies})) AS studied
                FROM {scores} GROUP BY ALL
            ) {joined}
            ORDER BY coalesce(studied, false), {decided}latest, params_digest
        """
        found: dict[tuple[str, str], Scorer] = {}
        for subject, method, params in self.work.con.execute(sql).fetchall():
            if subject is not None and method is not None and params is not None:
                found[subject, method] = Scorer(method, params)
        by_subject: dict[str, list[Scorer]] = {}
        for (subject, _), scorer in found.items():
            by_subject.setdefault(subject, []).append(scorer)
        return by_subject

    def _quietly(self, memory: Remembered, key: Hashable, make: Callable[[], Any]) -> Any:
        return memory.get(key, lambda: self._undry(make))

    def _undry(self, make: Callable[[], Any]) -> Any:
        """Read for the views themselves: really, and without a note."""
        work = self.work
        dry, before, names = work.dry, len(work.reads), dict(work._names)
        work.dry = False
        try:
            return make()
        finally:
            work.dry = dry
            del work.reads[before:]
            work._names = names

    def _offered(self, table: str, columns: Sequence[str], only: Mapping[str, pa.Array] | None) -> str:
        work = self.work
        work.check()
        if table in LOGS:
            log = work.lake.latest(table)
            read = Read(table, None, 0 if log is None else log.version)
            work.reads.append(read)
            if log is None:
                return work.offer(LOGS[table].schema.empty_table())
            return work.offer(Scan(log, columns, read, dry=work.dry))
        dataset = self._opened(table)
        assert self.snapshot is not None
        read = Read(table, self.snapshot.snapshot_id, self.snapshot.versions[table])
        work.reads.append(read)
        words = PLAIN if work.dry else self._words(table, columns)
        whole = Scan(dataset, readable(dataset.schema), Read(table, None, 0), words=words)
        if borrowed := work.engine.kept.borrow(work.con, self._identity(table), dataset, whole, columns):
            name, done = borrowed
            work.borrowed.append(done)
            read.source, read.columns = "memory", list(columns)
            return name
        if only is not None and all(len(values) <= FEW_IDS for values in only.values()):
            found = looked_up(dataset, only, columns, read)
            name = work.offer(found)
            work.looked[name] = found
            return name
        return work.offer(Scan(dataset, columns, read, dry=work.dry, words=words))

    def _words(self, table: str, columns: Sequence[str]) -> Words:
        """Return how a table's texts lie, where some are asked for."""
        dataset = self._opened(table)
        if not any(pa.types.is_string(dataset.schema.field(name).type) for name in columns):
            return PLAIN
        # an index built since makes a version of the same files
        its = (self._identity(table), dataset.version)
        found: Words = _WORDS.get(its, lambda: words_of(dataset))
        return found

    def _opened(self, table: str) -> lance.LanceDataset:
        return self._entry(table)[0]

    def _identity(self, table: str) -> tuple[object, ...]:
        """Name the content of a table's version."""
        return self._entry(table)[1]

    def _entry(self, table: str) -> tuple[lance.LanceDataset, tuple[object, ...]]:
        if self.snapshot is None or table not in self.snapshot.versions:
            at = self.snapshot.snapshot_id if self.snapshot else "any snapshot"
            raise NoSuchTable(f"no table {table!r} in {self.work.lake.uri} at {at}; see SHOW TABLES")
        entry: tuple[lance.LanceDataset, tuple[object, ...]] = _TABLES.get(
            self._key(table), lambda: self._open(table)
        )
        return entry

    def _open(self, table: str) -> tuple[lance.LanceDataset, tuple[object, ...]]:
        dataset = self.work.lake.dataset(table, self.snapshot)
        # a column may be added without a file
        columns = tuple((field.id(), field.name()) for field in dataset.lance_schema.fields())
        return dataset, (self.work.address, table, columns, files_of(dataset))

    def _key(self, table: str) -> Hashable:
        """Name a version of a table so that no other lake ever made at this place can be taken for it."""
        lake, snapshot = self.work.lake, self.snapshot
        assert snapshot is not None
        options = tuple(sorted((lake.storage_options or {}).items()))
        return (
            self.work.address,
            options,
            table,
            snapshot.versions[table],
            snapshot.created_at,
            snapshot.digest,
        )

    def _all_keys(self, *tables: str) -> Hashable:
        return tuple(self._identity(table) for table in tables if self.has(table))


def text_of(value: object) -> str:
    """Return what names a snapshot: a text, or the number of a snapshot.

    Raises:
        SqlError: It is neither.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise SqlError(f"a version is a snapshot id, tag or digest as a text; found {value!r}")
    return value if isinstance(value, str) else f"s{value:06d}"
