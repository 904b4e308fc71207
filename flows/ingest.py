"""Ingest: raw media in, a tagged snapshot of media, texts and pairs out. Nothing is judged yet."""

from prefect import flow

from flows import hold
from flows.session import session
from schemas.recipes import CurationRecipe
from storage.versions import Snapshot
from tasks import decide, ingest, merge, publish


@flow(name="ingest")
@hold.rebased
def ingest_sources(recipe: CurationRecipe, lake: str | None = None, replay: tuple[str, ...] = ()) -> Snapshot:
    """Take in what the recipe's sources hold; its filters, encoder and pair rules are left for a curation.

    Args:
        recipe: Its sources and its `inspect` part are used.
        lake: Where to; the setting `XMODAL_LAKE` by default.
        replay: Quarantine reasons to try again.
    """
    with session(recipe, lake, replay=replay, flow="ingest") as (job, writer):
        planned = ingest.plan(job)
        if job.is_unchanged(planned):
            return publish.unchanged(job)
        inspected = ingest.inspect(job, planned)
        merged = merge.merge(job, inspected)
        decided = decide.carry(job, merged)
        return publish.commit(job, decided, None, writer)
