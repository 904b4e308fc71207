"""Maintain: compact tables, let old versions go, refresh indexes. Tagged and recent snapshots stay whole."""

import time
from datetime import timedelta

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from schemas.settings import Settings
from storage import lake as lakes
from storage import upkeep
from storage.lake import Lake, Writer
from storage.upkeep import Upkeep
from tasks.run import new_run_id


@flow(name="maintain")
def maintain(lake: str | None = None, keep: int = 10, older_than_s: float = 0.0) -> Upkeep:
    """Tidy a lake. Content does not change: a snapshot of compacted tables has the digest of the one before.

    Args:
        lake: The lake; the setting `XMODAL_LAKE` by default.
        keep: Newest snapshots to keep whole, beside the tagged ones.
        older_than_s: Leave versions younger than this alone.
    """
    opened = lakes.open(lake or Settings().lake)
    with opened.writer() as writer:
        compacted = compact(opened, writer)
        expired = expire(opened, keep)
        freed = clean(opened, timedelta(seconds=older_than_s))
    return Upkeep(compacted, expired, freed)


@task(cache_policy=NO_CACHE)
def compact(lake: Lake, writer: Writer) -> dict[str, int]:
    """Merge small fragments, refresh indexes, and commit the result as a snapshot; move tags that named the newest."""
    head = writer.head
    merged = upkeep.compact(lake, writer)
    refreshed = upkeep.refresh_indexes(lake, writer)
    if head is not None and (merged or refreshed):
        new = writer.commit(
            tag=None, recipe_digest=head.recipe_digest, run_id=f"maintain {new_run_id(time.time())}"
        )
        for tag, snapshot_id in lake.tags().items():
            if snapshot_id == head.snapshot_id:
                lake.move_tag(tag, new.snapshot_id, run_id=new.run_id)
    return merged


@task(cache_policy=NO_CACHE)
def expire(lake: Lake, keep: int) -> list[str]:
    """Stop protecting snapshots that are neither recent nor tagged."""
    return upkeep.expire(lake, keep=keep)


@task(cache_policy=NO_CACHE)
def clean(lake: Lake, older_than: timedelta) -> int:
    """Remove what nothing names any more."""
    return upkeep.clean(lake, older_than=older_than)
