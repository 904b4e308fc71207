"""Score media and texts on their own: filters fill scores, rules decide later."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key
from schemas.recipes import Rule
from schemas.tables import MEDIA, SCORES, TEXTS
from storage import rows
from storage.workbench import Workbench
from tasks.catalog import Named, build, method_digest
from tasks.filters import FILTERS
from tasks.filters.contract import Filter
from tasks.ingest import STAGED
from tasks.merge import Merged, merged_bench
from tasks.run import Job, Run, ShardReport, cpu_seconds

_TABLE_SQL = {
    "text": """
        SELECT n.text_id, n.text, count(DISTINCT p.media_id) AS media_count
        FROM now_texts n LEFT JOIN (SELECT * FROM now_pairs WHERE present) p USING (text_id)
        WHERE n.present GROUP BY ALL ORDER BY 1""",
    "media": """
        SELECT n.media_id, count(DISTINCT p.text_id) AS text_count
        FROM now_media n LEFT JOIN (SELECT * FROM now_pairs WHERE present) p USING (media_id)
        WHERE n.present GROUP BY ALL ORDER BY 1""",
}
ID = {"media": "media_id", "text": "text_id"}


@dataclass(frozen=True)
class Screened:
    """Where the scores of media and texts are staged."""

    merged: Merged
    paths: tuple[str, ...]


@task(cache_policy=NO_CACHE)
def screen(job: Job, merged: Merged) -> Screened:
    """Run the recipe's filters on whatever they have not scored yet."""
    run = job.run
    shard_rules = [rule for rule in run.recipe.filters if filter_of(rule).scope == "shard"]
    table_rules = [rule for rule in run.recipe.filters if filter_of(rule).scope == "table"]
    with job.ledger.step("screen") as step, merged_bench(run, merged) as bench:
        bench.add_base(SCORES)
        work = [
            (subject, f"{subject}-{shard}", path)
            for subject, table in (("media", "media"), ("text", "texts"))
            for shard, path in zip(merged.planned.shards, merged.planned.paths(run, table), strict=True)
        ]
        work += _unscored(run, bench, shard_rules)
        todo = (
            [unit for unit in work if not run.staging.exists("screened", f"{unit[1]}.arrow")]
            if shard_rules
            else []
        )
        for report in job.workers.map(partial(screen_shard, run), todo, label="filter"):
            step.add(report)
        paths = [run.staging.path("screened", f"{name}.arrow") for _, name, _ in work] if shard_rules else []
        for rule in table_rules:
            method = filter_of(rule)
            subjects = bench.table(_TABLE_SQL[method.subject])
            scored = _score_rows(run, method, subjects, inputs=_inputs(subjects))
            name = f"table-{method.name}-{method_digest(method)[:8]}.arrow"
            paths.append(run.staging.write(scored, "screened", name))
            step.items += len(subjects)
    return Screened(merged, tuple(paths))


def screen_shard(run: Run, unit: tuple[str, str, str]) -> ShardReport:
    """Score one staged file of media or texts with every shard-scope filter. Runs in a worker."""
    subject, name, path = unit
    with cpu_seconds() as cpu:
        subjects = run.staging.read(path)
        scored = [
            _score_rows(run, method, subjects, inputs=run.inspect_digest)
            for rule in run.recipe.filters
            if (method := filter_of(rule)).scope == "shard" and method.subject == subject
        ]
        table = pa.concat_tables([SCORES.stored.empty_table(), *scored])
        run.staging.write(table, "screened", f"{name}.arrow")
    return ShardReport({}, len(subjects), cpu[0], written_bytes=table.nbytes)


def filter_of(rule: Rule) -> Filter:
    """Build the filter a rule names."""
    return build(FILTERS, rule.method)


def score_rows(
    run: Run,
    method: Named,
    subject: str,
    subject_ids: pa.ChunkedArray | pa.Array,
    values: np.ndarray,
    inputs: str,
) -> pa.Table:
    """Return rows of `scores`, one per subject whose value is not NaN.

    Args:
        run: The run that computed them.
        method: The method, built.
        subject: media, text or pair.
        subject_ids: (N,) ids.
        values: (N,) scores, float32.
        inputs: Digest of what the values were computed from.
    """
    params = method_digest(method)
    kept = ~np.isnan(values)
    ids = [subject_id for subject_id, keep in zip(subject_ids.to_pylist(), kept, strict=True) if keep]
    n = len(ids)
    table = pa.table(
        {
            "score_id": [key(subject_id, method.name, params) for subject_id in ids],
            "subject": [subject] * n,
            "subject_id": ids,
            "method": [method.name] * n,
            "params_digest": [params] * n,
            "inputs": [inputs] * n,
            "value": pa.array(values[kept], pa.float32()),
            "run_id": [run.run_id] * n,
        },
        schema=SCORES.schema,
    )
    return rows.with_digest(table, SCORES)


def _score_rows(run: Run, method: Filter, subjects: pa.Table, *, inputs: str) -> pa.Table:
    return score_rows(run, method, method.subject, subjects[ID[method.subject]], method(subjects), inputs)


def _unscored(run: Run, bench: Workbench, rules: list[Rule]) -> list[tuple[str, str, str]]:
    """Stage the snapshot's media and texts that some filter has not scored yet, as when a rule was added."""
    work = []
    for subject, spec in (("media", MEDIA), ("text", TEXTS)):
        methods = [method for rule in rules if (method := filter_of(rule)).subject == subject]
        if not methods or run.base is None:
            continue
        staged = f"staged_{spec.name}"
        wanted = " OR ".join(
            f"(method = '{method.name}' AND params_digest = '{method_digest(method)}')" for method in methods
        )
        missing = (
            f"SELECT b.{spec.key} FROM (SELECT {spec.key}, present FROM base_{spec.name}) b "
            f"ANTI JOIN (SELECT DISTINCT {spec.key} FROM {staged}) s USING ({spec.key}) "
            f"LEFT JOIN (SELECT subject_id, count(*) AS n FROM base_scores WHERE {wanted} GROUP BY 1) d "
            f"ON d.subject_id = b.{spec.key} WHERE b.present AND coalesce(d.n, 0) < {len(methods)}"
        )
        columns = [name for name in STAGED[spec.name].names if name in spec.schema.names]
        reader = bench.batches(
            f"SELECT {', '.join(columns)} FROM base_{spec.name} SEMI JOIN ({missing}) USING ({spec.key})",
            size=run.recipe.shard_rows,
        )
        for number, batch in enumerate(reader):
            name = f"{subject}-base-{number:05d}"
            work.append(
                (
                    subject,
                    name,
                    run.staging.write(pa.Table.from_batches([batch]), "unscored", f"{name}.arrow"),
                )
            )
    return work


def _inputs(subjects: pa.Table) -> str:
    """Digest a whole table: a table-scope score is a function of all of it."""
    return key(*(str(column.to_pylist()) for column in subjects.columns))
