"""Find what is new in the sources, look at it, and stage what was found."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import pyarrow as pa
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key
from schemas.items import ITEM_SCHEMA, Item
from schemas.recipes import CurationRecipe, MethodRef, SourceRef
from schemas.settings import Settings
from schemas.tables import SOURCES
from storage.database import expect
from storage.lake import Lake
from storage.places import Place
from storage.quoting import literals
from storage.scratch import scratch
from storage.staging import Staging
from storage.versions import Snapshot
from storage.workbench import KEY_ROWS, mapped, sized, workbench
from tasks import sources
from tasks.catalog import build
from tasks.corpora import CORPORA
from tasks.run import RETRY, Job, Run
from tasks.shards.embed import PARTS
from tasks.shards.inspect import inspect_shard

LIST_ROWS = 512
_log = logging.getLogger("xmodal.corpora")  # a corpus may take a minute to fetch: say so


@dataclass(frozen=True)
class Planned:
    """What a run has to look at: addresses, not rows.

    Args:
        shards: Names of staged shards of new and changed items.
        items: Items in those shards.
        listed: Items in the sources.
        removed: Items that the snapshot has and the sources no longer do.
    """

    shards: tuple[str, ...]
    items: int
    listed: int
    removed: int

    def paths(self, run: Run, table: str) -> list[str]:
        """Return the staged files of a table of `STAGED`."""
        return [run.staging.path("inspected", table, f"{shard}.arrow") for shard in self.shards]


@task(cache_policy=NO_CACHE, **RETRY)
def plan(job: Job) -> Planned:
    """List the sources, compare with the snapshot, and stage what is new or changed as shards."""
    run, staging = job.run, job.run.staging
    names = [source.name for source in run.recipe.sources]
    with job.ledger.step("plan") as step, workbench(run.lake, run.base, staging) as bench:
        staging.write_batches(listed(run), ITEM_SCHEMA, "listed.arrow")
        bench.add_staged("listed", [staging.path("listed.arrow")], ITEM_SCHEMA)
        bench.add_base(SOURCES)
        count = int(bench.rows("SELECT count(*) FROM listed")[0][0])
        most = max(count, int(bench.rows("SELECT count(*) FROM base_sources")[0][0]))
        expect(most)
        is_again = f"b.reason IN ({literals(run.replay)})" if run.replay else "false"
        changed = bench.chosen_of_staged(  # texts pass no join
            "listed",
            ITEM_SCHEMA.names,
            "SELECT l.place FROM numbered l LEFT JOIN base_sources b USING (source_id) WHERE NOT coalesce("
            f"b.present AND b.fingerprint = l.fingerprint AND NOT (b.status = 'quarantined' AND {is_again}), "
            "false)",
            ["source_id", "fingerprint"],
            size=KEY_ROWS,
        )
        to_do = mapped((batch for rows in changed for batch in rows.to_batches()), ITEM_SCHEMA)
        in_order = bench.in_order(to_do, "source", "locator", size=run.recipe.shard_rows)
        shards, items = [], 0
        for number, rows in enumerate(sized(in_order, run.recipe.shard_rows)):
            shard = (
                f"{number:05d}-{key(*rows['source_id'].to_pylist(), *rows['fingerprint'].to_pylist())[:12]}"
            )
            staging.write(rows.cast(ITEM_SCHEMA), "planned", f"{shard}.arrow")
            shards.append(shard)
            items += len(rows)
        removed = bench.stage(
            "SELECT b.source_id FROM base_sources b ANTI JOIN listed l USING (source_id) "
            f"WHERE b.present AND b.source IN ({literals(names)})",
            "removed.arrow",
        )
        planned = Planned(
            tuple(shards),
            items,
            listed=count,
            removed=len(staging.read(removed)),
        )
        step.items = planned.listed
        staging.drop("listed.arrow")
        for name in ("listed", "removed"):
            step.count(name, getattr(planned, name))
        step.count("new or changed", planned.items)
        return planned


@dataclass(frozen=True)
class Compared:
    """How sources differ from a snapshot.

    Args:
        listed: Items in the sources.
        changed: Those that are new or changed.
        removed: Items that the snapshot has and the sources no longer do.
    """

    listed: int
    changed: int
    removed: int

    @property
    def is_same(self) -> bool:
        """Whether a run would find nothing to do."""
        return not self.changed and not self.removed


@task(cache_policy=NO_CACHE, **RETRY)
def compare(recipe: CurationRecipe, lake: Lake, known: Snapshot | None) -> Compared:
    """List the sources and count what differs from the snapshot. Writes nothing to the lake, so needs no writer."""
    run = Run("", recipe, lake.place, known, None)
    names = literals(source.name for source in recipe.sources)
    with scratch("listed") as folder:
        staging = Staging(Place(folder), "listed")
        with workbench(lake, known, staging) as bench:
            path = staging.write_batches(listed(run), ITEM_SCHEMA, "listed.arrow")
            bench.add_staged("listed", [path], ITEM_SCHEMA)
            bench.add_base(SOURCES)
            sql = (
                "SELECT count(l.source_id), "
                "count(l.source_id) FILTER (l.fingerprint IS DISTINCT FROM b.fingerprint), "
                "count(*) FILTER (l.source_id IS NULL) FROM listed l FULL JOIN (SELECT source_id, fingerprint "
                f"FROM base_sources WHERE present AND source IN ({names})) b ON l.source_id = b.source_id"
            )
            found = Compared(*bench.rows(sql)[0])
    get_run_logger().info(
        "%d items listed, %d new or changed, %d removed", found.listed, found.changed, found.removed
    )
    return found


@task(cache_policy=NO_CACHE)
def inspect(job: Job, planned: Planned) -> Planned:
    """Read, check and decode every planned item; what was done before a kill is not done again."""
    run = job.run
    with job.ledger.step("inspect") as step:
        todo = [
            shard for shard in planned.shards if not run.staging.exists("inspected", "done", f"{shard}.arrow")
        ]
        if done := len(planned.shards) - len(todo):
            step.count("shards done before", done)
        to_embed = PARTS * planned.items // run.recipe.shard_rows if run.encoder else 0
        for report in job.workers.map(partial(inspect_shard, run), todo, label="inspect", more=to_embed):
            step.add(report)
    return planned


def listed(run: Run) -> Iterator[pa.RecordBatch]:
    """Yield the items of all sources as batches of `ITEM_SCHEMA`."""
    for ref in run.recipe.sources:
        listed = iter(sources.reader(_resolved(ref))())
        while items := list(islice(listed, LIST_ROWS)):
            columns: dict[str, object] = {
                field: [getattr(item, field) for item in items] for field in Item.__dataclass_fields__
            }
            columns["texts"] = _texts_of(items)
            columns["source"] = [ref.name] * len(items)
            columns["source_id"] = [key(ref.name, item.locator) for item in items]
            columns["fingerprint"] = [f"{item.fingerprint}:{run.inspect_digest}" for item in items]
            yield pa.RecordBatch.from_pydict(columns, schema=ITEM_SCHEMA)


def _texts_of(items: list[Item]) -> pa.Array:
    """Return the texts of each item, a list of structs: columns at once cost a third of a dictionary a text."""
    listed = ITEM_SCHEMA.field("texts").type
    texts = [text for item in items for text in item.texts]
    fields = list(listed.value_type)
    columns = [pa.array([getattr(text, field.name) for text in texts], field.type) for field in fields]
    ends = np.cumsum([0, *(len(item.texts) for item in items)])
    structs = pa.StructArray.from_arrays(columns, fields=fields)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs, type=listed)


def _resolved(ref: SourceRef) -> SourceRef:
    """Return the source, a corpus replaced by its manifest (fetched if it is not there)."""
    if ref.kind != "corpus":
        return ref

    corpus = build(CORPORA, MethodRef(name=ref.location))
    manifest = corpus.get(Settings().cache, report=_log.info)
    return ref.model_copy(update={"kind": "manifest", "location": str(manifest)})
