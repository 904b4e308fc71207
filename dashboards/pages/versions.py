"""Versions: what the lake held, how two versions differ and why, tags, and going back."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from dashboards.site import Site
from schemas.errors import LakeBusy, NoSuchSnapshot
from storage import history
from storage.difference import difference
from storage.sql import Limits

STEP = 50  # versions a page
FIRST = ("media", "pairs", "texts")  # tables people look at first
SAMPLES = 8  # rows of a table in a diff
TRIES, PAUSE_S = 12, 0.5  # how long a busy lake is waited for
_LIMITS = Limits(seconds=60.0, memory="1GB", rows=2_000_000, result_bytes=1 << 30)
Ref = Annotated[str, Form(min_length=1, max_length=100)]


def routes(site: Site) -> APIRouter:
    """Return the routes of versions."""
    router = APIRouter()
    writes = [Depends(site.sessions.check)]

    @router.get("/versions")
    def versions(request: Request, offset: Annotated[int, Query(ge=0)] = 0, done: str = "") -> Response:
        found = history.versions(site.lake)[::-1]
        return site.show(
            request, "versions.html", versions=found[offset : offset + STEP], total=len(found), offset=offset,
            step=STEP, said=history.SAID, tags=site.lake.tags(), done=done[:200],
        )  # fmt: skip

    @router.get("/versions/diff")
    def diff(request: Request, before: str, after: str) -> Response:
        found = difference(site.lake, before, after, limit=SAMPLES, limits=_LIMITS)
        differ = {name: one for name, one in found.tables.items() if one.added or one.removed or one.changed}
        tables = {name: differ[name] for name in sorted(differ, key=lambda name: (name not in FIRST, name))}
        return site.show(request, "diff.html", found=found, tables=tables)

    @router.get("/versions/restore")
    def ask(request: Request, ref: str) -> Response:
        site.can_write()
        known = history.describe(site.lake, ref)
        return site.show(request, "restore.html", known=known, head=site.head())

    @router.post("/versions/restore", dependencies=writes)
    def restore(ref: Ref) -> Response:
        actions = site.can_write()
        for left in reversed(range(TRIES)):
            try:
                again = actions.restore(ref)
                return _back(f"{again.snapshot_id} is the newest now and holds what {ref} held")
            except LakeBusy:
                if not left:
                    raise
                time.sleep(PAUSE_S)
        raise LakeBusy(site.lake.uri)

    @router.post("/versions/tag", dependencies=writes)
    def tag(name: Ref, ref: Ref) -> Response:
        found = site.can_write().tag(name, ref)
        return _back(f"{name} points to {found.snapshot_id if found else 'nothing'}")

    @router.post("/versions/untag", dependencies=writes)
    def untag(name: Ref) -> Response:
        if name not in site.lake.tags():
            raise NoSuchSnapshot(f"there is no tag {name!r}")
        site.can_write().tag(name, None)
        return _back(f"the tag {name} is gone; what it pointed to is still there")

    return router


def _back(done: str) -> Response:
    from urllib.parse import quote

    return RedirectResponse(f"/versions?done={quote(done)}", 303)
