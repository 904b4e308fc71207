"""Export: a snapshot's rows to files that others read. No snapshot is made: no table changes."""

from typing import Any

from prefect import flow

from flows.runners import workers
from schemas.recipes import MethodRef
from schemas.settings import Settings
from storage import lake as lakes
from tasks import export as work
from tasks.originals import Kind


@flow(name="export")
def export(
    target: str,
    format: MethodRef,  # noqa: A002 - what users call it
    lake: str | None = None,
    *,
    statement: str | None = None,
    where: str | None = None,
    at: str | None = None,
    use: str = "training",
    media: Kind = "original",
    shard_bytes: int = 256 << 20,
    target_options: dict[str, Any] | None = None,
) -> work.Exported:
    """Write what a condition chooses. Started again after a kill it writes what is missing; again after that, nothing.

    Args:
        target: Empty folder or object-store URL.
        format: One of `tasks.exports`.
        lake: Which lake; the setting `XMODAL_LAKE` by default.
        statement: SQL that gives `digest` or `media_id`, and `text_id` where single pairs are meant.
        where: Condition over `pairs p JOIN media m`, in place of a statement; everything kept by default.
        at: Snapshot id, tag or digest; newest by default.
        use: Which ranking of a medium's texts.
        media: Bytes as taken in, thumbnails, or none.
        shard_bytes: Media of about this many bytes share a file.
        target_options: What fsspec needs for the target.
    """
    settings = Settings()
    opened = lakes.open(lake or settings.lake)
    planned = work.plan(
        opened, target, format, statement=statement, where=where, at=at, use=use, media=media,
        shard_bytes=shard_bytes, cache=settings.cache, target_options=target_options,
    )  # fmt: skip
    with workers(settings) as pool:
        parts = work.write(planned, pool)
    return work.finish(opened, planned, parts)
