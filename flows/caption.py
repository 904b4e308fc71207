"""Caption: a snapshot in, one with texts about media that lacked them out, each judged, ranked and accounted for."""

from prefect import flow

from flows import hold
from flows.session import session
from schemas.recipes import CaptionRecipe
from storage.versions import Snapshot
from tasks import caption as work
from tasks import serve
from tasks.shards.caption import CaptionRun


@flow(name="caption")
@hold.rebased
def caption(recipe: CaptionRecipe, lake: str | None = None) -> Snapshot:
    """Run a recipe of captions on the lake's newest snapshot. Running it again changes nothing.

    Args:
        recipe: What to run.
        lake: Where to; the setting `XMODAL_LAKE` by default.
    """
    with session(recipe, lake, flow="caption", kind=CaptionRun) as (job, writer):
        asked = work.learn(job, work.plan(job))
        asked = work.describe(job, asked)
        return serve.commit(job, asked, writer)
