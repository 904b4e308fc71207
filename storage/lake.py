"""The lake: open it, read any snapshot, write one snapshot at a time.

A lake is a folder of Lance tables that plain `lancedb` and `pyarrow` can read. What Xmodal adds is the table
`snapshots`: a row names one version of every table, so a reader that goes through it never sees half a run.
"""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import lance
import pyarrow as pa
import pyarrow.dataset as pds
from filelock import FileLock, Timeout
from lance.commit import CommitConflictError

from schemas.errors import LakeBusy, LakeDamaged, LakeError, NoSuchSnapshot, NoSuchTable, Overtaken
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
from storage import lease, panics, quality, rows, versions
from storage.apart import apart
from storage.lease import Lease
from storage.media import MediaStore
from storage.memory import give_back
from storage.places import Place
from storage.remembered import Remembered, files_of
from storage.upserts import compared, only, without
from storage.versions import Snapshot
from storage.windows import in_windows

if TYPE_CHECKING:
    from storage.sql import Result
    from storage.upserts import Known

T = TypeVar("T")

COLUMN_BYTES = 2 << 20  # of a column, in a page: Lance's 8 MiB, some twenty times, are what writing holds
PAGES_BYTES = 1 << 20  # kept of what Lance knows of a scanned table's pages: none costs a tenth of a scan
WRITTEN_BYTES = 16 << 20  # of all columns, before they are written
_COMMITTED = (
    ".manifest",
    "latest_version_hint.json",
)  # one of them stays in `_versions` when the other is lost
MANY_ROWS = 1 << 14  # written at once: worth the milliseconds that giving memory back takes
_SAID = Remembered(32)  # what logs say


@dataclass(frozen=True)
class UpsertCount:
    """What an upsert did: rows added, rows replaced, rows found equal and left alone."""

    added: int = 0
    replaced: int = 0
    equal: int = 0


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
                    self._table_uri(table),
                    version=snapshot.versions[table],
                    storage_options=self._options,
                    metadata_cache_size_bytes=self._kept_of_pages if scanned else None,
                )
        except (ValueError, OSError) as error:
            raise self._unreadable(snapshot, table, error) from error

    @property
    def _kept_of_pages(self) -> int | None:
        """Bytes that Lance keeps of what it knows of a scanned table's pages; all where it would be asked for over a network."""
        return PAGES_BYTES if self.place.is_local else None

    def latest(self, table: str) -> lance.LanceDataset | None:
        """Return a table as it lies there now, committed by a snapshot or not; None when there is none."""
        folder = self.place.path(f"{table}.lance", "_versions")
        if not self.place.fs.exists(folder):
            return None
        try:
            with panics.as_errors():
                return lance.dataset(self._table_uri(table), storage_options=self._options)
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
        key = key_of(table)
        columns = [key, "row_digest"]
        if table in old.versions and table in new.versions:
            before_and_after = (self.dataset(table, old), self.dataset(table, new))
            sides: Sequence[pds.Dataset | pa.Table] = apart(*before_and_after, (columns, columns))
        else:
            sides = [self._keys(table, columns, snapshot) for snapshot in (old, new)]
        with duckdb.connect() as con:
            for name, side in zip(("old", "new"), sides, strict=True):
                con.register(name, side)
            found = con.execute(
                f'SELECT coalesce(n."{key}", o."{key}"), o."{key}" IS NULL, n."{key}" IS NULL '
                f'FROM old o FULL JOIN new n USING ("{key}") WHERE o.row_digest IS DISTINCT FROM n.row_digest ORDER BY 1'
            ).fetchall()
        return Diff(
            added=[key for key, added, _ in found if added],
            removed=[key for key, _, removed in found if removed],
            changed=[key for key, added, removed in found if not added and not removed],
        )

    # Writing

    @contextmanager
    def writer(self) -> Iterator["Writer"]:
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
        lance.write_dataset(table, self._table_uri(spec.name), mode="append", storage_options=self._options)

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
            "moved_at": _now(),
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
                    "created_at": _now(),
                }
            )
            return writer.publish(again)

    def protect(self, snapshot: Snapshot) -> None:
        """Keep a snapshot's versions from clean-up. Only while holding the writer."""
        for table, version in snapshot.versions.items():
            tags = lance.dataset(self._table_uri(table), storage_options=self._options).tags
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

    def _unreadable(self, snapshot: Snapshot, table: str, error: Exception) -> LakeDamaged:
        """Say why a version of a table cannot be opened: let go, or lost."""
        return LakeDamaged(
            f"version {snapshot.versions[table]} of {table}, which {snapshot.snapshot_id} of {self.uri} names, cannot be "
            f"opened: it was let go (`xmodal versions list` says so) or its manifest is lost. `xmodal doctor` says which "
            f"version is sound, and `xmodal versions restore` brings that back. Lance said: "
            f"{' '.join(str(error).split())[:300]}"
        )

    @property
    def _options(self) -> dict[str, str] | None:
        return dict(self.storage_options) if self.storage_options else None

    def _table_uri(self, table: str) -> str:
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

    def _keys(self, table: str, columns: list[str], snapshot: Snapshot) -> pa.Table:
        if table not in snapshot.versions:
            return pa.table(
                {
                    name: pa.array([], kind)
                    for name, kind in zip(columns, (pa.string(), pa.binary(16)), strict=True)
                }
            )
        return self.dataset(table, snapshot).to_table(columns=columns)


