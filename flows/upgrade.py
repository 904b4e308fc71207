"""Upgrade: from one encoder to another. Queries of the new one are answered at once; its vectors follow step by step."""

from prefect import flow

from flows import hold
from flows.session import session
from schemas.upgrade import UpgradeRecipe
from tasks import upgrade as work
from tasks.shards.upgrade import UpgradeRun
from tasks.upgrade import Upgraded


@flow(name="upgrade")
@hold.rebased
def upgrade(recipe: UpgradeRecipe, lake: str | None = None, steps: int | None = None) -> Upgraded:
    """Go over to another encoder. Run again after a kill, or after some steps, it goes on from the newest snapshot.

    Args:
        recipe: From what to what, and in which steps.
        lake: Where; the setting `XMODAL_LAKE` by default.
        steps: How many to take now, at most; all by default.
    """
    with session(recipe, lake, flow="upgrade", kind=UpgradeRun) as (job, writer):  # type: ignore[arg-type]
        planned = work.plan(job)
        embedded = work.texts(job, planned)
        bridged = work.bridge(job, embedded)
        served = work.serve(job, bridged, writer)
        return work.backfill(job, served, writer, steps)
