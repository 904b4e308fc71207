"""`xmodal dashboard`: pages on the lake, which also take verdicts, tags and restores."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import LakeOption, lake_uri, say

if TYPE_CHECKING:
    from dashboards.server import Actions, Journal, Schedules
    from storage.lake import Lake

TokenOption = Annotated[
    str | None,
    typer.Option(
        help="Secret that lets in, 16 characters at least; XMODAL_TOKEN by default. Needed beyond this machine.",
        show_default=False,
    ),
]
NameOption = Annotated[
    list[str] | None, typer.Option("--name", help="Further host name to answer to; may be given again.")
]


def dashboard(
    lake: LakeOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8780,
    token: TokenOption = None,
    name: NameOption = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Take no verdicts, tags or restores.")
    ] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    prefect: Annotated[
        str | None,
        typer.Option(
            envvar="PREFECT_API_URL", help="API of the Prefect server whose schedules and runs are shown."
        ),
    ] = None,
) -> None:
    """Show the lake in a browser: overview, search, review, captions, versions, runs. Also answers programs."""
    import webbrowser

    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    where = f"http://{host}:{port}/"
    say(where)
    if open_page:
        webbrowser.open(where)
    actions = None if read_only else writing(opened)
    listen(opened, host, port, token, tuple(name or ()), actions, prefect=prefect)


def listen(
    lake: "Lake", host: str, port: int, token: str | None, names: tuple[str, ...], actions: "Actions | None",
    *, prefect: str | None = None,
) -> None:  # fmt: skip
    """Answer until stopped.

    Raises:
        DataError: It would listen beyond this machine without a token, or the token is short.
    """
    import threading

    import uvicorn
    from threadpoolctl import threadpool_limits

    from dashboards.server import LOCAL, LOOPBACK, SHORTEST, create
    from schemas.errors import DataError
    from schemas.settings import Settings

    token = token or Settings().token
    if host not in LOOPBACK and not token:
        raise DataError(
            f"whoever reaches {host} could read the lake: give --token or XMODAL_TOKEN, or listen on 127.0.0.1"
        )
    if token is not None and len(token) < SHORTEST:
        raise DataError(f"a token of {len(token)} characters can be guessed; use {SHORTEST} at least")
    app = create(lake, (*LOCAL, host, *names), token=token, actions=actions, schedules=schedules(prefect))
    threadpool_limits(
        1, "blas"
    )  # requests come at once: products that also share the cores would wait for each other
    threading.Thread(target=_warm, args=(lake,), daemon=True).start()
    uvicorn.run(app, host=host, port=port, log_level="warning", limit_concurrency=100, timeout_keep_alive=10)


def schedules(api: str | None) -> "Schedules":
    """Return the Prefect server at an address, with the key that Prefect's own settings name."""
    import base64
    import os

    from dashboards.server import Schedules

    headers = {}
    if key := os.environ.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    elif said := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(said.encode()).decode()}"
    return Schedules(api or None, headers, os.environ.get("PREFECT_UI_URL") or None)


def _warm(lake: "Lake") -> None:
    """Search once, so that the encoder, vectors, names and keys are at hand before somebody waits for them."""
    from schemas.errors import XmodalError
    from tasks.search import search

    try:
        search(lake, "a picture", k=1, slots="auto")
    except XmodalError:
        return  # an empty lake, or one without vectors: whoever searches is told


def writing(lake: "Lake") -> "Actions":
    """Return what pages may write: verdicts by the flow that states them, tags and restores."""
    from dashboards.server import Actions
    from storage import history
    from tasks.review import whoever

    return Actions(
        journal(lake),
        whoever(),
        lambda ref: history.restore(lake, ref),
        lambda tag, ref: history.tag(lake, tag, ref),
    )


def journal(lake: "Lake") -> "Journal":
    """Return where verdicts are written down until the lake has them: beside its tables, or in the cache for a store."""
    from pathlib import Path

    from dashboards.server import Journal, Say
    from schemas.digests import key
    from schemas.settings import Settings

    def state(say: Say, subjects: tuple[str, ...], person: str, comment: str) -> str:
        from flows.review import state_verdict
        from tasks.review import Statement

        with lake.writer():  # asked first: a lake that is busy shall not leave a failed flow for each try
            pass
        return state_verdict(Statement(say, subjects, person, comment), lake.uri).snapshot_id

    if lake.place.is_local:
        path = Path(lake.place.root) / "_verdicts.sqlite"
    else:
        path = Settings().cache / "verdicts" / f"{key(lake.uri)}.sqlite"
    return Journal(path, state)
