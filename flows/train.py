"""Train: vectors of a snapshot in, a checkpoint in the lake out. No snapshot is made: no table changes."""

import time

from prefect import flow

from schemas.recipes import TrainRecipe
from schemas.settings import Settings
from storage import lake as lakes
from tasks import train as work
from tasks.run import new_run_id


@flow(name="train")
def train(recipe: TrainRecipe, lake: str | None = None) -> work.Trained:
    """Train what a recipe says. The same recipe on the same snapshot gives the same checkpoint.

    Args:
        recipe: What to train, and on what.
        lake: Where; the setting `XMODAL_LAKE` by default.
    """
    opened = lakes.open(lake or Settings().lake)
    material = work.gather(opened, recipe)
    return work.train(opened, recipe, material, new_run_id(time.time()))
