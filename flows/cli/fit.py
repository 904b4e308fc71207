"""`xmodal fit`: how hubby the media are, and which similarity is used from now on."""

import base64
import html
from pathlib import Path
from typing import Annotated

import typer

from flows import ephemeral
from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, say, show

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Hubs</title><style>
:root {{ color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 16px }}
figure {{ margin: 0 }} img {{ width: 100%; height: 160px; object-fit: contain; background: #fff; border: 1px solid #8884 }}
</style><h1>Media that come up most</h1><p>{advice}</p><main>{figures}</main></html>
"""


def fit(
    lake: LakeOption = None,
    at: AtOption = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder, where the lake has several.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a page with the pictures of the hubs.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the texts that are asked.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Say how often few media crowd out the rest, try similarities against that, and keep what measurably helps."""
    from dataclasses import asdict

    ephemeral.ahead()
    from flows.fit import fit as flow

    uri = lake_uri(lake)
    done = flow(uri, at=at, encoder=encoder, seed=seed)
    if sheet:
        sheet.write_text(_page(uri, done), encoding="utf-8")
    if as_json:
        print_json(asdict(done))
        return
    show(
        f"Media of {done.snapshot_id} as {done.queries} texts find them",
        ("", "found", "by chance"),
        [
            ("skewness of how often", f"{done.skewness:.2f}", f"{done.skewness_by_chance:.2f}"),
            ("never found", f"{done.never:.1%}", f"{done.never_by_chance:.1%}"),
            (f"results that are one of {len(done.hubs)} hubs", f"{done.hub_share:.1%}", ""),
        ],
    )
    say(done.advice)
    show(
        "R@10 of held-out texts",
        ("similarity", "R@10"),
        [(name, f"{value:.3f}") for name, value in done.recall],
    )
    say(f"Used from now on when words are compared with media: {done.method}. {done.why}")
    if sheet:
        say(f"pictures of the hubs: {sheet}")


def _page(uri: str, done: "object") -> str:
    from storage import lake as lakes
    from storage.search import by_ids

    opened = lakes.open(uri)
    snapshot = opened.snapshot(done.snapshot_id)  # type: ignore[attr-defined]
    hubs = done.hubs  # type: ignore[attr-defined]
    rows = by_ids(
        opened, snapshot, "media", "media_id", [hub.media_id for hub in hubs], ["media_id", "thumbnail"]
    )
    thumbnails = {row["media_id"]: row["thumbnail"] or b"" for row in rows.to_pylist()}
    figures = "".join(
        f'<figure><img alt="" src="data:image/webp;base64,{base64.b64encode(thumbnails[hub.media_id]).decode()}">'
        f"<figcaption>{hub.queries} queries<br><small>{hub.media_id[:12]}</small></figcaption></figure>"
        for hub in hubs
    )
    return _PAGE.format(advice=html.escape(done.advice), figures=figures)  # type: ignore[attr-defined]
