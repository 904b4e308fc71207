"""`xmodal up`, `down`: scheduled work on one machine, and what it takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, say, show

if TYPE_CHECKING:
    from flows.services import State


def up(
    lake: LakeOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the dashboard.")] = 8770,
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server.")] = 4200,
    prefect: Annotated[
        str | None,
        typer.Option(
            envvar="PREFECT_API_URL", help="API of a Prefect server that is there; none is started then."
        ),
    ] = None,
    deployments: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File of deployments; prefect.yaml here or of the code by default.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 2,
    wait: Annotated[
        float, typer.Option(min=1, help="Longest wait for a service to answer, in seconds.")
    ] = 300,
    status: Annotated[bool, typer.Option("--status", help="Say what runs, and start nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a Prefect server, a worker with prefect.yaml's deployments, and the dashboard; those that run are left alone."""
    from flows.machine import Machine, file_of_deployments
    from flows.services import State
    from schemas.settings import Settings

    settings = Settings()
    state = State(settings.state.expanduser().resolve())
    if status:
        _status(state, as_json)
        return
    uri = lake_uri(lake)
    machine = Machine(
        state,
        lake=uri if "://" in uri else str(Path(uri).resolve()),
        dask=settings.dask,
        prefect=prefect or None,
        prefect_port=prefect_port,
        port=port,
        deployments=deployments or file_of_deployments(),
        limit=limit,
        wait_s=wait,
    )
    api = machine.up(lambda line: say(escape(line)))
    say(f"export PREFECT_API_URL={api}   # so that runs you start are seen there too")


def down(
    grace: Annotated[float, typer.Option(min=0, help="Seconds between asking and killing.")] = 15,
) -> None:
    """Stop what `up` started, runs at work included; they go on where they were when run again."""
    from flows import machine
    from flows.services import State
    from schemas.settings import Settings

    state = State(Settings().state.expanduser().resolve())
    machine.down(state, grace_s=grace, say=lambda line: say(escape(line)))


def _status(state: "State", as_json: bool) -> None:
    from flows.machine import ORDER

    rows = []
    for name in ORDER:
        found = state.found(name)
        runs = found is not None and found.process is not None
        rows.append(
            {
                "service": name,
                "state": "running" if runs else "ended" if found else "not started",
                "pid": found.pid if found else None,
                "url": found.url if found else "",
                "log": str(state.log(name)) if found else "",
            }
        )
    if as_json:
        print_json(rows)
    else:
        show("", tuple(rows[0]), [tuple(row.values()) for row in rows])
    if any(row["state"] == "ended" for row in rows):
        raise typer.Exit(1)
