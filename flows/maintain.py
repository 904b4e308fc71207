"""Maintain: compact tables, keep indexes good, let old versions go. Tagged and recent snapshots stay whole."""

import time
from datetime import timedelta

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import hold
from schemas.recipes import IndexRecipe
from schemas.settings import Settings
from storage import indexes, orphans, scratch, upkeep
from storage import lake as lakes
from storage.indexes import Measured
from storage.lake import Lake, Writer
from storage.upkeep import Upkeep
from tasks.run import new_run_id


@flow(name="maintain")
@hold.rebased
def maintain(
    lake: str | None = None,
    keep: int = 10,
    older_than_s: float = 0.0,
    index: IndexRecipe | None = IndexRecipe(),  # noqa: B008 - frozen
) -> Upkeep:
    """Tidy a lake. Content does not change: a snapshot of compacted, indexed tables has the digest of the one before.

    Args:
        lake: The lake; the setting `XMODAL_LAKE` by default.
        keep: Newest snapshots to keep whole, beside the tagged ones.
        older_than_s: Leave versions younger than this alone.
        index: When vectors get an index and how good it must be; none: indexes over vectors are dropped.
    """
    opened = lakes.open(lake or Settings().lake)
    with hold.writer(opened) as writer:
        compacted, indexed = tidy(opened, writer, index)
        expired = expire(opened, keep)
        freed = clean(opened, timedelta(seconds=older_than_s))
    return Upkeep(compacted, expired, freed, {entry.table: entry.action for entry in indexed}, alerts(opened))


@task(cache_policy=NO_CACHE)
def tidy(lake: Lake, writer: Writer, index: IndexRecipe | None) -> tuple[dict[str, int], list[Measured]]:
    """Merge small fragments, see to indexes, and commit the result as a snapshot; move tags that named the newest."""
    head, run_id = writer.head, f"maintain {new_run_id(time.time())}"
    merged = upkeep.compact(lake, writer)
    refreshed = upkeep.refresh_indexes(lake, writer)
    indexed = indexes.keep_up(lake, writer, index, run_id=run_id)
    changed = any(entry.action != "measured" for entry in indexed)
    if head is not None and (merged or refreshed or changed):
        new = writer.commit(tag=None, recipe_digest=head.recipe_digest, run_id=run_id)
        for tag, snapshot_id in lake.tags().items():
            if snapshot_id == head.snapshot_id:
                lake.move_tag(tag, new.snapshot_id, run_id=new.run_id)
    return merged, indexed


@task(cache_policy=NO_CACHE)
def expire(lake: Lake, keep: int) -> list[str]:
    """Stop protecting snapshots that are neither recent nor tagged."""
    return upkeep.expire(lake, keep=keep)


@task(cache_policy=NO_CACHE)
def clean(lake: Lake, older_than: timedelta) -> int:
    """Remove what nothing names any more: old versions of tables, and what killed runs left beside them."""
    scratch.sweep()  # of this machine
    return upkeep.clean(lake, older_than=older_than) + orphans.remove(lake)


@task(cache_policy=NO_CACHE)
def alerts(lake: Lake) -> list[str]:
    """Return what is wrong with the newest snapshot's indexes, and say it in the log."""
    head = lake.head()
    found = [entry.alert for entry in indexes.health(lake, head) if entry.alert] if head else []
    for alert in found:
        get_run_logger().warning(alert)
    return found
