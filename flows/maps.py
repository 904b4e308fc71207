"""Map: the media of a snapshot, drawn in two dimensions for the dashboard."""

import time

from prefect import flow

from schemas.settings import Settings
from storage import lake as lakes
from tasks import maps as work
from tasks.run import new_run_id


@flow(name="map")
def draw_map(
    lake: str | None = None,
    *,
    at: str | None = None,
    encoder: str | None = None,
    most: int = 10_000,
    seed: int = 0,
) -> work.Drawn:
    """Draw a snapshot's media; a later snapshot is drawn anew.

    Args:
        lake: Which; the setting `XMODAL_LAKE` by default.
        at: Snapshot id, tag or digest; newest by default.
        encoder: Encoder, where the lake has several.
        most: Draw a sample of so many where there are more.
        seed: Of the sample and the map.
    """
    opened = lakes.open(lake or Settings().lake)
    return work.draw(opened, at=at, encoder=encoder, most=most, seed=seed, run_id=new_run_id(time.time()))
