"""What programs ask: search, SQL, tables, decisions, media, thumbnails, health and numbers, as JSON and bytes."""

import io
import json
import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Response
from fastapi import Path as InPath
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from dashboards.metering import Meters
from storage.lake import Lake
from storage.search import by_ids
from storage.sql import Limits, Result, sql
from storage.versions import Snapshot
from tasks.originals import Originals
from tasks.search import search

MOST = 1000  # results of a search, rows of a statement, decisions of a page
LARGEST = 64 << 20  # bytes of a medium that is handed out
SHOWABLE = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp"}
)  # others are downloads, never run by a browser
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}

At = Annotated[
    str | None, Query(max_length=200, description="Snapshot id, tag or digest; the newest by default.")
]
Digest = Annotated[str, InPath(max_length=64, description="SHA-256 of the medium's bytes.")]


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str = Field(examples=["NoSuchSnapshot"])
    message: str = Field(examples=["no snapshot or tag is called 'v9' in lake; known: s000001"])


class SearchRequest(BaseModel):
    """A query: fields of `schemas.ranking.Query`, but for pictures and vectors."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"text": "a red bicycle", "k": 5, "where": "width_px > 100"}]},
    )

    text: str | None = Field(None, max_length=10_000)
    like: list[str] = Field([], max_length=32)
    unlike: list[str] = Field([], max_length=32)
    replace: tuple[str, str] | None = None
    side: Literal["media", "text"] = "media"
    modality: list[str] = Field([], max_length=16)
    where: str | None = Field(None, max_length=10_000)
    k: int = Field(10, ge=1, le=MOST)
    offset: int = Field(0, ge=0, le=100_000)
    first: Literal["dense", "match", "hybrid", "late", "codes"] = "dense"
    search: Literal["auto", "exact", "index"] = "auto"
    by: Literal["media", "texts", "both"] = "both"
    slots: Literal["auto", "all", "none"] = "auto"
    without: list[str] = Field([], max_length=16)
    at: str | None = None
    encoder: str | None = None


class Hit(BaseModel):
    """One result."""

    item_id: str
    media_id: str
    score: float
    similarity: float | None = Field(description="Cosine; null where only words were matched.")
    texts: list[str]
    licence: str
    thumbnail: str | None = Field(description="Path on this server.")


class Found(BaseModel):
    """Hits, best first."""

    snapshot: str = Field(examples=["s000003"])
    encoder: str
    exact: bool
    notes: list[str]
    hits: list[Hit]


class SqlRequest(BaseModel):
    """A statement that reads, its parameters, and the snapshot it reads."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"statement": "SELECT count(*) AS n FROM media WHERE width_px > ?", "params": [100]}]},
    )  # fmt: skip

    statement: str = Field(max_length=100_000)
    params: list[Any] = []
    at: str | None = None
    rows: int = Field(MOST, ge=0, le=100_000)


class Rows(BaseModel):
    """Rows of a statement and what was read for them."""

    snapshot: str | None
    truncated: bool
    notes: list[str]
    read: list[dict[str, Any]]
    rows: list[dict[str, Any]]


class Decision(BaseModel):
    """A rule that spoke against a subject."""

    decision_id: str
    subject: str = Field(examples=["pair"])
    subject_id: str
    verdict: str = Field(examples=["drop"])
    rule: str = Field(examples=["min-side"])
    method: str | None
    value: float | None
    threshold: str | None
    run_id: str | None


class Decisions(BaseModel):
    """A page of decisions."""

    snapshot: str
    total: int
    decisions: list[Decision]


class Health(BaseModel):
    """Whether the lake can be read, and what is newest."""

    lake: str | None = Field(description="Where the lake is; not said where a token is asked for.")
    snapshot: str | None = Field(examples=["s000003"])


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request cannot be answered as it is."},
    401: {"model": Problem, "description": "A token is needed."},
    404: {"model": Problem, "description": "What was named is not there."},
    413: {"model": Problem, "description": "The request is too large."},
    503: {"model": Problem, "description": "It took too long, or the lake is busy."},
}
_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


