"""Writing a lake: versions of tables are staged, and named in one snapshot."""

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import lance
import pyarrow as pa
import pyarrow.dataset as pds
from lance.commit import CommitConflictError

from schemas.errors import Overtaken
from schemas.tables import SNAPSHOTS, TableSpec
from storage import lease, panics, quality, rows, versions
from storage.lease import Lease
from storage.memory import give_back
from storage.upserts import compared, only, without
from storage.versions import Snapshot
from storage.windows import in_windows

if TYPE_CHECKING:
    from storage.lake import Lake

COLUMN_BYTES = 2 << 20  # of a column, in a page: Lance's 8 MiB, some twenty times, are what writing holds
WRITTEN_BYTES = 16 << 20  # of all columns, before they are written
MANY_ROWS = 1 << 14  # written at once: worth the milliseconds that giving memory back takes


@dataclass(frozen=True)
class UpsertCount:
    """What an upsert did: rows added, rows replaced, rows found equal and left alone."""

    added: int = 0
    replaced: int = 0
    equal: int = 0


class Writer:
    """The one writer of a lake. Stages versions of tables, then names them in one snapshot.

    A killed writer leaves versions that no snapshot names; the next one starts from the snapshot again. Every version
    must follow the one this writer has seen: where another one wrote in between, on an object store, it gives up.
    """

    def __init__(self, lake: "Lake", head: Snapshot | None, held: Lease | None = None) -> None:
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
    ) -> UpsertCount:
        """Add new rows and replace changed ones; equal rows are left alone, and no version is made for them.

        Rows stream: what is held in memory is two bytes a row and eight a replaced one. Keys are compared within the `database`
        around, which spills. What is replaced is appended, and the rows it replaces are deleted by their addresses.

        Args:
            spec: The table.
            staged: Rows with `row_digest`, each key once.
            metadata: Table metadata to set when the table is created.
            repeats: Whether a key may stand twice after all; its first row counts.
            stamps: Whether rows that are equal but for columns outside their digest are replaced too. The next snapshot then
                names them, though its content may be that of the one before.

        Raises:
            LakeError: A key stands twice in `staged`, and may not.
            Overtaken: Another writer wrote to the table.
        """
        counted = self._upserted(spec, staged, metadata, repeats=repeats, stamps=stamps)
        if counted.added + counted.replaced > MANY_ROWS:
            give_back()  # Lance's buffers of pages, more than a hundred MB
        return counted

    def _upserted(
        self,
        spec: TableSpec,
        staged: pds.Dataset,
        metadata: Mapping[str, str] | None,
        *,
        repeats: bool,
        stamps: bool,
    ) -> UpsertCount:
        count = staged.count_rows()
        if self._wanted(spec.name) is not None and not count:
            return UpsertCount()
        self._check()
        dataset = self._base(spec, metadata)
        found = compared(spec, staged, dataset, repeats=repeats, equal=stamps)
        uri, options = self.lake.table_uri(spec.name), self.lake.options
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
        uri, options = self.lake.table_uri(table), self.lake.options
        try:
            with panics.as_errors():
                past = lance.dataset(uri, version=wanted, storage_options=options)
        except (ValueError, OSError) as error:
            assert self.head is not None
            raise self.lake.unreadable(self.head, table, error) from error
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
                self.lake.table_uri(table),
                version=tables[table],
                storage_options=self.lake.options,
                metadata_cache_size_bytes=self.lake.kept_of_pages,
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
            created_at=versions.now(),
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
            log = lance.dataset(self.lake.table_uri(SNAPSHOTS.name), storage_options=self.lake.options)
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
        uri, options = self.lake.table_uri(spec.name), self.lake.options
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
        kept = self.lake.kept_of_pages
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


def _is_same(one: Snapshot, other: Snapshot) -> bool:
    """Whether two tries of one run made them."""
    return (one.snapshot_id, one.run_id, one.digest) == (other.snapshot_id, other.run_id, other.digest)
