"""What every flow opens first: the lake's one writer, the run's address, its ledger and its workers."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flows import hold
from flows.runners import report_progress, workers
from schemas.errors import LakeBusy, LakeError, Overtaken
from schemas.recipes import CaptionRecipe, CurationRecipe
from schemas.settings import DecodeLimits, FetchLimits, Settings
from storage import lake as lakes
from storage import running, workbench
from storage.database import LITTLE_MB
from storage.lake import Lake, Writer
from storage.running import Board
from tasks import publish
from tasks.catalog import build
from tasks.encoders import ENCODERS
from tasks.encoders.identity import identity
from tasks.run import Job, Ledger, Run, new_run_id


@contextmanager
def session(
    recipe: CurationRecipe | CaptionRecipe,
    lake: str | None,
    *,
    replay: tuple[str, ...] = (),
    flow: str,
    kind: type[Run] = Run,
) -> Iterator[tuple[Job, Writer]]:
    """Open a run. A run that fails is recorded as failed; its staged work is found again by the next one.

    Args:
        recipe: What to run.
        lake: Where to; the setting `XMODAL_LAKE` by default.
        replay: Quarantine reasons to try again.
        flow: Name of the flow.
        kind: The run's class, where a recipe needs one of its own.

    Raises:
        LakeBusy: Another run is writing to the lake.
        LakeError: A disk is full.
        Overtaken: It failed, and another run has taken the lake meanwhile: its staged files may have gone with that one.
    """
    settings = Settings()
    opened = lakes.open(lake or settings.lake)
    joins = workbench.database(settings.join_memory, little=LITTLE_MB if flow == "curate" else None)
    with hold.writer(opened) as writer, workers(settings) as pool, joins:
        run = kind(
            run_id=new_run_id(time.time()),
            recipe=recipe,  # type: ignore[arg-type]  # the kind says which recipe it takes
            place=opened.place,
            storage_options=opened.storage_options,
            base=writer.head,
            encoder=identity(build(ENCODERS, recipe.encoder))
            if recipe.encoder and flow in ("curate", "caption")
            else None,
            store_media=settings.media == "store",
            allow_private=settings.allow_private_addresses,
            decode=DecodeLimits(),
            fetch=FetchLimits(),
            replay=replay,
            flow=flow,
        )
        publish.record_missing(run)
        with shown(opened, run) as board:
            job = Job(run, Ledger(board), pool)
            try:
                yield job, writer
            except Exception as error:
                with suppress(Exception):  # a full disk or a lost store takes no record either
                    publish.record(job, None, message=f"{type(error).__name__}: {error}"[:2000])
                if not isinstance(error, LakeBusy) and is_overtaken(writer):
                    raise Overtaken(
                        f"another run has committed to {opened.uri} meanwhile; run again"
                    ) from error
                if is_full(error):
                    raise LakeError(
                        f"no room is left where {opened.uri} or temporary files lie: free some and run again; what this "
                        f"run has staged is kept, and readers see what they saw before"
                    ) from error
                raise


@contextmanager
def shown(lake: Lake, run: Run) -> Iterator[Board]:
    """Let whoever looks at the lake see what the run does, beside what its caller shows."""
    told = report_progress.get()
    with running.board(lake, run.run_id, run.flow, run.recipe.name) as board:

        def report(label: str, done: int, total: int) -> None:
            told(label, done, total)
            board.progress(label, done, total)

        token = report_progress.set(report)
        try:
            yield board
        finally:
            report_progress.reset(token)


def is_full(error: BaseException) -> bool:
    """Whether something failed for want of room: Lance says so in words, the system by a number."""
    return "No space left on device" in str(error) or getattr(error, "errno", None) in (
        errno.ENOSPC,
        errno.EDQUOT,
    )


def is_overtaken(writer: Writer) -> bool:
    """Whether somebody else has committed since the writer began or last committed; only on an object store."""
    if writer.lake.place.is_local:
        return False
    with suppress(Exception):
        head = writer.lake.head()
        return (head and head.snapshot_id) != (writer.head and writer.head.snapshot_id)
    return False
