"""`xmodal curate`, `ingest`, `maintain`: run a flow and say what it did."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from flows import ephemeral
from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, printable, progress, say, show


def curate(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML), or the name of one that ships.")],
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn the recipe's sources into a curated, embedded, tagged snapshot. Again: only what changed."""
    from flows.recipes import find_recipe
    from schemas.recipes import load_recipe

    run_curate(load_recipe(find_recipe(recipe)), lake_uri(lake), as_json=as_json)


def ingest(
    source: Annotated[
        str, typer.Argument(help="A folder, manifest, tar shards, list of URLs, or the name of a corpus.")
    ],
    lake: LakeOption = None,
    kind: Annotated[
        str | None, typer.Option(help="folder, manifest, webdataset, urls or corpus; guessed by default.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Names the source in the lake; part of its items' identity.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take in media and texts without judging them; a curation decides later."""
    ephemeral.ahead()
    from flows.ingest import ingest_sources
    from flows.recipes import source_of
    from schemas.recipes import CurationRecipe

    ref = source_of(source, kind=kind, name=name)
    recipe = CurationRecipe(name=f"ingest {ref.name}", sources=(ref,), tag="ingested")
    with progress(quiet=as_json):
        ingest_sources(recipe, lake=lake_uri(lake))
    report(lake_uri(lake), as_json=as_json)


def maintain(
    lake: LakeOption = None,
    keep: Annotated[
        int, typer.Option(min=1, help="Newest snapshots to keep whole, beside the tagged ones.")
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """Compact tables and let old versions go; tagged snapshots stay whole."""
    ephemeral.ahead()
    from flows.maintain import maintain as flow

    done = flow(lake=lake_uri(lake), keep=keep)
    if as_json:
        print_json(done)
        return
    merged = ", ".join(f"{table} ({n})" for table, n in done.compacted.items()) or "nothing to compact"
    say(f"compacted: {merged}; snapshots let go: {len(done.expired)}; freed {done.freed_bytes / 1e6:.1f} MB")
    for table, what in done.indexes.items():
        say(f"index of {table}: {what}")
    for alert in done.alerts:
        say(escape(alert))


def run_curate(
    recipe: Any, lake: str, *, as_json: bool = False, replay: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Run the curate flow with progress, report it, and return its row of `runs`.

    Raises:
        typer.Exit: The snapshot was committed but is not good enough for the tag.
    """
    ephemeral.ahead()
    from flows.curate import curate as flow

    with progress(quiet=as_json):
        flow(recipe, lake=lake, replay=replay)
    row = report(lake, as_json=as_json)
    if json.loads(row["counts"]).get("check quality", {}).get("critical"):
        raise typer.Exit(1)
    return row


def report(lake: str, *, as_json: bool = False) -> dict[str, Any]:
    """Print the newest run of a lake: what became of every item, and where time went."""
    from storage import lake as lakes

    opened = lakes.open(lake)
    row = opened.runs()[0]
    counts, costs = json.loads(row["counts"]), json.loads(row["costs"])
    if as_json:
        print_json(row | {"counts": counts, "costs": costs})
        return row
    if row["status"] == "unchanged":
        say(
            f"Nothing changed: {counts['plan']['listed']} items as before; the snapshot is still {row['read_snapshot']}."
        )
        _quality(row, counts)
        return row
    items, pairs = counts["items"], counts["pairs"]
    say(f"Snapshot {row['written_snapshot']} of {lake}, from {row['read_snapshot'] or 'nothing'}.")
    accounts = [
        (
            what,
            c.get("in", 0),
            c.get("kept", 0),
            c.get("merged", 0),
            c.get("filtered", 0),
            c.get("quarantined", 0),
        )
        for what, c in (("items", items), ("pairs", pairs))
    ]
    show("", ("", "in", "kept", "merged", "filtered", "quarantined"), accounts)
    reasons = [
        (what, name.split(": ", 1)[0], name.split(": ", 1)[1], n)
        for what, c in (("items", items), ("pairs", pairs))
        for name, n in c.items()
        if ": " in name
    ]
    if reasons:
        show("Why", ("of", "outcome", "reason", "n"), reasons)
    spent = [
        (c["step"], c["items"], f"{c['wall_s']:.1f}", f"{c['cpu_s']:.1f}")
        for c in costs
        if c["wall_s"] >= 0.05
    ]
    show("Where time went", ("step", "items", "wall s", "CPU s"), spent)
    _quality(row, counts)
    return row


def _quality(row: dict[str, Any], counts: dict[str, dict[str, int]]) -> None:
    """Print what the check of the snapshot found, where there was something."""
    found = counts.get("check quality", {})
    if found.get("critical") or found.get("warnings"):
        of_each = ", ".join(f"{found.get(name, 0)} {name}" for name in ("passed", "critical", "warnings"))
        say(f"Quality: {of_each}; `xmodal quality show` says which.")
    if row["message"]:
        say(escape(printable(row["message"])))
