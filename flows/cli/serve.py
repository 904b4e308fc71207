"""`xmodal serve`: the lake over HTTP, read only."""

from typing import Annotated

import typer

from flows.cli.dashboard import NameOption, TokenOption, listen
from flows.cli.output import LakeOption, lake_uri, say


def serve(
    lake: LakeOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8770,
    token: TokenOption = None,
    name: NameOption = None,
) -> None:
    """Answer searches and SQL over HTTP: /search, /sql, /tables, /decisions, /media/DIGEST, /health, /metrics."""
    from storage import lake as lakes

    say(f"http://{host}:{port}/search?q=a+red+bicycle")
    listen(lakes.open(lake_uri(lake)), host, port, token, tuple(name or ()), None)
