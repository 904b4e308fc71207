"""The lake: open it, read any snapshot, write one snapshot at a time.

A lake is a folder of Lance tables that plain `lancedb` and `pyarrow` can read. What Xmodal adds is the table
`snapshots`: a row names one version of every table, so a reader that goes through it never sees half a run.
"""

import errno
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import lance
import pyarrow as pa
from filelock import FileLock, Timeout

from schemas.errors import LakeBusy, LakeDamaged, LakeError, NoSuchSnapshot, NoSuchTable
from schemas.tables import (
    CODES_PREFIX,
    CONTENT,
    EMBEDDINGS_PREFIX,
    LOGS,
    RUNS,
    SNAPSHOTS,
    TAGS,
    TOKENS_PREFIX,
    TableSpec,
)
from storage import lease, panics, versions
from storage.media import MediaStore
from storage.places import Place
from storage.remembered import Remembered, files_of
from storage.versions import Snapshot
from storage.writer import Writer

if TYPE_CHECKING:
    from storage.sql import Result

T = TypeVar("T")

PAGES_BYTES = 1 << 20  # kept of what Lance knows of a scanned table's pages: none costs a tenth of a scan
_COMMITTED = (
    ".manifest",
    "latest_version_hint.json",
)  # one of them stays in `_versions` when the other is lost
_SAID = Remembered(32)  # what logs say


@dataclass(frozen=True)
class Diff:
    """Keys that differ between two snapshots of a table, sorted."""

    added: list[str]
    removed: list[str]
    changed: list[str]