class Writer:
    """The one writer of a lake. Stages versions of tables, then names them in one snapshot.

    A killed writer leaves versions that no snapshot names; the next one starts from the snapshot again. Every version
    must follow the one this writer has seen: where another one wrote in between, on an object store, it gives up.
    """

    def __init__(self, lake: Lake, head: Snapshot | None, held: Lease | None = None) -> None:
        self.lake = lake
        self.head = head
        self._held = held
        self._touched: dict[str, int] = {}
        self._restored: dict[str, int] = {}
        self._unfinished: dict[str, int] = {}  # what this writer left where it failed amid an upsert
        self._adopted: set[str] = set()
        self._is_stamped = False  # columns outside of any digest were written anew

    def upsert(
        self,
        spec: TableSpec,
        staged: pds.Dataset,
        *,
        metadata: Mapping[str, str] | None = None,
        repeats: bool = False,
        stamps: bool = False,
        known: "Known | None" = None,
    ) -> UpsertCount:
        """Add new rows and replace changed ones; equal rows are left alone, and no version is made for them.

        Rows stream: what is held in memory is three bytes a row; keys are compared by what lies in files, within the `database`
        around. What is replaced is appended, and the rows it replaces are deleted by their addresses.

        Args:
            spec: The table.
            staged: Rows with `row_digest`, each key once.
            metadata: Table metadata to set when the table is created.
            repeats: Whether a key may stand twice after all; its first row counts.
            stamps: Whether rows that are equal but for columns outside their digest are replaced too. The next snapshot then
                names them, though its content may be that of the one before.
            known: What is known of staged rows beside a snapshot; not used unless that is the one this writer builds on, and the
                table is as it names it.

        Raises:
            LakeError: A key stands twice in `staged`, and may not.
            Overtaken: Another writer wrote to the table.
        """
        counted = self._upserted(
            spec,
            staged,
            metadata,
            repeats=repeats,
            stamps=stamps,
            known=known if known and self._is_of_head(spec.name, known.snapshot_id) else None,
        )
        if counted.added + counted.replaced > MANY_ROWS:
            give_back()  # Lance's buffers of pages, more than a hundred MB
        return counted

    def _is_of_head(self, table: str, snapshot_id: str) -> bool:
        """Whether a table is as a snapshot names it. After a commit, or an upsert, what was known before is not so any more."""
        return table not in self._touched and snapshot_id == (self.head.snapshot_id if self.head else "")

    def _upserted(
        self,
        spec: TableSpec,
        staged: pds.Dataset,
        metadata: Mapping[str, str] | None,
        *,
        repeats: bool,
        stamps: bool,
        known: "Known | None",
    ) -> UpsertCount:
        count = staged.count_rows()
        if self._wanted(spec.name) is not None and not count:
            return UpsertCount()
        self._check()
        dataset = self._base(spec, metadata)
        found = compared(spec, staged, dataset, repeats=repeats, equal=stamps, known=known)
        uri, options = self.lake._table_uri(spec.name), self.lake._options
        if found.is_wanted.any():
            before = dataset.version
            wanted = only(staged, spec, found.is_wanted)
            dataset = lance.write_dataset(
                wanted,
                uri,
                mode="append",
                data_cache_bytes=min(COLUMN_BYTES * len(spec.stored), WRITTEN_BYTES),
                storage_options=options,
            )
            self._follows(spec.name, before, dataset.version)
            self._unfinished[spec.name] = dataset.version
            try:
                for after in without(dataset, found.replaced, options):
                    self._follows(spec.name, dataset.version, after.version)
                    dataset = after
                    self._unfinished[spec.name] = dataset.version
            except CommitConflictError as error:  # another writer changed the same files
                raise self._overtaken(f"another run has written to {spec.name} since") from error
            self._touched[spec.name] = self._unfinished.pop(spec.name)
            self._is_stamped = self._is_stamped or stamps
        written, replaced = int(found.is_wanted.sum()), len(found.replaced)
        return UpsertCount(written - replaced, replaced, count - found.repeated - written)

    def rebase(self, table: str) -> None:
        """Bring a table back to what the newest snapshot names, undoing what a killed writer left behind.

        Raises:
            Overtaken: Another writer wrote to the table.
        """
        wanted = self._wanted(table)
        dataset = self.lake.latest(table)
        if dataset is None or wanted is None:
            return
        if dataset.version == wanted >= self._highest.get(table, 0):
            return
        self._check()
        seen = table in self._touched or table in self._restored
        if seen and dataset.version not in (wanted, self._unfinished.get(table)):
            raise self._overtaken(f"another run has written to {table} since")
        uri, options = self.lake._table_uri(table), self.lake._options
        try:
            with panics.as_errors():
                past = lance.dataset(uri, version=wanted, storage_options=options)
        except (ValueError, OSError) as error:
            assert self.head is not None
            raise self.lake._unreadable(self.head, table, error) from error
        past.restore()
        self._follows(table, dataset.version, past.version)
        self._skip_lost(table, dataset.version, past)
        self._restored[table] = past.version

    def _skip_lost(self, table: str, last: int, dataset: lance.LanceDataset) -> None:
        """Go past numbers of versions whose manifests were lost: no other content may be read under them."""
        lost = self._highest.get(table, 0)
        while dataset.version <= lost:
            dataset.restore()
        for number in range(last + 1, lost + 1):
            name = f"{(1 << 64) - 1 - number:020}.manifest"
            self.lake.place.fs.rm_file(self.lake.place.path(f"{table}.lance", "_versions", name))

    @cached_property
    def _highest(self) -> dict[str, int]:
        """Return {table: highest version that any snapshot names}."""
        found: dict[str, int] = {}
        for snapshot in self.lake.snapshots():
            for table, version in snapshot.versions.items():
                found[table] = max(version, found.get(table, 0))
        return found

    def adopt(self, table: str) -> None:
        """Let the next snapshot name the newest version of a table, as after compaction or an index build."""
        dataset = self.lake.latest(table)
        if dataset is not None:
            self._touched[table] = dataset.version
            self._adopted.add(table)

    def commit(self, *, tag: str | None, recipe_digest: str, run_id: str) -> Snapshot:
        """Name the new versions in one snapshot and move the tag, unless a check keeps it where it is.

        Without changed content or new stamps, and with the same recipe, the newest snapshot is returned and none is written.

        Raises:
            Overtaken: Another writer has committed since this one began, or changed a table this one tidied.
        """
        head = self.head
        if tag and quality.held(self.lake, tag, head):
            tag = None
        if not self._touched and head is not None and head.recipe_digest == recipe_digest:
            if tag:
                self.lake.move_tag(tag, head.snapshot_id, run_id=run_id)
            return head
        tables = (head.versions if head else {}) | self._restored | self._touched
        digests, counts = (dict(head.digests), dict(head.row_counts)) if head else ({}, {})
        for table in self._touched:
            dataset = lance.dataset(
                self.lake._table_uri(table),
                version=tables[table],
                storage_options=self.lake._options,
                metadata_cache_size_bytes=self.lake._kept_of_pages,
            )
            digests[table] = rows.table_digest(in_windows(dataset, ["row_digest"]))
            counts[table] = dataset.count_rows()
            late = (
                self._held is not None and table in self._adopted
            )  # a lock leaves no room for a foreign write
            if late and head is not None and digests[table] != head.digests.get(table):
                raise self._overtaken(f"{table} changed while it was being tidied")
        same = head is not None and digests == head.digests and head.recipe_digest == recipe_digest
        if (
            head is not None and same and not self._adopted and not self._is_stamped
        ):  # changed and changed back: the next writer undoes it
            self._touched = {}
            if tag:
                self.lake.move_tag(tag, head.snapshot_id, run_id=run_id)
            return head
        snapshot = Snapshot(
            snapshot_id=versions.next_id(head),
            parent_id=head.snapshot_id if head else "",
            digest=rows.combined_digest(digests),
            versions=tables,
            digests=digests,
            row_counts=counts,
            recipe_digest=recipe_digest,
            run_id=run_id,
            created_at=_now(),
        )
        snapshot = self.publish(snapshot)
        if tag:
            self.lake.move_tag(tag, snapshot.snapshot_id, run_id=run_id)
        return snapshot

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """Protect the snapshot's versions from clean-up, make it the newest, and return it.

        Raises:
            Overtaken: Another writer has committed since this one began.
        """
        self._check()
        now = self.lake.head()
        if now is not None and _is_same(now, snapshot):
            return self._published(now)  # by an earlier try of this run, whose answer was lost
        if (now.snapshot_id if now else None) != (self.head.snapshot_id if self.head else None):
            raise self._overtaken(f"it was committed to by another run ({now and now.run_id})")
        self.lake.protect(snapshot)
        if self._held is not None:
            said = lease.claim(self.lake.place, snapshot)
            if not _is_same(said, snapshot):
                raise self._overtaken(f"{said.run_id} committed {said.snapshot_id} first")
            snapshot = said  # of an earlier try of this run, when the store was lost after it
        self.lake.append_log(SNAPSHOTS, snapshot.as_row())
        counts = self.lake.snapshot(snapshot.snapshot_id)
        if not _is_same(counts, snapshot):  # another row came first, between the look above and the append
            self.lake.protect(counts)
            log = lance.dataset(self.lake._table_uri(SNAPSHOTS.name), storage_options=self.lake._options)
            if counts.run_id != snapshot.run_id:
                log.delete(f"snapshot_id = '{snapshot.snapshot_id}' AND run_id = '{snapshot.run_id}'")
            raise self._overtaken(f"it was committed to by another run ({counts.run_id}) in the same moment")
        return self._published(snapshot)

    def _published(self, snapshot: Snapshot) -> Snapshot:
        self.head, self._touched, self._restored, self._adopted = snapshot, {}, {}, set()
        self._is_stamped = False
        self._unfinished = {}
        return snapshot

    def _discard(self, table: str) -> None:
        """Remove a table of a local lake. Killed on the way, it is gone; what is left of it goes with the staged files."""
        away = self.lake.place.path("_staging", f"discarded-{uuid.uuid4().hex}")
        Path(away).parent.mkdir(exist_ok=True)
        os.rename(self.lake.place.path(f"{table}.lance"), away)
        shutil.rmtree(away)

    def _base(self, spec: TableSpec, metadata: Mapping[str, str] | None) -> lance.LanceDataset:
        """Return the table as the newest snapshot has it, undoing what a killed writer left behind."""
        uri, options = self.lake._table_uri(spec.name), self.lake._options
        wanted = self._wanted(spec.name)
        dataset = self.lake.latest(spec.name)
        schema = spec.stored.with_metadata(dict(metadata) if metadata else None)
        if dataset is not None and wanted is None:  # made by a run that never committed
            if self.lake.place.is_local:
                self._discard(spec.name)
                dataset = None
            else:  # or by one that is about to: its versions stay
                before = dataset.version
                dataset = lance.write_dataset(
                    schema.empty_table(), uri, mode="overwrite", storage_options=options
                )
                self._follows(spec.name, before, dataset.version)
        if dataset is None:
            dataset = lance.write_dataset(schema.empty_table(), uri, mode="create", storage_options=options)
        if wanted is None:
            self._touched[spec.name] = dataset.version  # an empty table is part of the snapshot too
            return dataset
        self.rebase(spec.name)
        kept = self.lake._kept_of_pages
        dataset = lance.dataset(uri, storage_options=options, metadata_cache_size_bytes=kept)
        if lacking := [one for one in spec.stored if one.name not in dataset.schema.names]:
            dataset.add_columns(
                pa.schema(lacking)
            )  # a lake of an earlier version: nulls, and nothing is read
            self._touched[spec.name] = dataset.version
        known = {name.decode(): value.decode() for name, value in (dataset.schema.metadata or {}).items()}
        if metadata and known != {**known, **metadata}:
            before = dataset.version
            dataset.update_schema_metadata(dict(metadata))
            self._follows(spec.name, before, dataset.version)
            self._touched[spec.name] = dataset.version
        return dataset

    def _check(self) -> None:
        """Make sure that the lake is still held. On a local disk it is: the lock goes with the process."""
        if self._held is not None:
            self._held.check()

    def _follows(self, table: str, before: int, after: int) -> None:
        """See that what this writer wrote follows what it had seen.

        Raises:
            Overtaken: Another writer wrote in between.
        """
        if after != before + 1:
            raise self._overtaken(f"another run has written to {table} since")

    def _overtaken(self, why: str) -> Overtaken:
        return Overtaken(f"{self.lake.uri}: {why}; run again, it starts from there")

    def _wanted(self, table: str) -> int | None:
        """Return the version to build on: this run's, the one it restored, or the newest snapshot's."""
        of_head = self.head.versions.get(table) if self.head else None
        return self._touched.get(table, self._restored.get(table, of_head))


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


def _is_same(one: Snapshot, other: Snapshot) -> bool:
    """Whether two tries of one run made them."""
    return (one.snapshot_id, one.run_id, one.digest) == (other.snapshot_id, other.run_id, other.digest)


def _now() -> datetime:
    return datetime.now(UTC)


def parse_counts(row: dict[str, Any]) -> dict[str, Any]:
    """Return the `counts` of a row of `runs` as a dictionary."""
    return dict(json.loads(row["counts"] or "{}"))


__all__ = ["Diff", "Lake", "Snapshot", "UpsertCount", "Writer", "key_of", "open", "parse_counts"]
