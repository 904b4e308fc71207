"""Bench: plant noise in real corpora, find it, mend it, and measure what a head trained on the rest can do."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from prefect import flow

from flows.curate import curate
from flows.runners import workers
from schemas.digests import params_digest
from schemas.settings import Settings
from storage import lake as lakes
from storage.scratch import scratch
from tasks import bench
from tasks.shards.correspondence import Found, run_cell


@flow(name="bench-correspondence")
def bench_correspondence(plan: bench.Plan, lake: str, out: Path | None = None) -> bench.Report:
    """Run every cell of a plan, append its numbers to the lake's `metrics`, and draw figures.

    Corpora are taken in and encoded by the ordinary curation, each in a lake of its own beside the numbers; a
    second run finds them there and reads their vectors.

    Args:
        plan: What to run.
        lake: Where numbers and corpora go.
        out: Folder of the figures; none are drawn without it.
    """
    digests: dict[str, str] = {}
    with scratch("bench") as folder, workers(Settings()) as pool:
        paths = {name: Path(folder) / f"{name}.npz" for name in plan.corpora}
        for name, path in paths.items():
            place = f"{lake.rstrip('/')}/{bench.CORPORA[name].source}"
            for encoder in bench.FEATURES.values():
                curate(bench.CORPORA[name].recipe(encoder), lake=place)
            digests[name] = bench.write_corpus(lakes.open(place), bench.CORPORA[name], plan, path)
        found: list[Found] = list(pool.map(run_cell, plan.cells(paths), label="measure"))
    bench.record(lakes.open(lake), plan, found, digests, recipe=_said(plan))
    if out is not None:
        bench.figures(found, out)
    return bench.reported(found)


def _said(plan: bench.Plan) -> str:
    """Return the plan as JSON, digest included."""
    import json

    said: Mapping[str, object] = asdict(plan)
    plain = json.loads(json.dumps(said, default=lambda ref: ref.model_dump()))
    return json.dumps(plain | {"digest": params_digest(plain)}, sort_keys=True)
