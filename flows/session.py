"""What every flow opens first: the lake's one writer, the run's address, its ledger and its workers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from flows.runners import workers
from schemas.recipes import CaptionRecipe, CurationRecipe
from schemas.settings import DecodeLimits, FetchLimits, Settings
from storage import lake as lakes
from storage import workbench
from storage.lake import Writer
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
    """
    settings = Settings()
    opened = lakes.open(lake or settings.lake)
    with opened.writer() as writer, workers(settings) as pool, workbench.database():
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
        job = Job(run, Ledger(), pool)
        try:
            yield job, writer
        except Exception as error:
            publish.record(job, None, message=f"{type(error).__name__}: {error}"[:2000])
            raise