@dataclass(frozen=True)
class Lake:
    """A folder of versioned tables. Opening it reads and creates nothing.

    Args:
        uri: Folder or object-store URL.
        storage_options: Passed to Lance for object stores (credentials, endpoint).
        fs_options: Passed to fsspec for the same store.
        lease_s: On an object store: after how many seconds without a sign of life a writer is taken to be dead.
    """

    uri: str
    storage_options: Mapping[str, str] | None = None
    fs_options: Mapping[str, Any] = field(default_factory=dict)
    lease_s: float = lease.LEASE_S

    @cached_property
    def place(self) -> Place:
        """Where the files are."""
        return Place(self.uri, dict(self.fs_options))

    @property
    def media(self) -> MediaStore:
        """Raw bytes by digest."""
        return MediaStore(self.place)

    # Reading

    def tables(self, at: str | None = None) -> dict[str, int]:
        """Return {content table: rows} at a snapshot, newest by default; empty for an empty lake."""
        snapshot = self.snapshot(at) if at else self.head()
        return dict(snapshot.row_counts) if snapshot else {}

    def head(self) -> Snapshot | None:
        """Return the newest snapshot, or None in an empty lake."""
        return found[-1] if (found := self.snapshots()) else None

    def snapshots(self) -> list[Snapshot]:
        """Return all snapshots, oldest first.

        Of two rows with one id the first counts: the second was appended by a writer that had lost the lake without
        noticing.
        """
        return list(self._log(SNAPSHOTS, _snapshots))

    def tags(self) -> dict[str, str]:
        """Return {tag: snapshot id}. The last row of a tag counts, whatever the clock said when it was written."""
        return dict(self._log(TAGS, _tags))

    def snapshot(self, ref: str) -> Snapshot:
        """Return a snapshot by id, tag or digest.

        Raises:
            NoSuchSnapshot: Nothing has this name.
        """
        wanted = self.tags().get(ref, ref)
        everything = self.snapshots()
        for snapshot in reversed(everything):
            if wanted in (snapshot.snapshot_id, snapshot.digest):
                return snapshot
        known = ", ".join([*self.tags(), *(s.snapshot_id for s in everything[-3:])]) or "none yet"
        raise NoSuchSnapshot(f"no snapshot or tag is called {ref!r} in {self.uri}; known: {known}")

    def dataset(
        self, table: str, at: str | Snapshot | None = None, *, scanned: bool = False
    ) -> lance.LanceDataset:
        """Return a content table as it was at a snapshot, newest by default. Filters and columns push down.

        Args:
            table: Its name.
            at: The snapshot.
            scanned: Whether it will be read from its first row to its last: what Lance keeps of its pages for other reads, some
                5 MB of a million rows, is not kept then.

        Raises:
            NoSuchTable: The snapshot has no such table, or the lake no snapshot.
        """
        snapshot = at if isinstance(at, Snapshot) else self.snapshot(at) if at else self.head()
        if snapshot is None or table not in snapshot.versions:
            has = ", ".join(snapshot.versions) if snapshot else "nothing: run `xmodal curate` first"
            raise NoSuchTable(
                f"no table {table!r} in {self.uri} at {snapshot.snapshot_id if snapshot else 'any'}; has {has}"
            )
        try:
            with panics.as_errors():
                return lance.dataset(
                    self.table_uri(table),
                    version=snapshot.versions[table],
                    storage_options=self.options,
                    metadata_cache_size_bytes=self.kept_of_pages if scanned else None,
                )
        except (ValueError, OSError) as error:
            raise self.unreadable(snapshot, table, error) from error

    @property
    def kept_of_pages(self) -> int | None:
        """Bytes that Lance keeps of what it knows of a scanned table's pages; all where it would be asked for over a network."""
        return PAGES_BYTES if self.place.is_local else None

    def latest(self, table: str) -> lance.LanceDataset | None:
        """Return a table as it lies there now, committed by a snapshot or not; None when there is none."""
        folder = self.place.path(f"{table}.lance", "_versions")
        if not self.place.fs.exists(folder):
            return None
        try:
            with panics.as_errors():
                return lance.dataset(self.table_uri(table), storage_options=self.options)
        except ValueError:
            self.place.fs.invalidate_cache()
            if any(path.endswith(_COMMITTED) for path in self.place.fs.ls(folder, detail=False)):
                raise
            return None  # its writer was killed before its first version

    def read(
        self, table: str, *, at: str | None = None, columns: list[str] | None = None, where: str | None = None
    ) -> pa.Table:
        """Return rows of a content table at a snapshot, or of a log.

        Args:
            table: A content table, or runs, snapshots, tags.
            at: Snapshot id, tag or digest; newest by default. Logs have none.
            columns: Columns to read; all by default.
            where: Filter in Lance's SQL dialect.
        """
        if table in LOGS:
            dataset = self.latest(table)
            return (
                dataset.to_table(columns=columns, filter=where)
                if dataset
                else LOGS[table].schema.empty_table()
            )
        snapshot = self.snapshot(at) if at else self.head()
        dataset = self.dataset(table, snapshot)
        try:
            with panics.as_errors():
                return dataset.to_table(columns=columns, filter=where)
        except (ValueError, OSError) as error:
            from storage import soundness

            if snapshot is not None and (damage := soundness.explained(self, snapshot, error)) is not None:
                raise damage from error
            raise  # the filter or a column is wrong

    def diff(self, table: str, before: str, after: str) -> Diff:
        """Return which rows of a table differ between two snapshots, by key and content."""
        old, new = self.snapshot(before), self.snapshot(after)
        if table not in old.versions and table not in new.versions:
            raise NoSuchTable(f"neither {before} nor {after} has a table {table!r}")
        sides = [self._keys(table, snapshot) for snapshot in (old, new)]
        with duckdb.connect() as con:
            for name, side in zip(("old", "new"), sides, strict=True):
                con.register(name, side)
            found = con.execute(
                "SELECT coalesce(n.key, o.key) AS key, o.key IS NULL AS added, n.key IS NULL AS removed "
                "FROM old o FULL JOIN new n USING (key) WHERE o.row_digest IS DISTINCT FROM n.row_digest ORDER BY 1"
            ).fetchall()
        return Diff(
            added=[key for key, added, _ in found if added],
            removed=[key for key, _, removed in found if removed],
            changed=[key for key, added, removed in found if not added and not removed],
        )

    # Writing

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """Hold the lake for one run.

        Another writer is refused: on a local disk at once, by a file lock; on an object store by a lease, after the other
        gave a sign of life. A holder that is silent loses the lease, and is found out before its snapshot counts.

        Raises:
            LakeBusy: Another process is writing.
            LakeError: The object store ignores conditional writes.
        """
        if not self.place.is_local:
            held = lease.take(self.place, lease_s=self.lease_s)
            try:
                self._finish_commit()
                yield Writer(self, self.head(), held)
            finally:
                held.release()
            return
        lock = FileLock(self.place.path("_lock"))
        try:
            Path(self.place.root).mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise LakeBusy(
                f"another run is writing to {self.uri}; wait for it, or look with `xmodal status`"
            ) from error
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC):
                raise
            raise LakeError(
                f"{self.uri} cannot be written to ({error.strerror}); it can still be read. Give this user room and the "
                f"right to write there, or choose another place with --lake"
            ) from error
        try:
            yield Writer(self, self.head())
        finally:
            lock.release()

    def append_log(self, spec: TableSpec, *rows: dict[str, Any]) -> None:
        """Append rows to a log table, all or none.

        A snapshot or a run has one row: who was taken for dead and wakes up finds that its successor has named its commit
        and recorded it as missing. The first word on a snapshot counts, and the last one on a run.
        """
        table = pa.Table.from_pylist(list(rows), schema=spec.schema)
        if spec in (SNAPSHOTS, RUNS) and (log := self.latest(spec.name)) is not None:
            merge = log.merge_insert(spec.key).when_not_matched_insert_all()
            (merge.when_matched_update_all() if spec is RUNS else merge).execute(table)
            return
        lance.write_dataset(table, self.table_uri(spec.name), mode="append", storage_options=self.options)

    def move_tag(self, tag: str, ref: str | None, *, run_id: str = "") -> None:
        """Point a tag at a snapshot, or remove it (`ref` None). One atomic commit; earlier places stay on record."""
        target = self.snapshot(ref).snapshot_id if ref is not None else None
        if self.tags().get(tag) == target:
            return
        row = {
            "move_id": uuid.uuid4().hex,
            "tag": tag,
            "snapshot_id": target,
            "run_id": run_id,
            "moved_at": versions.now(),
        }
        self.append_log(TAGS, row)

    def restore(self, ref: str) -> Snapshot:
        """Make an earlier snapshot the newest again, as a new snapshot. Nothing in between is lost."""
        from storage import soundness

        with self.writer() as writer:
            soundness.set_aside(self)
            past, head = self.snapshot(ref), writer.head
            if head is None or past.versions == head.versions:
                return past
            again = Snapshot(
                **vars(past)
                | {
                    "snapshot_id": versions.next_id(head),
                    "parent_id": head.snapshot_id,
                    "run_id": f"restore {past.snapshot_id}",
                    "created_at": versions.now(),
                }
            )
            return writer.publish(again)

    def protect(self, snapshot: Snapshot) -> None:
        """Keep a snapshot's versions from clean-up. Only while holding the writer."""
        for table, version in snapshot.versions.items():
            tags = lance.dataset(self.table_uri(table), storage_options=self.options).tags
            known = tags.list()
            if snapshot.snapshot_id not in known:
                tags.create(snapshot.snapshot_id, version)
            elif int(known[snapshot.snapshot_id]["version"]) != version:
                tags.update(snapshot.snapshot_id, version)

    def sql(self, statement: str, **options: Any) -> "Result":
        """Run one statement that reads, and return its rows; options are those of `storage.sql.sql`."""
        from storage.sql import sql

        return sql(self, statement, **options)

    def runs(self) -> list[dict[str, Any]]:
        """Return the rows of `runs`, the last recorded first: clocks may be set back."""
        return [dict(row) for row in reversed(self._log(RUNS, list))]

    # Inside

    def _finish_commit(self) -> None:
        """Show the snapshot that a dead run committed to and did not live to show."""
        said = lease.claimed(self.place, versions.next_id(self.head()))
        if said is not None:
            self.append_log(SNAPSHOTS, said.as_row())

    def unreadable(self, snapshot: Snapshot, table: str, error: Exception) -> LakeDamaged:
        """Say why a version of a table cannot be opened: let go, or lost."""
        return LakeDamaged(
            f"version {snapshot.versions[table]} of {table}, which {snapshot.snapshot_id} of {self.uri} names, cannot be "
            f"opened: it was let go (`xmodal versions list` says so) or its manifest is lost. `xmodal doctor` says which "
            f"version is sound, and `xmodal versions restore` brings that back. Lance said: "
            f"{' '.join(str(error).split())[:300]}"
        )

    @property
    def options(self) -> dict[str, str] | None:
        """What Lance needs on an object store; None on a disk."""
        return dict(self.storage_options) if self.storage_options else None

    def table_uri(self, table: str) -> str:
        """Return where a table lies, whether it is there or not."""
        return f"{self.place.address}/{table}.lance"

    def _log(self, spec: TableSpec, said: Callable[[list[dict[str, Any]]], T]) -> T:
        """Return what a log says, read again only if it has other files: every question asks which snapshot is newest."""
        dataset = self.latest(spec.name)
        if dataset is None:
            return said([])
        found: T = _SAID.get(
            (self.place.address, spec.name, files_of(dataset)), lambda: said(dataset.to_table().to_pylist())
        )
        return found

    def _keys(self, table: str, snapshot: Snapshot) -> pa.Table:
        if table not in snapshot.versions:
            return pa.table({"key": pa.array([], pa.string()), "row_digest": pa.array([], pa.binary(16))})
        key = key_of(table)
        return self.dataset(table, snapshot).to_table(columns={"key": key, "row_digest": "row_digest"})


