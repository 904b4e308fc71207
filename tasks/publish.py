"""Commit a run: every table, one snapshot, one tag, one row in `runs`."""

import json
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.tables import (
    DECISIONS,
    DIVISIONS,
    MEDIA,
    PAIRS,
    QUARANTINE,
    REASONS_OF_PAIRS,
    REPAIRS,
    RUNS,
    SCORES,
    SOURCES,
    TEXTS,
    VERDICTS,
    TableSpec,
    embeddings,
)
from storage.lake import Writer
from storage.search import by_ids
from storage.versions import Snapshot
from storage.workbench import Workbench
from tasks.check import gate
from tasks.decide import Decided, decided_bench
from tasks.embed import Embedded
from tasks.run import RETRY, Job, Ledger, Run, Step, code_version

_STATE = "s.present, s.kept, s.dropped_by"
_FACTS = ", ".join(
    f"m.{name}" for name in MEDIA.schema.names
    if name not in {"locators", "cluster_id", "present", "kept", "dropped_by", "run_id"}
)  # fmt: skip

# What each medium is now: state that follows from all sources and rules, beside facts that do not change.
_MEDIA_STATE = """
CREATE TEMP VIEW media_state AS
SELECT n.media_id, n.locators, coalesce(c.cluster_id, n.media_id) AS cluster_id, n.present, k.kept, k.dropped_by
FROM now_media n JOIN kept_media k ON k.id = n.media_id LEFT JOIN clusters c USING (media_id)
"""
_MEDIA = f"""
SELECT {_FACTS}, s.locators, s.cluster_id, {_STATE}, '{{run}}' AS run_id
FROM staged_media m SEMI JOIN fresh_media f USING (source_id) JOIN media_state s ON s.media_id = m.media_id
UNION ALL
SELECT {_FACTS}, s.locators, s.cluster_id, {_STATE}, '{{run}}' AS run_id
FROM changed_media m JOIN media_state s ON s.media_id = m.media_id
"""
_CHANGED_MEDIA = """
SELECT m.media_id FROM (SELECT media_id, locators, cluster_id, present, kept, dropped_by FROM base_media) m
ANTI JOIN fresh_media f USING (media_id) JOIN media_state s ON s.media_id = m.media_id
WHERE (m.locators, m.cluster_id, m.present, m.kept, m.dropped_by)
  IS DISTINCT FROM (s.locators, s.cluster_id, s.present, s.kept, s.dropped_by)
"""
FEW = 4096  # rows that are looked up by id rather than found in a scan of all pixels
_TEXTS = """
WITH known AS (
  SELECT text_id, text, language, min(language_from) AS language_from, origin, NULL AS generator
  FROM staged_texts GROUP BY text_id, text, language, origin  -- an id is a digest of the other three
), state AS (SELECT n.text_id, n.present, k.kept, k.dropped_by FROM now_texts n JOIN kept_text k ON k.id = n.text_id)
SELECT k.*, length(k.text) AS length_chars, s.present, s.kept, s.dropped_by, '{run}' AS run_id
FROM known k JOIN state s USING (text_id) ANTI JOIN (SELECT text_id FROM base_texts) b USING (text_id)
UNION ALL
SELECT b.text_id, b.text, b.language, b.language_from, b.origin, b.generator, b.length_chars,
       s.present, s.kept, s.dropped_by, '{run}'
FROM base_texts b JOIN state s USING (text_id)
WHERE (b.present, b.kept, b.dropped_by) IS DISTINCT FROM (s.present, s.kept, s.dropped_by)
"""
_PAIRS = """
SELECT n.pair_id, n.media_id, n.text_id, n.role, n.present, k.kept, k.dropped_by, '{run}' AS run_id
FROM now_pairs n JOIN kept_pair k ON k.id = n.pair_id LEFT JOIN base_pairs b USING (pair_id)
WHERE b.pair_id IS NULL OR (b.role, b.present, b.kept, b.dropped_by) IS DISTINCT FROM (n.role, n.present, k.kept, k.dropped_by)
"""
# Of the places a medium was found at, the first speaks for it; the others were merged into it.
_OUTCOMES = """
CREATE TEMP VIEW outcomes AS
WITH ranked AS (
  SELECT n.*, coalesce(n.media_id, n.text_ids[1]) AS thing,
         row_number() OVER (PARTITION BY n.present AND n.status = 'ok', n.media_id IS NULL, coalesce(n.media_id, n.text_ids[1])
                            ORDER BY n.source, n.locator) AS place
  FROM now_sources n
)
SELECT r.source_id, r.source, r.locator, r.fingerprint, r.media_id, r.text_ids, r.status, r.present,
  CASE WHEN NOT r.present THEN 'removed' WHEN r.status = 'quarantined' THEN 'quarantined'
       WHEN r.place > 1 THEN 'merged' WHEN coalesce(m.kept, t.kept, true) THEN 'kept' ELSE 'filtered' END AS outcome,
  CASE WHEN NOT r.present THEN NULL WHEN r.status = 'quarantined' THEN r.quarantine_reason
       WHEN r.place > 1 THEN 'exact-duplicate' WHEN NOT coalesce(m.kept, t.kept, true)
       THEN coalesce(m.dropped_by, t.dropped_by) END AS reason
FROM ranked r
LEFT JOIN kept_media m ON m.id = r.media_id
LEFT JOIN kept_text t ON r.media_id IS NULL AND t.id = r.text_ids[1]
"""
_SOURCES = """
SELECT o.*, '{run}' AS run_id FROM outcomes o LEFT JOIN base_sources b USING (source_id)
WHERE b.source_id IS NULL OR (b.fingerprint, b.media_id, b.text_ids, b.status, b.outcome, b.reason, b.present)
  IS DISTINCT FROM (o.fingerprint, o.media_id, o.text_ids, o.status, o.outcome, o.reason, o.present)
"""
# A refusal stays on record; it is active while the same item is still refused for it.
_QUARANTINE = """
SELECT * REPLACE ('{run}' AS run_id) FROM staged_quarantine
UNION ALL
SELECT b.* EXCLUDE (row_digest) REPLACE (false AS active, '{run}' AS run_id) FROM base_quarantine b
LEFT JOIN now_sources n USING (source_id)
WHERE b.active AND b.quarantine_id NOT IN (SELECT quarantine_id FROM staged_quarantine)
  AND (NOT n.present OR n.status = 'ok' OR n.source_id IN (SELECT source_id FROM staged_sources))
"""
# What the recipe says now; what it said before and no longer does stays, inactive.
_SAID = """
SELECT * FROM staged_{table}
UNION ALL
SELECT b.* EXCLUDE (row_digest) REPLACE (false AS active, '{{run}}' AS run_id) FROM base_{table} b
ANTI JOIN staged_{table} s USING ({key}) WHERE b.active
"""
SAID = (DECISIONS, DIVISIONS, REASONS_OF_PAIRS, REPAIRS)
_SCORES = "SELECT DISTINCT ON (score_id) * EXCLUDE (row_digest) FROM staged_scores"  # a killed run's shards are among them


