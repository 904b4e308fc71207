"""Overview: how the lake grew, what it holds, how much of it is noise, what it weighs, what ran, what is wrong."""

from typing import Any

from fastapi import APIRouter, Request, Response

from dashboards.pages.quality import failing
from dashboards.site import Site
from storage import history, indexes
from storage import quality as log
from storage.lake import Lake
from storage.versions import Snapshot

SHOWN = ("media", "texts", "pairs", "captions")  # tables of the chart
MOST_ALERTS = 20
CHECKED_LATELY = 12  # snapshots among which one that was checked is looked for
FAILED_LATELY = 10  # runs in which a failure is still an alert


def routes(site: Site) -> APIRouter:
    """Return the routes of the overview."""
    router = APIRouter()

    @router.get("/")
    def overview(request: Request) -> Response:
        head = site.head()
        runs = site.lake.runs()
        facts = history.describe(site.lake, head.snapshot_id)
        return site.show(
            request,
            "overview.html",
            facts=facts,
            growth=growth(site.lake.snapshots()),
            modalities=site.rows(
                "SELECT modality, count(*) AS n, count(*) FILTER (kept IS NOT FALSE) AS kept FROM media "
                "GROUP BY 1 ORDER BY 2 DESC"
            ),
            divisions=divisions(site),
            bytes_of=site.once(("bytes", head.snapshot_id), lambda: _bytes(site.lake)),
            runs=runs[:6],
            alerts=alerts(site, head, runs),
            quality=quality(site),
        )

    @router.get("/schedules")
    def schedules(request: Request) -> Response:
        return site.show(request, "schedules.html", "_schedules.html", told=site.schedules.told())

    return router


def quality(site: Site) -> dict[str, Any] | None:
    """Return the score of the newest snapshot that was checked, and what it counts; None where none was."""
    for snapshot in reversed(site.lake.snapshots()[-CHECKED_LATELY:]):
        if rows := log.results(site.lake, snapshot.snapshot_id):
            counts = log.Checked(snapshot.snapshot_id, tuple(rows), is_new=False).counts
            return {"snapshot": snapshot.snapshot_id, "score": log.score(rows), **counts}
    return None


def _bytes(lake: Lake) -> dict[str, int]:
    """Return {table: bytes of its files, every version}."""
    sizes = {}
    for path in lake.place.fs.ls(lake.place.root, detail=False):
        name = str(path).rstrip("/").rsplit("/", 1)[-1]
        if name.endswith(".lance"):
            sizes[name.removesuffix(".lance")] = int(lake.place.fs.du(path, total=True))
    return sizes


def growth(snapshots: list[Snapshot]) -> dict[str, Any]:
    """Return a chart of rows through snapshots."""
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": table,
            "x": [s.snapshot_id for s in snapshots],
            "y": [s.row_counts.get(table) for s in snapshots],
            "text": [f"{s.created_at:%Y-%m-%d %H:%M}" for s in snapshots],
            "hovertemplate": "%{x} (%{text})<br>%{y:,} rows<extra>%{fullData.name}</extra>",
        }
        for table in SHOWN
        if any(table in s.row_counts for s in snapshots)
    ]  # fmt: skip
    return {"data": traces, "layout": {"xaxis": {"type": "category"}, "yaxis": {"rangemode": "tozero"}}}


def divisions(site: Site) -> list[dict[str, Any]]:
    """Return the studies of correspondence of the newest snapshot, the active one first."""
    if "divisions" not in site.head().versions:
        return []
    return site.rows(
        "SELECT * EXCLUDE (row_digest) FROM raw.divisions ORDER BY active DESC, run_id DESC LIMIT 5"
    )


def alerts(site: Site, head: Snapshot, runs: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong, in words: indexes under their floor, failed runs, expectations that do not hold."""
    found = [entry.alert for entry in indexes.health(site.lake, head) if entry.alert]
    found += [
        f"run {row['run_id']} ({row['flow']}) failed: {row['message'] or 'no message'}"
        for row in runs[:FAILED_LATELY]
        if row["status"] == "failed"
    ]
    found += [  # the newest snapshot was written, and a tag did not move to it
        f"run {row['run_id']} ({row['flow']}): {row['message']}"
        for row in runs[:FAILED_LATELY]
        if row["status"] == "committed" and row["message"] and row["written_snapshot"] == head.snapshot_id
    ]
    found += [
        f"{row['table']}: {row['expectation']} {row['status']}{', ' + row['reason'] if row['reason'] else ''}"
        for row in failing(site)
    ]
    return found[:MOST_ALERTS]
