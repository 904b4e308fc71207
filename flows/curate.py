"""Curate: raw media in, a tagged snapshot of filtered, embedded, scored pairs out."""

from prefect import flow

from flows import hold
from flows.session import session
from schemas.recipes import CurationRecipe
from storage.versions import Snapshot
from tasks import correspond, decide, embed, ingest, merge, publish, score, screen, show


@flow(name="curate")
@hold.rebased
def curate(recipe: CurationRecipe, lake: str | None = None, replay: tuple[str, ...] = ()) -> Snapshot:
    """Run one recipe end to end. Running it again changes nothing.

    Args:
        recipe: What to run.
        lake: Where to; the setting `XMODAL_LAKE` by default.
        replay: Quarantine reasons to try again.
    """
    with session(recipe, lake, replay=replay, flow="curate") as (job, writer):
        planned = ingest.plan(job)
        if job.is_unchanged(planned):
            return show.show(job, publish.unchanged(job))
        inspected = ingest.inspect(job, planned)
        embed.get_ready(job)
        merged = merge.merge(job, inspected)
        screened = screen.screen(job, merged)
        decided = decide.items(job, screened)
        embedded = embed.encode(job, decided)
        judged = score.judge(job, embedded)
        judged = correspond.study(job, embedded, judged)
        decided = decide.pairs(job, judged)
        return show.show(job, publish.commit(job, decided, embedded, writer))
