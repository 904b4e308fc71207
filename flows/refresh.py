"""Refresh: look whether a source has something new, and curate only then."""

from prefect import flow

from flows.curate import curate
from schemas.recipes import CurationRecipe
from schemas.settings import Settings
from storage import lake as lakes
from storage.versions import Snapshot
from tasks import ingest


@flow(name="refresh")
def refresh(recipe: CurationRecipe, lake: str | None = None) -> Snapshot | None:
    """Curate when the sources differ from what the lake knows of them; otherwise nothing is locked, written or recorded.

    Args:
        recipe: What to run. That the recipe itself has changed is no reason to.
        lake: Where to; the setting `XMODAL_LAKE` by default.
    """
    opened = lakes.open(lake or Settings().lake)
    known = opened.head()
    if ingest.compare(recipe, opened, known).is_same:
        return known
    return curate(recipe, lake=lake)
