"""Keep tables small and quick without touching what a tag or a recent snapshot names."""

from dataclasses import dataclass
from datetime import timedelta

import lance

from schemas.errors import LakeError
from schemas.tables import LOGS
from storage.lake import Lake, Writer


@dataclass(frozen=True)
class Upkeep:
    """What upkeep did.

    Args:
        compacted: {table: fragments merged away}.
        expired: Snapshots that no longer protect their versions.
        freed_bytes: Bytes of versions that nothing names any more.
    """

    compacted: dict[str, int]
    expired: list[str]
    freed_bytes: int


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
    old = [s for s in lake.snapshots()[:-keep] if s.snapshot_id not in tagged]
    expired = []
    for snapshot in old:
        for table in snapshot.versions:
            dataset = lake.latest(table)
            if dataset is not None and snapshot.snapshot_id in dataset.tags.list():
                dataset.tags.delete(snapshot.snapshot_id)
                expired.append(snapshot.snapshot_id)
    return sorted(set(expired))


def clean(lake: Lake, *, older_than: timedelta = timedelta(0)) -> int:
    """Remove versions that no snapshot protects and files no version names, and return the bytes freed.

    Only while holding the writer: files of a writer at work look like orphans. On an object store, where holding
    it keeps nobody out, Lance spares orphans for seven days.

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
    """Fold rows added since into existing indexes; return the tables that had any."""
    refreshed: list[str] = []
    for table in writer.head.versions if writer.head else {}:
        dataset = lake.latest(table)
        if dataset is not None and any(unindexed_rows(dataset).values()):
            dataset.optimize.optimize_indices()
            writer.adopt(table)
            refreshed.append(table)
    return refreshed


def unindexed_rows(dataset: lance.LanceDataset) -> dict[str, int]:
    """Return {index: rows it does not cover yet}."""
    return {
        index.name: int(dataset.stats.index_stats(index.name).get("num_unindexed_rows", 0))
        for index in dataset.describe_indices()
    }
