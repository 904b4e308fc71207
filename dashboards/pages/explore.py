"""Explore: search by words, by an uploaded picture or by what was found; a gallery; SQL with pictures; one medium whole."""

import math
import re
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile

from dashboards.pages.cards import cards, medium, rows_by_id, texts_of
from dashboards.site import PAGE_LIMITS, Site
from schemas.errors import BadInput, DataError
from storage.conditions import checked
from storage.scratch import scratch
from storage.sql import Limits, sql
from storage.versions import Snapshot
from tasks.search import Results, search

STEP = 24  # results a page
GALLERY = 48  # pictures a page
PICTURE_BYTES = 16 << 20  # of an upload
First = Literal["dense", "match", "hybrid", "late", "codes"]
_WITHOUT = re.compile(r"--without ([\w-]+)")


def routes(site: Site) -> APIRouter:
    """Return the routes of exploring."""
    router = APIRouter()
    from_page = [Depends(site.sessions.check)]

    @router.get("/explore")
    def explore(
        request: Request, q: Annotated[str, Query(max_length=2000)] = "",
        like: Annotated[str, Query(max_length=64)] = "", first: First = "dense",
        where: Annotated[str, Query(max_length=2000)] = "",
        without: Annotated[list[str], Query(max_length=16)] = [],  # noqa: B006 - FastAPI copies it
        offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
    ) -> Response:  # fmt: skip
        head, asked, began = site.head(), q.strip(), time.perf_counter()
        found = None
        if asked or like:
            found = search(
                site.lake, asked or None, like=(like,) if like else (), first=first, where=where.strip() or None,
                k=STEP, offset=offset, slots="auto", without=tuple(without), at=head.snapshot_id,
            )  # fmt: skip
        return site.show(
            request, "explore.html", "_results.html", q=q, like=like, first=first, where=where, without=without,
            offset=offset, step=STEP, found=found, hits=_hits(found), slots=_slots(found), uploaded=False,
            seconds=time.perf_counter() - began,
        )  # fmt: skip

    @router.post("/explore/picture", dependencies=from_page)
    def by_picture(
        request: Request, picture: Annotated[UploadFile, File()],
        words: Annotated[str, Form(max_length=2000)] = "",
    ) -> Response:  # fmt: skip
        head, began = site.head(), time.perf_counter()
        data = picture.file.read(PICTURE_BYTES + 1)
        if len(data) > PICTURE_BYTES:
            raise DataError(f"the picture has more than {PICTURE_BYTES >> 20} MiB; send a smaller one")
        with scratch("upload") as folder:
            path = Path(folder) / "picture"  # the name it came with is never used
            path.write_bytes(data)
            try:
                found = search(site.lake, words.strip() or None, image=path, k=STEP, at=head.snapshot_id)
            except BadInput as error:
                raise DataError(
                    f"this is no picture that can be read: {error}".replace(str(path), "it")
                ) from error
        return site.show(
            request, "explore.html", "_results.html", q=words, like="", first="dense", where="", without=[],
            offset=0, step=STEP, found=found, hits=_hits(found), slots=[], uploaded=True,
            seconds=time.perf_counter() - began,
        )  # fmt: skip

    @router.get("/gallery")
    def gallery(
        request: Request, where: Annotated[str, Query(max_length=2000)] = "",
        offset: Annotated[int, Query(ge=0, le=100_000_000)] = 0,
    ) -> Response:  # fmt: skip
        head = site.head()
        ids, total = _page_of(site, head, where.strip(), offset)
        return site.show(
            request, "gallery.html", "_gallery.html", where=where, offset=offset, step=GALLERY, total=total,
            cards=cards(site.lake, head, ids),
        )  # fmt: skip

    @router.get("/sql-box")
    def sql_box(request: Request) -> Response:
        head = site.head()
        return site.show(
            request, "sql.html", tables=sorted(head.row_counts.items()), statement="", found=None
        )

    @router.post("/sql-box", dependencies=from_page)
    def statement(request: Request, statement: Annotated[str, Form(max_length=100_000)]) -> Response:
        head = site.head()
        limits = Limits(seconds=PAGE_LIMITS.seconds, rows=500, result_bytes=PAGE_LIMITS.result_bytes)
        found = sql(site.lake, statement, at=head.snapshot_id, limits=limits)
        rows = found.rows()
        pictured = next((name for name in ("digest", "media_id") if rows and name in rows[0]), None)
        return site.show(
            request, "sql.html", "_grid.html", statement=statement, found=found, rows=rows, pictured=pictured,
            columns=found.arrow().column_names, tables=sorted(head.row_counts.items()),
        )  # fmt: skip

    @router.get("/item/{media_id}")
    def item(request: Request, media_id: str) -> Response:
        head = site.head()
        row = medium(site.lake, head, media_id)
        pairs = rows_by_id(
            site.lake, head, "pairs", "media_id", [media_id],
            ["pair_id", "text_id", "role", "present", "kept", "dropped_by"],
        )  # fmt: skip
        texts = texts_of(site.lake, head, [pair["text_id"] for pair in pairs])
        scores = rows_by_id(
            site.lake, head, "scores", "subject_id", [media_id, *(pair["pair_id"] for pair in pairs)],
            ["subject_id", "method", "value"],
        )  # fmt: skip
        return site.show(
            request, "item.html", row=row, scores=scores,
            pairs=[pair | {"text": texts.get(pair["text_id"], "")} for pair in pairs],
        )  # fmt: skip

    return router


def _page_of(site: Site, head: Snapshot, where: str, offset: int) -> tuple[list[str], int]:
    """Return the ids of a page of kept media, and how many there are; the store skips what is before."""
    dataset = site.lake.dataset("media", head)
    passing = "present AND kept IS NOT FALSE"
    if where:
        known = [name for name in dataset.schema.names if name not in ("thumbnail", "row_digest")]
        passing += f" AND ({checked(where, known)})"
    rows = dataset.to_table(columns=["media_id"], filter=passing, limit=GALLERY, offset=offset)
    return rows["media_id"].to_pylist(), dataset.count_rows(filter=passing)


def _hits(found: Results | None) -> list[dict[str, Any]]:
    """Return hits as the page shows them."""
    return [
        {
            "media_id": hit.media_id, "texts": hit.texts, "licence": hit.licence, "uri": hit.uri,
            "shown": hit.score if math.isnan(hit.similarity) else hit.similarity,
        }
        for hit in (found.hits if found else ())
    ]  # fmt: skip


def _slots(found: Results | None) -> list[dict[str, Any]]:
    """Return the notes of a search; those about words that narrowed it with the kinds to take away."""
    return [
        {"said": note.partition("; without it:")[0], "kinds": _WITHOUT.findall(note)}
        for note in (found.notes if found else ())
    ]
