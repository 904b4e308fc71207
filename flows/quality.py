"""Quality: check a snapshot by the suite of a recipe. No table and no tag changes; what is found is logged.

The command line calls a plain function, since it is one step: starting an orchestrator would cost more than most checks.
"""

import time

from prefect import flow

from flows.runners import workers
from schemas.errors import DataError
from schemas.quality import QualityRecipe
from schemas.settings import Settings
from storage import lake as lakes
from storage.quality import Checked
from tasks.check import check, said
from tasks.events import GATE_FAILED, emit
from tasks.run import new_run_id


def check_quality(
    quality: QualityRecipe,
    lake: str | None = None,
    at: str | None = None,
    tag: str = "latest",
    again: bool = False,
) -> Checked:
    """Check a snapshot, unless it was checked by the same suite before.

    Args:
        quality: The suite.
        lake: The lake; the setting `XMODAL_LAKE` by default.
        at: Snapshot id, tag or digest; newest by default.
        tag: Where it pointed before the snapshot is what drift is measured against.
        again: Check even if it was done before.

    Raises:
        DataError: The lake is empty.
    """
    settings = Settings()
    opened = lakes.open(lake or settings.lake)
    snapshot = opened.snapshot(at) if at else opened.head()
    if snapshot is None:
        raise DataError(f"{opened.uri} is empty: run `xmodal curate RECIPE` first")
    with workers(settings) as pool:
        run_id = f"quality {new_run_id(time.time())}"
        return check(opened, snapshot, quality, tag=tag, run_id=run_id, workers=pool, again=again)


@flow(name="quality")
def quality(
    recipe: QualityRecipe | None = None, lake: str | None = None, at: str | None = None, tag: str = "latest"
) -> dict[str, int]:
    """Do it as a deployment: after each curation, or by the clock. Whoever asked to be told hears of critical failures.

    Args:
        recipe: The suite; the one that ships by default.
        lake: The lake; the setting `XMODAL_LAKE` by default.
        at: Snapshot id, tag or digest; newest by default.
        tag: Where it pointed before the snapshot is what drift is measured against.
    """
    checked = check_quality(recipe or QualityRecipe(), lake, at, tag)
    if why := said(checked.blocking):
        payload = {"message": why, "snapshot": checked.snapshot_id, "tag": tag}
        emit(GATE_FAILED, lake=lake or Settings().lake, payload=payload)
    return checked.counts