@task(cache_policy=NO_CACHE, **RETRY)
def commit(job: Job, decided: Decided, embedded: Embedded | None, writer: Writer) -> Snapshot:
    """Write what changed, name it in one snapshot, move the tag if it is good enough, and record the run."""
    run = job.run
    with job.ledger.step("publish") as step, decided_bench(run, decided) as bench:
        bench.add_base(QUARANTINE, *SAID)
        bench.add_staged("staged_scores", decided.scores, SCORES.stored)
        said = {**decided.further, DECISIONS.name: decided.decisions}
        for spec in SAID:
            bench.add_staged(f"staged_{spec.name}", said.get(spec.name, ()), spec.schema)
        bench.add_staged("staged_verdicts", decided.people, VERDICTS.schema)
        bench.execute(_MEDIA_STATE)
        bench.execute(_OUTCOMES)
        _offer_changed_media(run, bench)
        tables: list[tuple[TableSpec, str]] = [
            (MEDIA, _MEDIA), (TEXTS, _TEXTS), (PAIRS, _PAIRS), (SOURCES, _SOURCES), (QUARANTINE, _QUARANTINE),
        ]  # fmt: skip
        if run.judges:
            tables.append((SCORES, _SCORES))
            for spec in SAID:
                if said.get(spec.name) or not _is_empty(run, spec):
                    tables.append((spec, _SAID.format(table=spec.name, key=spec.key)))
                else:  # nothing is said, and nothing was
                    step.count(f"{spec.name} added", 0)
        if decided.people:
            tables.append((VERDICTS, "SELECT * FROM staged_verdicts"))
        for spec, sql in tables:
            with bench.as_written() if spec is MEDIA else nullcontext():
                path = bench.stage_rows(sql.format(run=run.run_id), spec, "publish", f"{spec.name}.arrow")
            step.written_bytes += run.staging.size_bytes(path)
            done = writer.upsert(spec, run.staging.dataset([path], spec.stored))
            step.count(f"{spec.name} added", done.added)
            step.count(f"{spec.name} replaced", done.replaced)
        if embedded is not None:
            for whose, paths in (
                (run, embedded.paths),
                *((further.run, further.paths) for further in embedded.further),
            ):
                _keep_vectors(whose, paths, writer, step)
        _reconcile(bench, job.ledger)
    # A verdict changes what a recipe led to, not which recipe it was: the next curation has nothing new to do,
    # unless it learns from verdicts.
    learns = run.recipe.correspondence is not None
    standing = run.recipe_digest
    if run.base is not None and run.flow == "review":
        standing = "" if learns else run.base.recipe_digest
    snapshot = writer.commit(tag=None, recipe_digest=standing, run_id=run.run_id)
    record(job, snapshot, message=gate(job, snapshot))
    run.staging.clear()
    for further in embedded.further if embedded else ():
        further.run.staging.clear()
    return snapshot


