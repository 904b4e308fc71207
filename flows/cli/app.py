"""The command line: puts the nouns together and turns our errors into one line and an exit code."""

import os
import sys
import traceback
from typing import Annotated

import typer

from flows.cli import (
    bench,
    captions,
    corpora,
    curate,
    decisions,
    demo,
    doctor,
    lake,
    methods,
    quarantine,
    search,
    status,
    train,
)
from schemas.errors import LakeBusy, XmodalError

app = typer.Typer(
    name="xmodal",
    help="Turns raw media with text into a curated, embedded, versioned, searchable corpus.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("curate")(curate.curate)
app.command("caption")(captions.caption)
app.command("ingest")(curate.ingest)
app.command("maintain")(curate.maintain)
app.command("train")(train.train)
app.command("checkpoints")(train.checkpoints)
app.command("search")(search.search)
app.command("status")(status.status)
app.command("tables")(lake.tables)
app.command("snapshots")(lake.snapshots)
app.command("tag")(lake.tag)
app.command("restore")(lake.restore)
app.command("diff")(lake.diff)
app.command("methods")(methods.methods)
app.command("doctor")(doctor.doctor)
app.add_typer(bench.app, name="bench")
app.add_typer(captions.app, name="captions")
app.add_typer(corpora.app, name="corpora")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(decisions.app, name="decisions")


@app.callback()
def _every_command(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the orchestrator's log too.")
    ] = False,
) -> None:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the lake is busy."""
    try:
        app()
    except XmodalError as error:
        name = "" if isinstance(error, LakeBusy) else f"{type(error).__name__}: "
        print(f"xmodal: {name}{' '.join(str(error).split())}", file=sys.stderr)
        _let_go(error)
        sys.exit(3 if isinstance(error, LakeBusy) else 1)


def _let_go(error: BaseException | None) -> None:
    """Drop what an error's frames hold: an open connection of DuckDB complains at exit, at length."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    main()
