"""`xmodal notify`: who is told when a run or a gate fails."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from flows.cli.output import JsonOption, print_json, say, show

app = typer.Typer(
    help="Posts to webhooks when a run or a quality gate fails.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

PrefectOption = Annotated[
    str | None,
    typer.Option(
        envvar="PREFECT_API_URL",
        help="API of the Prefect server; the one that `xmodal up` started by default.",
    ),
]


class On(StrEnum):
    """What to tell of."""

    RUN = "failed-run"
    GATE = "failed-gate"


@app.command("add")
def add(
    webhook: Annotated[str, typer.Option(help="Address that takes a POST of JSON.")],
    on: Annotated[
        On, typer.Option(help="A run that failed or crashed, or a quality gate that failed.")
    ] = On.RUN,
    prefect: PrefectOption = None,
) -> None:
    """Tell a webhook of failures from now on. The same one again changes nothing."""
    _use(prefect)
    from flows import notices

    say(notices.add(webhook, on.value).name)


@app.command("list")
def list_notices(prefect: PrefectOption = None, as_json: JsonOption = False) -> None:
    """List who is told of what; addresses stay secrets of the server."""
    _use(prefect)
    from flows import notices

    found = notices.known()
    if as_json:
        print_json(found)
    else:
        show(
            "",
            ("name", "on", "state"),
            [(one.name, one.occasion, "on" if one.enabled else "off") for one in found],
        )


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="As `xmodal notify list` names it.")],
    prefect: PrefectOption = None,
) -> None:
    """Tell a webhook no more."""
    _use(prefect)
    from flows import notices

    notices.remove(name)


def _use(prefect: str | None) -> None:
    """Have Prefect's client, which reads its settings when it is imported, use this server."""
    from flows.machine import SERVER
    from flows.services import State
    from schemas.errors import ServiceError
    from schemas.settings import Settings

    running = State(Settings().state.expanduser().resolve()).running(SERVER)
    api = prefect or (running.url if running else None)
    if api is None:
        raise ServiceError(
            "no Prefect server is known: start one with `xmodal up`, or name one with --prefect or PREFECT_API_URL"
        )
    os.environ["PREFECT_API_URL"] = api
