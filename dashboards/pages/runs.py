"""Runs: what ran, where its time went, what it counted, and what was refused on the way in."""

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from dashboards.site import Site
from schemas.errors import REASONS
from storage import running as at_work

STEP = 25


def routes(site: Site) -> APIRouter:
    """Return the routes of runs and the quarantine."""
    router = APIRouter()

    @router.get("/runs")
    def runs(request: Request, offset: Annotated[int, Query(ge=0)] = 0) -> Response:
        found = site.lake.runs()
        return site.show(
            request,
            "runs.html",
            runs=found[offset : offset + STEP],
            total=len(found),
            offset=offset,
            step=STEP,
        )

    @router.get("/runs/live")
    def live(request: Request) -> Response:
        return site.show(
            request, "live.html", "_live.html", at_work=at_work.running(site.lake), told=site.schedules.told(),
            now=time.time(),
        )  # fmt: skip

    @router.get("/runs/{run_id}/prefect")
    def in_prefect(request: Request, run_id: str) -> Response:
        row = next((row for row in site.lake.runs() if row["run_id"] == run_id), None)
        if row is None:
            raise HTTPException(404, "no run on record has this id")
        url = site.schedules.run_of(row["written_snapshot"] or "", row["started_at"], row["finished_at"])
        return site.show(request, "prefect.html", "_prefect.html", url=url, api=site.schedules.api)

    @router.get("/runs/{run_id}")
    def run(request: Request, run_id: str) -> Response:
        row = next((row for row in site.lake.runs() if row["run_id"] == run_id), None)
        if row is None:
            raise HTTPException(404, "no run on record has this id")
        costs = json.loads(row["costs"] or "[]")
        return site.show(
            request, "run.html", run=row, counts=json.loads(row["counts"] or "{}"), costs=costs,
            longest=max((cost["wall_s"] for cost in costs), default=0) or 1,
            recipe=_indented(row["recipe_json"]), encoders=json.loads(row["encoders"] or "[]"),
        )  # fmt: skip

    @router.get("/quarantine")
    def quarantine(
        request: Request, reason: Annotated[str, Query(max_length=40)] = "",
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> Response:  # fmt: skip
        head = site.head()
        counts, rows, total = [], [], 0
        if "quarantine" in head.versions:
            counts = site.rows(
                "SELECT reason, count(*) FILTER (active) AS n, count(*) FILTER (NOT active) AS past FROM raw.quarantine "
                "GROUP BY 1 ORDER BY 2 DESC, 1"
            )
            where = "(? = '' OR reason = ?)"
            total = site.rows(f"SELECT count(*) AS n FROM raw.quarantine WHERE {where}", reason, reason)[0][
                "n"
            ]
            rows = site.rows(
                "SELECT source, locator, stage, reason, message, size_bytes, active, quarantined_at FROM raw.quarantine "
                f"WHERE {where} ORDER BY active DESC, reason, source, locator LIMIT {STEP} OFFSET {offset}",
                reason,
                reason,
            )
        return site.show(
            request, "quarantine.html", counts=counts, rows=rows, reason=reason, reasons=REASONS, offset=offset,
            step=STEP, total=total,
        )  # fmt: skip

    return router


def _indented(stored: str | None) -> str:
    try:
        found: Any = json.loads(stored or "{}")
    except ValueError:
        return stored or ""
    return json.dumps(found, indent=2, ensure_ascii=False)
