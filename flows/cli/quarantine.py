"""`xmodal quarantine`: what was refused, why, and trying again."""

from collections import Counter
from typing import Annotated

import typer

from flows import ephemeral
from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, say, show

app = typer.Typer(help="What was refused and why; try again after a fix.", no_args_is_help=True)
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only this reason.")]


@app.command("list")
def list_refused(
    lake: LakeOption = None,
    reason: ReasonOption = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Those that were resolved since, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Count refusals by reason, or list those of one reason."""
    from schemas.errors import REASONS

    rows = [row for row in _rows(lake, reason) if row["active"] or resolved]
    if as_json:
        print_json(rows)
    elif reason is None:
        counts = Counter(str(row["reason"]) for row in rows)
        show("", ("reason", "n", "meaning"), [(name, n, REASONS[name]) for name, n in counts.most_common()])
        say(f"{len(rows)} in quarantine" + ("; `--reason X` lists them" if rows else ""))
    else:
        listed = [(str(r["quarantine_id"])[:12], r["source"], r["locator"], r["message"]) for r in rows]
        show(reason, ("id", "source", "item", "what was found"), listed)


@app.command("show")
def show_one(
    quarantine_id: Annotated[str, typer.Argument(help="Id, or its beginning.")],
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything known about one refusal."""
    from schemas.errors import DataError

    found = [row for row in _rows(lake, None) if str(row["quarantine_id"]).startswith(quarantine_id)]
    if len(found) != 1:
        raise DataError(
            f"{len(found)} refusals have an id that begins with {quarantine_id!r}; give more of it"
        )
    if as_json:
        print_json(found[0])
    else:
        show("", ("", ""), [(name, value) for name, value in found[0].items() if name != "row_digest"])


@app.command()
def replay(
    reason: Annotated[str, typer.Option("--reason", help="The reason whose items are tried again.")],
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the items refused for a reason again, with the recipe of the last run. Nothing else is read again."""
    ephemeral.ahead()
    from flows.cli.curate import report, run_curate
    from flows.cli.output import progress
    from flows.ingest import ingest_sources
    from schemas.errors import REASONS, DataError
    from schemas.recipes import CurationRecipe
    from storage import lake as lakes

    if reason not in REASONS:
        raise DataError(f"{reason!r} is no reason; known: {', '.join(REASONS)}")
    runs = [row for row in lakes.open(lake_uri(lake)).runs() if row["status"] != "failed"]
    if not runs:
        raise DataError(f"{lake_uri(lake)} has no run to repeat")
    recipe = CurationRecipe.model_validate_json(runs[0]["recipe_json"])
    if runs[0]["flow"] == "curate":
        run_curate(recipe, lake_uri(lake), as_json=as_json, replay=(reason,))
        return
    with progress(quiet=as_json):
        ingest_sources(recipe, lake=lake_uri(lake), replay=(reason,))
    report(lake_uri(lake), as_json=as_json)


def _rows(lake: str | None, reason: str | None) -> list[dict[str, object]]:
    from schemas.errors import REASONS, DataError
    from storage import lake as lakes

    if reason is not None and reason not in REASONS:
        raise DataError(f"{reason!r} is no reason; known: {', '.join(REASONS)}")
    opened = lakes.open(lake_uri(lake))
    rows = opened.read("quarantine", where=f"reason = '{reason}'" if reason else None).to_pylist()
    return sorted(rows, key=lambda row: (row["reason"], row["source"], row["locator"]))
