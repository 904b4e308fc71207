"""`xmodal report`: one page about a snapshot, for whoever is to use it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, say


def report(
    tag: Annotated[str, typer.Argument(metavar="TAG", help="Tag, snapshot id or digest.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; <snapshot>.html by default.", dir_okay=False)
    ] = None,
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one page about a snapshot: sources, licences, counts, noise, quality, samples, balance, how to make it again.

    The page needs nothing else: no scripts, nothing loaded from anywhere.
    """
    from storage import lake as lakes
    from tasks.report import report as page

    opened = lakes.open(lake_uri(lake))
    snapshot = opened.snapshot(tag)
    text = page(opened, tag)
    path = out or Path(f"{snapshot.snapshot_id}.html")
    path.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"snapshot": snapshot.snapshot_id, "page": path, "bytes": len(text.encode())})
        return
    say(f"{escape(str(path))}: {snapshot.snapshot_id}, {len(text.encode()) / 1e6:.1f} MB")