def open(uri: str, **options: Any) -> Lake:  # noqa: A001 - reads as lake.open(...)
    """Open a lake by folder or URL. Nothing is created until something is written."""
    return Lake(uri, **options)


def key_of(table: str) -> str:
    """Return the key column of a content table.

    Raises:
        NoSuchTable: No content table has this name.
    """
    if table.startswith((EMBEDDINGS_PREFIX, TOKENS_PREFIX, CODES_PREFIX)):
        return "item_id"
    if table not in CONTENT:
        raise NoSuchTable(
            f"no content table is called {table!r}; known: {', '.join(CONTENT)}, embeddings_<encoder>"
        )
    return CONTENT[table].key


def _snapshots(log: list[dict[str, Any]]) -> tuple[Snapshot, ...]:
    found: dict[str, Snapshot] = {}
    for row in log:
        found.setdefault(row["snapshot_id"], Snapshot.from_row(row))
    return tuple(sorted(found.values(), key=lambda snapshot: snapshot.snapshot_id))


def _tags(log: list[dict[str, Any]]) -> dict[str, str]:
    points: dict[str, str | None] = {row["tag"]: row["snapshot_id"] for row in log}
    return {tag: snapshot for tag, snapshot in points.items() if snapshot is not None}


def parse_counts(row: dict[str, Any]) -> dict[str, Any]:
    """Return the `counts` of a row of `runs` as a dictionary."""
    return dict(json.loads(row["counts"] or "{}"))


__all__ = ["Diff", "Lake", "Snapshot", "key_of", "open", "parse_counts"]
