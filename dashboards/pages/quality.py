"""Quality: which expectations held at which version, and the rows that broke them."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from dashboards.pages.cards import cards, is_id, pair_cards, texts_of
from dashboards.site import Site
from schemas.tables import QUALITY
from storage import quality as log

MARKS = {"passed": "✓", "failed": "✗", "raised": "!", "skipped": "–"}
SNAPSHOTS, SHOWN = 12, 60  # versions side by side, offenders shown


def routes(site: Site) -> APIRouter:
    """Return the routes of quality."""
    router = APIRouter()

    @router.get("/quality")
    def quality(request: Request) -> Response:
        snapshots = [snapshot.snapshot_id for snapshot in site.lake.snapshots()[-SNAPSHOTS:]]
        rows = results(site, snapshots)
        seen = [one for one in snapshots if any(row["snapshot_id"] == one for row in rows)]
        grid: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
        for row in rows:
            grid.setdefault((row["table"], row["expectation"], row["column"]), {})[row["snapshot_id"]] = row
        return site.show(
            request, "quality.html", exists=site.lake.latest(QUALITY.name) is not None, snapshots=seen, grid=grid,
            marks=MARKS,
        )  # fmt: skip

    @router.get("/quality/rows")
    def rows(
        request: Request, snapshot: str, table: str, expectation: str, column: str = "",
        offset: int = Query(0, ge=0, le=1_000_000),
    ) -> Response:  # fmt: skip
        for row in results(site, [snapshot]):
            if (row["table"], row["expectation"], row["column"]) == (table, expectation, column):
                ids = row["offending"]
                return site.show(
                    request, "quality_rows.html", "_offenders.html", row=row, offset=offset, total=len(ids),
                    step=SHOWN, **_offenders(site, row, ids[offset : offset + SHOWN]),
                )  # fmt: skip
        raise HTTPException(404, "no such expectation was checked at this version")

    return router


def results(site: Site, snapshots: Iterable[str]) -> list[dict[str, Any]]:
    """Return what was found at versions, the last word on each expectation."""
    return [
        {
            **{name: row[name] for name in ("snapshot_id", "table", "severity", "status", "observed", "threshold")},
            "expectation": row["name"],
            "column": row["column"] or "",
            "unexpected_count": row["unexpected"],
            "reason": row["reason"] or "",
            "offending": list(row["offending"] or ()),
        }
        for one in snapshots
        for row in log.results(site.lake, one)
    ]  # fmt: skip


def failing(site: Site) -> list[dict[str, Any]]:
    """Return the expectations that do not hold at the newest version, or could not be told."""
    return [row for row in results(site, [site.head().snapshot_id]) if row["status"] in log.BAD]


def _offenders(site: Site, row: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    """Return cards of what broke an expectation, by the table it is about."""
    snapshot = site.lake.snapshot(row["snapshot_id"])
    media, pairs, texts = [], [], {}
    known = [one for one in ids if is_id(one)]
    if row["table"] == "media":
        media = cards(site.lake, snapshot, known)
    elif row["table"] == "pairs":
        pairs = pair_cards(site.lake, snapshot, known)
    elif row["table"] == "texts":
        texts = texts_of(site.lake, snapshot, known)
    shown = {card.media_id for card in media} | {card.pair_id for card in pairs} | texts.keys()
    return {
        "media": media,
        "pairs": pairs,
        "texts": texts,
        "others": [one for one in ids if one not in shown],
    }
