"""`xmodal status`: last runs, counts, where time went."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, say, show

if TYPE_CHECKING:
    from storage.indexes import Health


def status(
    lake: LakeOption = None,
    runs: Annotated[int, typer.Option(min=1, help="How many runs to show.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Show the lake's newest snapshot, its indexes, its last runs, and where the time of the last committed one went."""
    from storage import indexes
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    head, rows = opened.head(), opened.runs()[:runs]
    tags = [tag for tag, snapshot_id in opened.tags().items() if head and snapshot_id == head.snapshot_id]
    over_vectors = indexes.health(opened, head) if head else []
    if as_json:
        parsed = [_parsed(row) for row in rows]
        print_json({"head": head, "tags": opened.tags(), "runs": parsed, "indexes": _indexes(over_vectors)})
        return
    if head is None:
        say(f"{lake_uri(lake)} is empty: run `xmodal demo` or `xmodal curate RECIPE`.")
        if rows:
            say(f"Its last run, {rows[0]['run_id']}, {rows[0]['status']}: {rows[0]['message'][:200]}")
        return
    say(
        f"{lake_uri(lake)}: snapshot {head.snapshot_id} ({', '.join(tags) or 'no tag'}), digest {head.digest[:12]}"
    )
    show("", ("table", "rows"), sorted(head.row_counts.items()))
    if over_vectors:
        named = (
            "table",
            "kind",
            "rows",
            "not in it",
            "recall@10",
            "filtered",
            "floor",
            "index ms",
            "exact ms",
        )
        show("Indexes", named, [tuple(entry.values())[:9] for entry in _indexes(over_vectors)])
    for entry in over_vectors:
        if entry.alert:
            say(f"ALERT: {entry.alert}")
    table = []
    for row in rows:
        items = json.loads(row["counts"]).get("items", {})
        wall = (row["finished_at"] - row["started_at"]).total_seconds()
        table.append(
            (row["run_id"], row["flow"], row["recipe"], row["status"], row["written_snapshot"], items.get("in", ""),
             items.get("kept", ""), items.get("quarantined", ""), f"{wall:.0f}")
        )  # fmt: skip
    show(
        "Runs", ("run", "flow", "recipe", "status", "snapshot", "in", "kept", "quarantined", "wall s"), table
    )
    worked = next((row for row in rows if row["status"] == "committed"), None)
    if worked:
        costs = [c for c in json.loads(worked["costs"]) if c["wall_s"] >= 0.05]
        spent = [
            (c["step"], c["items"], f"{c['wall_s']:.1f}", f"{c['cpu_s']:.1f}", f"{c['gpu_s']:.1f}")
            for c in costs
        ]
        show(f"Where time went in {worked['run_id']}", ("step", "items", "wall s", "CPU s", "GPU s"), spent)
        per = json.loads(worked["cost_per_1000_kept"])
        if per:
            say(
                f"per 1,000 kept: {per['wall_s']:.1f} s wall, {per['cpu_s']:.1f} s CPU, {per['gpu_s']:.1f} s GPU"
            )


def _indexes(found: "list[Health]") -> list[dict[str, object]]:
    numbers = ("recall", "recall_filtered", "floor", "p50_index_ms", "p50_exact_ms")
    said = []
    for entry in found:
        row = entry.measured.as_row() if entry.measured else {}
        facts = {"table": entry.table, "kind": entry.index.kind, "rows": entry.index.rows}
        measured = {name: None if row.get(name) is None else round(float(row[name]), 3) for name in numbers}
        said.append(facts | {"not_in_index": entry.tail} | measured | {"alert": entry.alert})
    return said


def _parsed(row: dict[str, object]) -> dict[str, object]:
    parsed = dict(row)
    for name in (
        "counts",
        "costs",
        "encoders",
        "versions_read",
        "versions_written",
        "recipe_json",
        "cost_per_1000_kept",
    ):
        parsed[name] = json.loads(str(row[name]))
    return parsed
