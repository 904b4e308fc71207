"""Fit: measure how hubby a snapshot's media are, and keep the similarity its searches are better with, if one is."""

import time

from prefect import flow

from schemas.settings import Settings
from storage import lake as lakes
from tasks import fit as work
from tasks.run import new_run_id


@flow(name="fit")
def fit(
    lake: str | None = None, *, at: str | None = None, encoder: str | None = None, seed: int = 0
) -> work.FittedTo:
    """Fit to a snapshot; a later snapshot is fitted anew.

    Args:
        lake: Which; the setting `XMODAL_LAKE` by default.
        at: Snapshot id, tag or digest; newest by default.
        encoder: Encoder, where the lake has several.
        seed: Of the texts that are asked.
    """
    opened = lakes.open(lake or Settings().lake)
    return work.fit_similarity(opened, at=at, encoder=encoder, seed=seed, run_id=new_run_id(time.time()))
