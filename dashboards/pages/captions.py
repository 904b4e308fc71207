"""Captions: what people wrote beside what the platform wrote, each statement with the support that was found for it."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from dashboards.pages.cards import cards, rows_by_id, texts_of
from dashboards.site import Site
from storage.versions import Snapshot

STATES = ("accepted", "refused", "rewritten", "failed")
STEP = 12  # media a page


def routes(site: Site) -> APIRouter:
    """Return the routes of captions."""
    router = APIRouter()

    @router.get("/captions")
    def captions(
        request: Request, status: Annotated[str, Query(pattern="^(accepted|refused|rewritten|failed|)$")] = "",
        generator: Annotated[str, Query(max_length=100)] = "",
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> Response:  # fmt: skip
        head = site.head()
        if "captions" not in head.versions:
            return site.show(request, "captions.html", exists=False)
        counts = site.rows(
            "SELECT generator, status, count(*) AS n FROM raw.captions WHERE active GROUP BY 1, 2 ORDER BY 1, 2"
        )
        chosen = "active AND (? = '' OR status = ?) AND (? = '' OR generator = ?)"
        named = [status, status, generator, generator]
        total = site.rows(f"SELECT count(DISTINCT media_id) AS n FROM raw.captions WHERE {chosen}", *named)[
            0
        ]["n"]
        media = site.rows(
            f"SELECT DISTINCT media_id FROM raw.captions WHERE {chosen} ORDER BY 1 LIMIT {STEP} OFFSET {offset}",
            *named,
        )
        return site.show(
            request, "captions.html", "_captions.html", exists=True, counts=counts, states=STATES, status=status,
            generator=generator, offset=offset, step=STEP, total=total,
            items=_items(site, head, [row["media_id"] for row in media]),
        )  # fmt: skip

    return router


def _items(site: Site, head: Snapshot, media_ids: list[str]) -> list[dict[str, Any]]:
    """Return media with raw texts, drafts and who is served what."""
    lake = site.lake
    columns = [
        "media_id",
        "text",
        "generator",
        "attempt",
        "status",
        "reason",
        "statements",
        "scores",
        "active",
    ]
    drafts = [
        row for row in rows_by_id(lake, head, "captions", "media_id", media_ids, columns) if row["active"]
    ]
    pairs = rows_by_id(
        lake,
        head,
        "pairs",
        "media_id",
        media_ids,
        ["media_id", "text_id", "role", "present", "kept", "dropped_by"],
    )
    raw = [row for row in pairs if row["present"] and row["role"] != "synthetic"]
    texts = texts_of(lake, head, [row["text_id"] for row in raw])
    return [
        {
            "card": card,
            "raw": [
                row | {"text": texts.get(row["text_id"], "")}
                for row in raw
                if row["media_id"] == card.media_id
            ],
            "drafts": [
                row | {"statements": _list(row["statements"]), "scores": _dict(row["scores"])}
                for row in sorted(
                    drafts, key=lambda row: (STATES.index(row["status"]), row["generator"], row["attempt"])
                )
                if row["media_id"] == card.media_id
            ],
        }
        for card in cards(lake, head, media_ids)
    ]


def _list(stored: str | None) -> list[dict[str, Any]]:
    found = json.loads(stored or "[]")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _dict(stored: str | None) -> dict[str, Any]:
    found = json.loads(stored or "{}")
    return found if isinstance(found, dict) else {}