def _is_empty(run: Run, spec: TableSpec) -> bool:
    """Whether the snapshot has a table, and no row in it."""
    return run.base is not None and run.base.row_counts.get(spec.name) == 0


def _keep_vectors(run: Run, paths: tuple[str, ...], writer: Writer, step: Step) -> None:
    """Add new vectors to the table of the run's encoder."""
    if run.encoder is None:
        return
    spec = embeddings(run.encoder.table, run.encoder.dim)
    ref = run.recipe.encoder.model_dump() if run.recipe.encoder else {}
    identity = {
        "xmodal.encoder": json.dumps(asdict(run.encoder), default=str, sort_keys=True),
        "xmodal.encoder_ref": json.dumps(ref),
    }
    done = writer.upsert(spec, run.staging.dataset(paths, spec.stored), metadata=identity)
    step.count(f"{spec.name} added", done.added)


@task(cache_policy=NO_CACHE)
def unchanged(job: Job) -> Snapshot:
    """Record a run that found nothing new: no table gets a version. A check that did not happen yet does."""
    if job.run.base is None:
        raise ValueError("an empty lake has nothing that could be unchanged")
    record(job, job.run.base, message=gate(job, job.run.base))
    job.run.staging.clear()
    return job.run.base


def record(job: Job, snapshot: Snapshot | None, *, message: str = "") -> None:
    """Append the run to `runs`: what ran, on what, what it counted and what it cost."""
    run, ledger = job.run, job.ledger
    wrote = snapshot is not None and (run.base is None or snapshot.snapshot_id != run.base.snapshot_id)
    totals = {
        name: sum(getattr(step, name) for step in ledger.steps) for name in ("wall_s", "cpu_s", "gpu_s")
    }
    kept = ledger.counts().get("items", {}).get("kept", 0)
    row = {
        "run_id": run.run_id,
        "flow": run.flow,
        "status": "failed" if snapshot is None else "committed" if wrote else "unchanged",
        "recipe": run.recipe.name,
        "recipe_json": run.recipe.model_dump_json(),
        "recipe_digest": run.recipe_digest,
        "code_version": code_version(),
        "encoders": json.dumps([asdict(run.encoder)] if run.encoder else [], default=str),
        "read_snapshot": run.base.snapshot_id if run.base else "",
        "written_snapshot": snapshot.snapshot_id if snapshot and wrote else "",
        "versions_read": json.dumps(run.base.versions if run.base else {}),
        "versions_written": json.dumps(snapshot.versions if snapshot and wrote else {}),
        "counts": json.dumps(ledger.counts()),
        "costs": json.dumps(ledger.costs()),
        "cost_per_1000_kept": json.dumps(
            {n: round(v * 1000 / kept, 3) for n, v in totals.items()} if kept and wrote else {}
        ),
        "message": message,
        "started_at": ledger.started_at,
        "finished_at": datetime.now(UTC),
    }
    run.lake.append_log(RUNS, row)


