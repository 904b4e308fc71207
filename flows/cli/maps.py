"""`xmodal map`: draws the media of a snapshot in two dimensions."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows import ephemeral
from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, say


def draw_map(
    lake: LakeOption = None,
    at: AtOption = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder, where the lake has several.")] = None,
    most: Annotated[
        int, typer.Option(min=10, max=50_000, help="Draw a sample of so many where there are more.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample and the map.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw the kept media so that what is alike lies together; `xmodal dashboard` shows it under Map."""
    ephemeral.ahead()
    from flows.maps import draw_map as flow

    drawn = flow(lake_uri(lake), at=at, encoder=encoder, most=most, seed=seed)
    if as_json:
        print_json(asdict(drawn))
        return
    say(
        f"{drawn.points:,} of {drawn.of:,} media of {drawn.snapshot_id} drawn from {drawn.table}; see them under Map"
    )
