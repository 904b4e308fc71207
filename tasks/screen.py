"""Score media and texts on their own: filters fill scores, rules decide later."""

from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key, key_of
from schemas.recipes import Rule
from schemas.tables import MEDIA, SCORES, TEXTS
from storage.workbench import Workbench, mapped, values
from tasks.catalog import method_digest
from tasks.merge import Merged, merged_bench
from tasks.run import Job, Run
from tasks.shards.inspect import STAGED
from tasks.shards.screen import ID, filter_of, score_batches, screen_shard

LARGER = 4  # times a shard of what the lake has: nothing is read or decoded for it
# A pair is there once: its id is a digest of its medium's and its text's.
_COUNTED = "SELECT {key} AS id, count(*) AS n FROM now_pairs WHERE present GROUP BY 1"
_TABLE_SQL = {
    "text": """
        SELECT n.text_id, n.text, coalesce(c.n, 0) AS media_count FROM now_texts n LEFT JOIN counted c ON c.id = n.text_id
        WHERE n.present""",
    "media": """
        SELECT n.media_id, coalesce(c.n, 0) AS text_count FROM now_media n LEFT JOIN counted c ON c.id = n.media_id
        WHERE n.present""",
}


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
            if any(filter_of(rule).subject == subject for rule in shard_rules)
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
            bench.hold("counted", _COUNTED.format(key=ID[method.subject]))
            bench.hold("subjects", _TABLE_SQL[method.subject])
            found = bench.ordered("SELECT * FROM subjects", ID[method.subject])
            bench.drop("subjects", "counted")
            subjects = mapped(found, found.schema)
            ids = subjects[ID[method.subject]]
            scored = score_batches(run, method, method.subject, ids, method(subjects), _inputs(subjects))
            name = f"table-{method.name}-{method_digest(method)[:8]}.arrow"
            paths.append(run.staging.write_batches(scored, SCORES.stored, "screened", name))
            step.items += len(subjects)
    run.staging.drop("unscored")
    return Screened(merged, tuple(paths))


def _unscored(run: Run, bench: Workbench, rules: list[Rule]) -> list[tuple[str, str, str]]:
    """Stage the snapshot's media and texts that some filter has not scored yet, as when a rule was added."""
    work: list[tuple[str, str, str]] = []
    if run.base is None or run.base.recipe_digest == run.recipe_digest:
        return work  # the same recipe has scored all it can score
    for subject, spec in (("media", MEDIA), ("text", TEXTS)):
        methods = [method for rule in rules if (method := filter_of(rule)).subject == subject]
        if not methods:
            continue
        wanted = " OR ".join(
            f"(method = '{method.name}' AND params_digest = '{method_digest(method)}')" for method in methods
        )
        missing = (
            f"SELECT b._rowaddr FROM addressed b "
            f"ANTI JOIN (SELECT DISTINCT {spec.key} FROM staged_{spec.name}) s USING ({spec.key}) "
            f"LEFT JOIN (SELECT subject_id, count(*) AS n FROM base_scores WHERE {wanted} GROUP BY 1) d "
            f"ON d.subject_id = b.{spec.key} WHERE b.present AND coalesce(d.n, 0) < {len(methods)}"
        )
        columns = [name for name in STAGED[spec.name].names if name in spec.schema.names]
        # in the order they lie in: a restart cuts the same shards
        shards = bench.chosen(spec, columns, missing, ["present"], size=LARGER * run.recipe.shard_rows)
        for number, rows_of in enumerate(shards):
            name = f"{subject}-base-{number:05d}-{key(*rows_of[spec.key].to_pylist())[:12]}"
            work.append((subject, name, run.staging.write(rows_of, "unscored", f"{name}.arrow")))
    return work


def _inputs(subjects: pa.Table) -> str:
    """Digest a whole table: a table-scope score is a function of all of it."""
    return key(*(key_of(map(str, values(column))) for column in subjects.columns))
