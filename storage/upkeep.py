"""Keep tables small and quick without touching what a tag or a recent snapshot names."""

from dataclasses import dataclass
from datetime import timedelta

import lance

from schemas.errors import LakeError
from schemas.tables import LOGS
from storage import indexes
from storage.lake import Lake, Writer


@dataclass(frozen=True)
class Upkeep:
    """What upkeep did.

    Args:
        compacted: {table: fragments merged away}.
        expired: Snapshots that no longer protect their versions.
        freed_bytes: Bytes of versions that nothing names any more.
        indexes: {table: what became of the index over its vectors: built, extended, measured, dropped}.
        alerts: What a person should look at: an index whose recall is under its floor.
    """

    compacted: dict[str, int]
    expired: list[str]
    freed_bytes: int
    indexes: dict[str, str]
    alerts: list[str]


def compact(
    lake: Lake, writer: Writer, *, rows_per_fragment: int = 1 << 20, threads: int = 1
) -> dict[str, int]:
    """Merge small fragments of every content table; the next snapshot names the result.

    Args:
        lake: The lake.
        writer: Its writer.
        rows_per_fragment: Fragments of this many rows are left alone.
        threads: Bounds memory: each holds one batch.
    """
    merged: dict[str, int] = {}
    if writer.head is None:
        return merged
    for table in writer.head.versions:
        writer.rebase(table)
        dataset = lake.latest(table)
        before = len(dataset.get_fragments()) if dataset is not None else 0
        if dataset is None or before < 2:
            continue
        dataset.optimize.compact_files(
            target_rows_per_fragment=rows_per_fragment, num_threads=threads, batch_size=1024
        )
        dataset.checkout_latest()
        after = len(dataset.get_fragments())
        if after < before:
            merged[table] = before - after
            writer.adopt(table)
    for log in LOGS:
        dataset = lake.latest(log)
        if dataset is not None and len(dataset.get_fragments()) > 32:
            dataset.optimize.compact_files(target_rows_per_fragment=rows_per_fragment, num_threads=threads)
    return merged


def expire(lake: Lake, *, keep: int) -> list[str]:
    """Stop protecting all but the newest `keep` snapshots and those a tag points at. Their rows in `snapshots` stay.

    Raises:
        ValueError: `keep` is under 1.
    """
    if keep < 1:
        raise ValueError(f"keep at least the newest snapshot; found keep={keep}")
    tagged = set(lake.tags().values())
    old = {s.snapshot_id: s for s in lake.snapshots()[:-keep] if s.snapshot_id not in tagged}
    expired: set[str] = set()
    # By table, since snapshots stay on record for ever and those that protect something are few.
    for table in sorted({table for snapshot in old.values() for table in snapshot.versions}):
        dataset = lake.latest(table)
        if dataset is None:
            continue
        for snapshot_id in sorted(old.keys() & dataset.tags.list().keys()):
            dataset.tags.delete(snapshot_id)
            expired.add(snapshot_id)
    return sorted(expired)


def clean(lake: Lake, *, older_than: timedelta = timedelta(0)) -> int:
    """Remove versions that no snapshot protects and files no version names, and return the bytes freed.

    Only while holding the writer: files of a writer at work look like orphans. On an object store, where a writer
    that was overtaken may still be at work, Lance spares orphans for seven days.

    Raises:
        LakeError: Some files could not be deleted.
    """
    freed, failed = 0, 0
    head = lake.head()
    for table in [*(head.versions if head else {}), *LOGS]:
        dataset = lake.latest(table)
        if dataset is None:
            continue
        stats = dataset.cleanup_old_versions(
            older_than=older_than,
            delete_unverified=lake.place.is_local,
            error_if_tagged_old_versions=False,
        )
        freed += stats.bytes_removed
        failed += int(getattr(stats, "failed_deletes", 0) or 0)
    if failed:
        raise LakeError(
            f"{failed} files of {lake.uri} could not be deleted; the store may lack bulk delete or rights"
        )
    return freed


def refresh_indexes(lake: Lake, writer: Writer) -> list[str]:
    """Fold rows added since into existing indexes; return the tables that had any. Those over vectors: `indexes`."""
    refreshed: list[str] = []
    for table in writer.head.versions if writer.head else {}:
        dataset = lake.latest(table)
        if dataset is None:
            continue
        behind = [name for name, rows in unindexed_rows(dataset).items() if rows and name != indexes.NAME]
        if behind:
            dataset.optimize.optimize_indices(index_names=behind)
            writer.adopt(table)
            refreshed.append(table)
    return refreshed


def unindexed_rows(dataset: lance.LanceDataset) -> dict[str, int]:
    """Return {index: rows it does not cover yet}."""
    rows = {fragment.fragment_id: fragment.count_rows() for fragment in dataset.get_fragments()}
    found = {}
    for index in dataset.describe_indices():
        covered = {fragment for segment in index.segments for fragment in segment.fragment_ids}
        found[index.name] = sum(count for fragment, count in rows.items() if fragment not in covered)
    return found
