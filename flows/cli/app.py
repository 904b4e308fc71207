"""The command line: puts the nouns together and turns our errors into one line and an exit code."""

import os
import sys
import traceback
from typing import Annotated

import typer

from flows import ephemeral
from flows.cli import (
    bench,
    captions,
    corpora,
    curate,
    dashboard,
    decisions,
    demo,
    doctor,
    encoders,
    export,
    fit,
    maps,
    mcp,
    methods,
    notify,
    quality,
    quarantine,
    report,
    represent,
    search,
    serve,
    sql,
    status,
    tables,
    train,
    up,
    versions,
)
from schemas.errors import LakeBusy, ServiceError, XmodalError

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
app.command("fit")(fit.fit)
app.command("map")(maps.draw_map)
app.command("sql")(sql.sql)
app.command("serve")(serve.serve)
app.command("mcp")(mcp.mcp)
app.command("up")(up.up)
app.command("down")(up.down)
app.command("dashboard")(dashboard.dashboard)
app.command("export")(export.export)
app.command("report")(report.report)
app.command("status")(status.status)
app.command("tables")(tables.tables)
app.command("methods")(methods.methods)
app.command("doctor")(doctor.doctor)
app.add_typer(bench.app, name="bench")
app.add_typer(captions.app, name="captions")
app.add_typer(corpora.app, name="corpora")
app.add_typer(encoders.app, name="encoders")
app.add_typer(notify.app, name="notify")
app.add_typer(quality.app, name="quality")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(decisions.app, name="decisions")
app.add_typer(represent.app, name="represent")
app.add_typer(versions.app, name="versions")


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
        said = str(error) if isinstance(error, ServiceError) else " ".join(str(error).split())
        print(f"xmodal: {name}{said}", file=sys.stderr)  # of a service that died, with the lines of its log
        _let_go(error)
        sys.exit(3 if isinstance(error, LakeBusy) else 1)
    except Exception as error:
        if ephemeral.has_ended() and _is_of_prefect(error):
            where = os.environ.get("PREFECT_HOME", "~/.prefect")
            print(
                "xmodal: ServiceError: the Prefect server of this run has ended; what it said stands above. Run again; if it "
                f"never starts, repair or remove its database, in PREFECT_HOME ({where}), or name a server with PREFECT_API_URL",
                file=sys.stderr,
            )
            _let_go(error)
            sys.exit(1)
        if not _is_of_a_store(error):
            raise
        said = " ".join(str(error).split())[:400]
        print(f"xmodal: the object store does not answer: {type(error).__name__}: {said}", file=sys.stderr)
        _let_go(error)
        sys.exit(1)


def _is_of_a_store(error: Exception) -> bool:
    """Whether the way to an object store is down: S3's clients have classes of their own, Lance says it in the text."""
    return isinstance(error, ConnectionError) or (
        type(error).__module__.startswith("botocore") or "LanceError(IO): Generic S3 error" in str(error)
    )


def _is_of_prefect(error: BaseException | None) -> bool:
    """Whether Prefect's server was not reached."""
    while error is not None:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpcore", "prefect"):
            return True
        error = error.__cause__ or error.__context__
    return False


def _let_go(error: BaseException | None) -> None:
    """Drop what an error's frames hold: an open connection of DuckDB complains at exit, at length."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    main()
