"""Review: a person's verdict in, a snapshot out in which it wins over every rule."""

from prefect import flow

from flows import hold
from flows.session import session
from schemas.errors import LakeError
from schemas.recipes import CurationRecipe
from storage import lake as lakes
from storage.versions import Snapshot
from tasks import publish, review


@flow(name="review")
@hold.rebased
def state_verdict(statement: review.Statement, lake: str) -> Snapshot:
    """State a verdict, or withdraw one. Later curations of the lake honour it.

    Args:
        statement: Who says what of which subjects.
        lake: The lake.
    """
    with session(last_recipe(lakes.open(lake)), lake, flow="review") as (job, writer):
        decided = review.state(job, statement)
        return publish.commit(job, decided, None, writer)


def last_recipe(lake: lakes.Lake) -> CurationRecipe:
    """Return the recipe of the newest recorded curation.

    Raises:
        LakeError: No curation is on record.
    """
    for row in lake.runs():
        if row["flow"] == "curate" and '"sources"' in row["recipe_json"]:
            return CurationRecipe.model_validate_json(row["recipe_json"])
    raise LakeError(
        f"no curation is on record in {lake.uri}, so there are no decisions; run `xmodal curate` first"
    )


def undo_run(lake: lakes.Lake, run_id: str) -> Snapshot:
    """Make the snapshot before a run the newest again. What the run wrote stays readable under its own id.

    Raises:
        LakeError: The run wrote no snapshot, was the first, or others were committed since.
    """
    mine = [snapshot for snapshot in lake.snapshots() if snapshot.run_id == run_id]
    if not mine:
        known = ", ".join(row["run_id"] for row in lake.runs()[:3])
        raise LakeError(f"no snapshot was written by a run {run_id!r}; the newest runs are {known}")
    head, written = lake.head(), mine[-1]
    if head is not None and head.snapshot_id != written.snapshot_id:
        raise LakeError(
            f"{head.snapshot_id} was committed since {run_id} wrote {written.snapshot_id}; undoing that run alone would "
            f"undo it too. `xmodal versions restore {written.parent_id}` does, if that is meant"
        )
    if not written.parent_id:
        raise LakeError(f"{run_id} wrote the first snapshot; there is nothing before it")
    return lake.restore(written.parent_id)