def _offer_changed_media(run: Run, bench: Workbench) -> None:
    """Offer `changed_media`: rows of the snapshot whose state differs now, thumbnails included."""
    ids = bench.table(_CHANGED_MEDIA)["media_id"].to_pylist()
    if run.base is not None and len(ids) <= FEW:
        columns = MEDIA.schema.names
        bench.con.register("changed_media", by_ids(run.lake, run.base, "media", "media_id", ids, columns))
        return
    bench.execute(
        f"CREATE TEMP VIEW changed_media AS SELECT m.* FROM base_media m SEMI JOIN ({_CHANGED_MEDIA}) USING (media_id)"
    )


def record_missing(run: Run) -> None:
    """Record the run behind the newest snapshot, if it was killed after its commit and before its record."""
    base = run.base
    if (
        base is None
        or " " in base.run_id
        or run.lake.read("runs", where=f"run_id = '{base.run_id}'").num_rows
    ):
        return  # "restore s000001" and "maintain ..." are no runs of a recipe
    row: dict[str, object] = dict.fromkeys(RUNS.schema.names, "")
    row |= {
        "run_id": base.run_id,
        "flow": "curate",
        "status": "committed",
        "recipe_digest": base.recipe_digest,
        "read_snapshot": base.parent_id,
        "written_snapshot": base.snapshot_id,
        "versions_written": json.dumps(base.versions),
        "message": "killed after its commit; recorded by the run that followed, without counts and costs",
        "started_at": base.created_at,
        "finished_at": base.created_at,
    }
    row |= dict.fromkeys(("counts", "versions_read", "cost_per_1000_kept", "recipe_json"), "{}")
    row |= dict.fromkeys(("costs", "encoders"), "[]")
    run.lake.append_log(RUNS, row)


def _reconcile(bench: Workbench, ledger: Ledger) -> None:
    """Count every item of the sources once: in = kept + merged + filtered + quarantined."""
    with ledger.step("items") as step:
        for outcome, reason, n in bench.rows(
            "SELECT outcome, reason, count(*) FROM outcomes GROUP BY ALL ORDER BY ALL"
        ):
            step.count(str(outcome), int(n))
            if reason and outcome in ("filtered", "quarantined"):
                step.count(f"{outcome}: {reason}", int(n))
        step.count("in", int(bench.rows("SELECT count(*) FROM now_sources WHERE present")[0][0]))
    with ledger.step("pairs") as step:
        step.count("in", int(bench.rows("SELECT count(*) FROM now_pairs WHERE present")[0][0]))
        sql = (
            "SELECT k.kept, k.dropped_by, count(*) FROM kept_pair k JOIN now_pairs n ON n.pair_id = k.id "
            "WHERE n.present GROUP BY ALL ORDER BY ALL"
        )
        for kept, rule, n in bench.rows(sql):
            step.count("kept" if kept is not False else f"filtered: {rule}", int(n))
            if kept is False:
                step.count("filtered", int(n))
