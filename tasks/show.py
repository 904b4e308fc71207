"""Show a run on the Prefect server: what became of every item, and what each step cost."""

import logging
from collections.abc import Iterator
from typing import Any

import httpx
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from storage.versions import Snapshot
from tasks.run import Job

SUMMARY, COSTS = "run-summary", "run-costs"
PATIENCE_S = 2.0  # with a server that does not answer
_ACCOUNT = ("in", "kept", "merged", "filtered", "quarantined")
_log = logging.getLogger("xmodal.show")


def show(job: Job, snapshot: Snapshot) -> Snapshot:
    """Attach a summary and a table of costs to the flow run, and return the snapshot. A run never fails for it."""
    if FlowRunContext.get() is None:  # a plain call, of which no server knows
        return snapshot
    try:
        with get_client(sync_client=True) as client:  # which tries for minutes where nothing answers
            httpx.get(f"{str(client.api_url).rstrip('/')}/health", timeout=PATIENCE_S)
        create_markdown_artifact(summary(job, snapshot), key=SUMMARY, description=snapshot.snapshot_id)
        create_table_artifact(costs(job), key=COSTS, description=snapshot.snapshot_id)
    except Exception as error:  # the work is committed; whatever a server that went away leads to
        _log.warning("the run could not be shown: %s", error)
    return snapshot


def summary(job: Job, snapshot: Snapshot) -> str:
    """Return what a run did as Markdown: counts by outcome and reason, seconds by step."""
    run, counts = job.run, job.ledger.counts()
    wrote = run.base is None or run.base.snapshot_id != snapshot.snapshot_id
    facts = {
        "snapshot": snapshot.snapshot_id if wrote else f"{snapshot.snapshot_id}, as before: nothing changed",
        "tag": run.recipe.tag or "none",
        "recipe": run.recipe.name,
        "run": run.run_id,
        "lake": run.place.uri,
    }
    parts = [_table(("", ""), facts.items())]
    accounts = {what: counted for what, counted in counts.items() if what in ("items", "pairs")}
    if accounts:
        rows = ((what, *(c.get(name, 0) for name in _ACCOUNT)) for what, c in accounts.items())
        parts += ["## What became of it", _table(("", *_ACCOUNT), rows)]
    if reasons := list(_reasons(accounts)):
        parts += ["## Why", _table(("of", "outcome", "reason", "n"), reasons)]
    elif "plan" in counts and not wrote:
        parts += ["## Sources", _table(("", "items"), counts["plan"].items())]
    steps = ((step.step, step.items, f"{step.wall_s:.2f}", f"{step.cpu_s:.2f}") for step in job.ledger.steps)
    parts += ["## Where time went", _table(("step", "items", "wall s", "CPU s"), steps)]
    return "\n\n".join(parts) + "\n"


def costs(job: Job) -> list[dict[str, Any]]:
    """Return the cost ledger, a row per step and one for the run."""
    rows = job.ledger.costs()
    numbers = [name for name in rows[0] if name not in ("step", "items")] if rows else []
    total = {name: round(sum(row[name] for row in rows), 3) for name in numbers}
    return [*rows, {"step": "all", **total}] if rows else []


def _reasons(accounts: dict[str, dict[str, int]]) -> Iterator[tuple[str, str, str, int]]:
    for what, counted in accounts.items():
        for name, n in counted.items():
            if ": " in name:
                outcome, reason = name.split(": ", 1)
                yield what, outcome, reason, n


def _table(columns: tuple[str, ...], rows: Any) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    """Return text that stays in its cell; names come from recipes and folders."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
