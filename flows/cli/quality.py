"""`xmodal quality`: what a snapshot is expected to be, and whether it is."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows import ephemeral
from flows.cli.output import (
    AtOption,
    JsonOption,
    LakeOption,
    lake_uri,
    print_json,
    printable,
    progress,
    say,
    show,
)

if TYPE_CHECKING:
    from schemas.recipes import CurationRecipe
    from storage.lake import Lake
    from storage.versions import Snapshot

app = typer.Typer(
    help="What a snapshot is expected to be: check it, see results, see why, write pages.",
    no_args_is_help=True,
)

_COLUMNS = ("table", "expectation", "severity", "status", "found")


@app.command("run")
def run(
    lake: LakeOption = None,
    at: AtOption = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe (YAML or a name) with the suite; the last curation's by default."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Check even if this suite did before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a snapshot and log what is found. No tag moves. Exit code 1 when a critical expectation fails."""
    ephemeral.ahead()
    from flows.quality import check_quality
    from schemas.quality import QualityRecipe
    from storage import lake as lakes

    with progress(quiet=as_json):
        wanted = _recipe(lakes.open(lake_uri(lake)), recipe)
        quality = wanted.quality if wanted and wanted.quality else QualityRecipe()
        tag = wanted.tag if wanted else "latest"
        done = check_quality(quality, lake=lake_uri(lake), at=at, tag=tag, again=again)
    _told(done.snapshot_id, list(done.rows), as_json=as_json, everything=False, is_new=done.is_new)
    if done.blocking:
        raise typer.Exit(1)


@app.command("show")
def show_results(
    lake: LakeOption = None,
    at: AtOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what passed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the last check of a snapshot found."""
    _, snapshot, rows = _checked(lake, at)
    _told(snapshot.snapshot_id, rows, as_json=as_json, everything=everything, is_new=False)


@app.command()
def explain(
    expectation: Annotated[str, typer.Argument(help='Its name, such as "pairs.media-exists".')],
    lake: LakeOption = None,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an expectation checks, its threshold, what was found, and which rows are at fault, with their texts."""
    from schemas.errors import DataError
    from storage import lake as lakes
    from tasks.quality.explain import told

    opened, snapshot, rows = _checked(lake, at)
    found = [row for row in rows if row["name"] == expectation]
    if not found:
        raise DataError(
            f"the last check of {snapshot.snapshot_id} has no expectation {expectation!r}; "
            f"it has {', '.join(dict.fromkeys(row['name'] for row in rows))}"
        )
    recipe = _recipe(lakes.open(lake_uri(lake)), None)
    about = _about(recipe, expectation)
    offending = {row["table"]: told(opened, snapshot, row["table"], row["offending"]) for row in found}
    if as_json:
        print_json(
            [
                row | {"about": about, "parameters": json.loads(row["parameters"]),
                       "offending": [{"id": each, "about": offending[row["table"]].get(each, "")} for each in row["offending"]]}
                for row in found
            ]
        )  # fmt: skip
        return
    if about:
        say(escape(printable(about)))
    for row in found:
        facts = [
            ("table", row["table"]), ("check", row["parameters"]), ("threshold", row["threshold"]),
            ("severity", row["severity"]), ("status", row["status"]), ("found", row["reason"] or _number(row["observed"])),
            ("rows looked at", f"{row['rows']:,}"), ("in Great Expectations", row["expectation"]),
            ("compared with", row["against"] or "nothing"), ("checked (UTC)", f"{row['checked_at']:%Y-%m-%d %H:%M:%S}"),
        ]  # fmt: skip
        show(expectation, ("", ""), facts)
        if row["offending"]:
            lines = [(each, offending[row["table"]].get(each, "")[:200]) for each in row["offending"]]
            show(f"At fault: {row['unexpected']:,}, of them", ("row", "about"), lines)


@app.command()
def docs(
    folder: Annotated[Path, typer.Argument(help="Where to; empty, or none yet.", file_okay=False)],
    lake: LakeOption = None,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write Great Expectations' pages (Data Docs) of the last check. Opened, they load scripts from the network."""
    _, snapshot, rows = _checked(lake, at)
    from tasks.quality.pages import write_pages

    page = write_pages(rows, folder)
    if as_json:
        print_json({"snapshot": snapshot.snapshot_id, "page": page, "loads_from_the_network": True})
        return
    say(f"{escape(str(page))}: {len(rows)} results of {snapshot.snapshot_id}")
    say(
        "The pages load styles and scripts from CDNs: offline they are plain. `xmodal report` writes one that needs nothing."
    )


def _told(
    snapshot_id: str, rows: list[dict[str, Any]], *, as_json: bool, everything: bool, is_new: bool
) -> None:
    from storage.quality import Checked

    checked = Checked(snapshot_id, tuple(rows), is_new)
    if as_json:
        said = [row | {"parameters": json.loads(row["parameters"])} for row in rows]
        print_json(
            {"snapshot": snapshot_id, "checked_now": is_new, "counts": checked.counts,
             "blocking": [row["name"] for row in checked.blocking], "results": said}
        )  # fmt: skip
        return
    shown = [row for row in rows if everything or row["status"] in ("failed", "raised")]
    if shown:
        show("", _COLUMNS, [_line(row) for row in shown])
    counts = ", ".join(f"{n} {name}" for name, n in checked.counts.items())
    say(f"{snapshot_id}: {counts}{'' if is_new else '; checked before'}")


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    found = row["reason"] or _number(row["observed"])
    return (row["table"], row["name"], row["severity"], row["status"], found)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _checked(lake: str | None, at: str | None) -> "tuple[Lake, Snapshot, list[dict[str, Any]]]":
    from schemas.errors import DataError
    from storage import lake as lakes
    from storage import quality

    opened = lakes.open(lake_uri(lake))
    snapshot = opened.snapshot(at) if at else opened.head()
    if snapshot is None:
        raise DataError(f"{opened.uri} is empty: run `xmodal curate RECIPE` first")
    rows = quality.results(opened, snapshot.snapshot_id)
    if not rows:
        raise DataError(
            f"{snapshot.snapshot_id} was not checked; `xmodal quality run --at {snapshot.snapshot_id}` does"
        )
    return opened, snapshot, rows


def _recipe(lake: "Lake", named: Path | None) -> "CurationRecipe | None":
    """Return the recipe that is named, or that of the last curation on record; None without one."""
    from flows.recipes import find_recipe
    from flows.review import last_recipe
    from schemas.errors import LakeError
    from schemas.recipes import load_recipe

    if named is not None:
        return load_recipe(find_recipe(named))
    try:
        return last_recipe(lake)
    except LakeError:
        return None


def _about(recipe: "CurationRecipe | None", name: str) -> str:
    from schemas.quality import SUITE

    added = recipe.quality.add if recipe and recipe.quality else ()
    return next((each.about for each in (*added, *SUITE) if each.name == name), "")