def routes(lake: Lake, meters: Meters, *, guarded: bool = False) -> APIRouter:
    """Return the routes for programs."""
    router = APIRouter(responses=REFUSALS)

    @router.get("/health")
    def health() -> Health:
        head = lake.head()
        return Health(lake=None if guarded else lake.uri, snapshot=head.snapshot_id if head else None)

    @router.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(meters.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/tables")
    def tables(at: At = None) -> dict[str, int]:
        return lake.tables(at)

    @router.get("/search")
    def by_words(
        q: Annotated[str, Query(max_length=10_000, examples=["a red bicycle"])],
        k: Annotated[int, Query(ge=1, le=MOST)] = 10,
        at: At = None,
    ) -> Found:
        return _found(lake, {"text": q, "k": k, "at": at, "slots": "auto"})

    @router.post("/search")
    def by_query(query: SearchRequest) -> Found:
        asked = query.model_dump()
        asked |= {name: tuple(asked[name]) for name in ("like", "unlike", "modality", "without")}
        return _found(lake, asked)

    @router.post("/sql", response_model=Rows)
    def statement(asked: SqlRequest) -> Response:
        found = sql(lake, asked.statement, params=asked.params, at=asked.at, limits=Limits(rows=asked.rows))
        return Response(_rows(found), media_type="application/json")

    @router.get("/decisions")
    def decisions(
        rule: Annotated[str | None, Query(max_length=200, examples=["min-side"])] = None,
        subject: Literal["media", "text", "pair"] | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        at: At = None,
    ) -> Decisions:
        snapshot = _snapshot(lake, at)
        if "decisions" not in snapshot.versions:
            return Decisions(snapshot=snapshot.snapshot_id, total=0, decisions=[])
        where = "active"
        named: list[str] = []
        for column, value in (("rule", rule), ("subject", subject)):
            if value is not None:
                where, named = f"{where} AND {column} = ?", [*named, value]
        listed = ", ".join(Decision.model_fields)
        said = {"params": named, "at": snapshot.snapshot_id}
        rows = lake.sql(
            f"SELECT {listed} FROM raw.decisions WHERE {where} ORDER BY rule, decision_id LIMIT {limit} OFFSET {offset}",
            **said,
        ).rows()
        total = lake.sql(f"SELECT count(*) AS n FROM raw.decisions WHERE {where}", **said).rows()[0]["n"]
        return Decisions(
            snapshot=snapshot.snapshot_id, total=total, decisions=[Decision(**row) for row in rows]
        )

    @router.get("/media/{media_id}", response_class=Response, responses={200: _BYTES})
    def media(media_id: Digest, at: At = None) -> Response:
        row = _row(lake, media_id, at, ["uri", "media_type", "size_bytes"])
        if (row["size_bytes"] or 0) > LARGEST:
            raise HTTPException(
                413, f"this medium has {row['size_bytes']:,} bytes; at most {LARGEST:,} are handed out"
            )
        kind, data = row["media_type"] or "", _content(lake, media_id, row["uri"] or "")
        headers = IMMUTABLE | {"Content-Security-Policy": "default-src 'none'; sandbox"}
        if kind not in SHOWABLE:
            kind = "application/octet-stream"
            headers["Content-Disposition"] = f'attachment; filename="{media_id}"'
        return Response(data, media_type=kind, headers=headers)

    @router.get("/media/{media_id}/thumbnail", response_class=Response, responses={200: _BYTES})
    def thumbnail(media_id: Digest, at: At = None) -> Response:
        row = _row(lake, media_id, at, ["thumbnail"])
        if not row["thumbnail"]:
            raise HTTPException(404, "no thumbnail of this medium")
        return Response(row["thumbnail"], media_type="image/webp", headers=IMMUTABLE)

    return router


def _snapshot(lake: Lake, at: str | None) -> Snapshot:
    snapshot = lake.snapshot(at) if at else lake.head()
    if snapshot is None:
        raise HTTPException(404, "the lake is empty")
    return snapshot


def _row(lake: Lake, media_id: str, at: str | None, columns: list[str]) -> dict[str, Any]:
    snapshot = _snapshot(lake, at)
    if not media_id.isalnum() or not media_id.isascii():
        raise HTTPException(404, "no such medium")
    rows = by_ids(lake, snapshot, "media", "media_id", [media_id], columns).to_pylist()
    if not rows:
        raise HTTPException(404, "no such medium")
    return rows[0]


def _content(lake: Lake, media_id: str, uri: str) -> bytes:
    """Return a medium's bytes from where the lake says they are; no request names a place."""
    (found,) = Originals(lake.uri, fs_options=lake.fs_options).read([media_id], [uri])
    if not isinstance(found, bytes):
        raise HTTPException(404, "the bytes of this medium are no longer where they were found")
    return found


def _found(lake: Lake, asked: dict[str, Any]) -> Found:
    text = asked.pop("text")
    results = search(lake, text, **asked)
    return Found(
        snapshot=results.snapshot_id,
        encoder=results.encoder,
        exact=results.exact,
        notes=list(results.notes),
        hits=[
            Hit(
                item_id=hit.item_id,
                media_id=hit.media_id,
                score=hit.score,
                similarity=None if math.isnan(hit.similarity) else hit.similarity,
                texts=list(hit.texts),
                licence=hit.licence,
                thumbnail=f"/media/{hit.media_id}/thumbnail" if hit.thumbnail else None,
            )
            for hit in results.hits
        ],
    )


def _rows(found: Result) -> bytes:
    """Return rows and where they came from as JSON, the rows written as the library writes them."""
    rows = io.BytesIO()
    found.to_json(rows)
    said = {
        "snapshot": found.snapshot_id, "truncated": found.truncated, "notes": found.notes, "read": found.provenance,
    }  # fmt: skip
    return json.dumps(said).encode()[:-1] + b', "rows": ' + rows.getvalue() + b"}"
