"""Commit a run: every table, one snapshot, one tag, one row in `runs`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.batch import empty_on_disk
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
from storage.upserts import Known
from storage.versions import Snapshot
from storage.workbench import BATCH_ROWS, KEY_ROWS, Workbench
from tasks.check import gate
from tasks.decide import DROPPED, Decided, decided_bench
from tasks.embed import Embedded
from tasks.run import RETRY, Job, Ledger, Run, Step, code_version

# Most are kept, and nothing more is said of them: so what is held is little.
_NOT_SIMPLY_KEPT = """
SELECT id, kept, dropped_by FROM kept_{subject} WHERE kept IS DISTINCT FROM true OR dropped_by IS NOT NULL
"""
_KEPT = "CASE WHEN k.id IS NULL THEN true ELSE k.kept END"
_WAS = "n.was_present, n.was_kept, n.was_dropped_by"
# What each thing is now, and whether the snapshot says otherwise: state that follows from all sources and rules, beside
# facts that do not change.
_CHANGED_MEDIA = f"""
SELECT n.media_id, n.locators, coalesce(c.cluster_id, n.media_id) AS cluster_id, n.present, {_KEPT} AS kept, k.dropped_by,
       n.address, n.is_fresh
FROM now_media n LEFT JOIN ({_NOT_SIMPLY_KEPT.format(subject="media")}) k ON k.id = n.media_id
LEFT JOIN (SELECT media_id, cluster_id FROM clusters WHERE media_id <> cluster_id) c USING (media_id)
WHERE n.is_fresh OR n.is_moved
  OR (c.cluster_id, n.present, {_KEPT}, k.dropped_by) IS DISTINCT FROM (n.was_near, {_WAS})
"""
_OF_MEDIA = ("locators", "cluster_id", "present", "kept", "dropped_by")
_STATE_OF_MEDIA = ", ".join(f"s.{name}" for name in _OF_MEDIA)
_MEDIA_READ = f"""
SELECT m.place, {_STATE_OF_MEDIA}, '{{run}}' AS run_id
FROM changed_media s JOIN (SELECT place, media_id FROM numbered SEMI JOIN fresh_media USING (source_id)) m
  ON m.media_id = s.media_id
WHERE s.is_fresh
"""
_MEDIA_KNOWN = f"""
SELECT s.address AS _rowaddr, {_STATE_OF_MEDIA}, '{{run}}' AS run_id FROM changed_media s WHERE NOT s.is_fresh
"""
_CHANGED_TEXTS = f"""
SELECT n.text_id, n.present, {_KEPT} AS kept, k.dropped_by, n.address
FROM now_texts n LEFT JOIN ({_NOT_SIMPLY_KEPT.format(subject="text")}) k ON k.id = n.text_id
WHERE n.address IS NULL OR (n.present, {_KEPT}, k.dropped_by) IS DISTINCT FROM ({_WAS})
"""
_OF_TEXTS = ("present", "kept", "dropped_by")
_STATE_OF_TEXTS = ", ".join(f"s.{name}" for name in _OF_TEXTS)
_TEXTS_READ = f"""
WITH known AS (
  SELECT text_id, text, language, min(language_from) AS language_from, origin, NULL AS generator
  FROM staged_texts GROUP BY text_id, text, language, origin  -- an id is a digest of the other three
)
SELECT k.*, length(k.text) AS length_chars, {_STATE_OF_TEXTS}, '{{run}}' AS run_id
FROM known k JOIN (SELECT * FROM changed_texts WHERE address IS NULL) s USING (text_id)
"""
_TEXTS_KNOWN = f"""
SELECT s.address AS _rowaddr, {_STATE_OF_TEXTS}, '{{run}}' AS run_id FROM changed_texts s WHERE s.address IS NOT NULL
"""
_PAIR_STATE = f"""
SELECT n.pair_id, n.media_id, n.text_id, n.role, n.present, {_KEPT} AS kept, k.dropped_by, n.address,
       (n.role, n.present, {_KEPT}, k.dropped_by) IS DISTINCT FROM (n.was_role, {_WAS}) AS differs
FROM now_pairs n LEFT JOIN ({_NOT_SIMPLY_KEPT.format(subject="pair")}) k ON k.id = n.pair_id
"""
_PAIRS = "SELECT *, '{run}' AS run_id FROM pair_state WHERE differs"
# Of the places a medium was found at, the first speaks for it; the others were merged into it.
_THINGS = """
SELECT source_id, source, locator, media_id IS NULL AS is_text, coalesce(media_id, text_ids[1], '') AS thing
FROM now_sources WHERE present AND status = 'ok'
"""
_MERGED = """
SELECT source_id FROM crowded QUALIFY row_number() OVER (PARTITION BY is_text, thing ORDER BY source, locator) > 1
"""
_OUTCOMES = f"""
SELECT *, is_reread OR (outcome, reason, present) IS DISTINCT FROM (was_outcome, was_reason, was_present) AS differs FROM (
SELECT r.source_id, r.source, r.locator, r.fingerprint, r.media_id, r.text_ids, r.status, r.present, r.address, r.is_reread,
  r.was_outcome, r.was_reason, r.was_present,
  CASE WHEN NOT r.present THEN 'removed' WHEN r.status = 'quarantined' THEN 'quarantined'
       WHEN d.source_id IS NOT NULL THEN 'merged' WHEN coalesce(m.kept, t.kept, true) THEN 'kept' ELSE 'filtered' END AS outcome,
  CASE WHEN NOT r.present THEN NULL WHEN r.status = 'quarantined' THEN r.quarantine_reason
       WHEN d.source_id IS NOT NULL THEN 'exact-duplicate' WHEN NOT coalesce(m.kept, t.kept, true)
       THEN coalesce(m.dropped_by, t.dropped_by) END AS reason
FROM now_sources r LEFT JOIN merged_sources d USING (source_id)
LEFT JOIN ({DROPPED.format(subject="media")}) m ON m.id = r.media_id
LEFT JOIN ({DROPPED.format(subject="text")}) t ON r.media_id IS NULL AND t.id = r.text_ids[1])
"""
_SOURCES = "SELECT *, '{run}' AS run_id FROM outcomes WHERE differs"
# A refusal stays on record; it is active while the same item is still refused for it.
_QUARANTINE = """
SELECT * REPLACE ('{run}' AS run_id) FROM staged_quarantine
UNION ALL
SELECT b.* EXCLUDE (row_digest) REPLACE (false AS active, '{run}' AS run_id)
FROM now_sources n RIGHT JOIN (SELECT * FROM base_quarantine WHERE active) b USING (source_id)
WHERE b.quarantine_id NOT IN (SELECT quarantine_id FROM staged_quarantine)
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
# One join a statement where much stands on the right: what several joins of one statement hold, they cannot all spill.
_HELD = {
    "changed_media": _CHANGED_MEDIA,
    "changed_texts": _CHANGED_TEXTS,
    "pair_state": _PAIR_STATE,
    "merged_sources": _MERGED,
    "outcomes": _OUTCOMES,  # what stands on the right is what was dropped or merged alone
}
# Where the rows lie that are replaced, as the merged state says; media that were read are compared with what is there.
_REPLACED = {
    MEDIA.name: "changed_media WHERE NOT is_fresh",
    TEXTS.name: "changed_texts WHERE address IS NOT NULL",
    PAIRS.name: "pair_state WHERE differs AND address IS NOT NULL",
    SOURCES.name: "outcomes WHERE differs AND address IS NOT NULL",
}


@task(cache_policy=NO_CACHE, **RETRY)
def commit(job: Job, decided: Decided, embedded: Embedded | None, writer: Writer) -> Snapshot:
    """Write what changed, name it in one snapshot, move the tag if it is good enough, and record the run."""
    run = job.run
    with job.ledger.step("publish") as step, decided_bench(run, decided) as bench:
        bench.add_base(QUARANTINE, *SAID)
        said = {**decided.further, DECISIONS.name: decided.decisions}
        for spec in SAID:
            bench.add_staged(f"staged_{spec.name}", said.get(spec.name, ()), spec.schema)
        bench.add_staged("staged_verdicts", decided.people, VERDICTS.schema)
        with bench.as_written():
            bench.hold_repeated("crowded", _THINGS, "is_text", "thing")
            for name, sql in _HELD.items():
                bench.hold(name, sql)
        tables = [(PAIRS, _PAIRS), (SOURCES, _SOURCES), (QUARANTINE, _QUARANTINE)]
        if run.judges:
            # what a medium found twice, or a killed run, has scored twice counts once
            _upsert(run, writer, step, SCORES, decided.scores, repeats=True)
            for spec in SAID:
                if said.get(spec.name) or not _is_empty(run, spec):
                    tables.append((spec, _SAID.format(table=spec.name, key=spec.key)))
                else:  # nothing is said, and nothing was
                    step.count(f"{spec.name} added", 0)
        if decided.people:
            tables.append((VERDICTS, "SELECT * FROM staged_verdicts"))
        _upsert(run, writer, step, MEDIA, _staged_media(run, bench), replaced=_replaced(bench, MEDIA))
        _upsert(run, writer, step, TEXTS, _staged_texts(run, bench), replaced=_replaced(bench, TEXTS))
        for spec, sql in tables:
            with bench.as_written():
                staged = bench.stage_rows(sql.format(run=run.run_id), spec, "publish", f"{spec.name}.arrow")
            _upsert(run, writer, step, spec, [staged], replaced=_replaced(bench, spec))
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


def _staged_media(run: Run, bench: Workbench) -> list[str]:
    """Stage what is new, and rows of the snapshot whose state differs now, thumbnails included."""
    facts = [name for name in MEDIA.schema.names if name not in {*_OF_MEDIA, "run_id"}]
    read, known = (sql.format(run=run.run_id) for sql in (_MEDIA_READ, _MEDIA_KNOWN))
    named = {
        "read": bench.chosen_of_staged(
            "staged_media", facts, read, ["source_id", "media_id"], size=BATCH_ROWS
        ),
        "known": bench.chosen(MEDIA, facts, known, size=BATCH_ROWS),
    }
    with bench.as_written():
        return [
            bench.stage_tables(tables, MEDIA, "publish", f"media-{name}.arrow")
            for name, tables in named.items()
        ]


def _staged_texts(run: Run, bench: Workbench) -> list[str]:
    """Stage what is new, and rows of the snapshot whose state differs now."""
    facts = [name for name in TEXTS.schema.names if name not in {*_OF_TEXTS, "run_id"}]
    read, known = (sql.format(run=run.run_id) for sql in (_TEXTS_READ, _TEXTS_KNOWN))
    with bench.as_written():
        return [
            bench.stage_rows(read, TEXTS, "publish", "texts-read.arrow"),
            bench.stage_tables(
                bench.chosen(TEXTS, facts, known, size=KEY_ROWS), TEXTS, "publish", "texts-known.arrow"
            ),
        ]


def _replaced(bench: Workbench, spec: TableSpec) -> NDArray[np.uint64] | None:
    """Return where the rows lie that what is staged of a table replaces, ascending; None where that is to be found out."""
    if spec.name not in _REPLACED:
        return None
    found = bench.mapped(f"SELECT address FROM {_REPLACED[spec.name]}")["address"]
    replaced, done = empty_on_disk(len(found), np.uint64), 0
    for chunk in found.chunks:
        replaced[done : done + len(chunk)] = chunk.to_numpy()
        done += len(chunk)
    replaced.sort()
    return replaced


def _upsert(
    run: Run,
    writer: Writer,
    step: Step,
    spec: TableSpec,
    staged: Sequence[str],
    *,
    repeats: bool = False,
    replaced: NDArray[np.uint64] | None = None,
) -> None:
    step.written_bytes += sum(map(run.staging.size_bytes, staged))
    rows_of = run.staging.dataset(staged, spec.stored)
    known = None
    if replaced is not None:  # what is new of the other tables the snapshot lacks for sure
        rows_known = len(replaced) if spec is MEDIA else rows_of.count_rows()
        known = Known(run.base.snapshot_id if run.base else "", rows_known, replaced)
    # a source that was read and found equal is known by its new time, size and settings: not to be read again by every run
    done = writer.upsert(spec, rows_of, repeats=repeats, stamps=spec is SOURCES, known=known)
    run.staging.drop("publish")  # staged anew should the commit be tried again; a table is large
    step.count(f"{spec.name} added", done.added)
    step.count(f"{spec.name} replaced", done.replaced)


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
        sql = "SELECT kept, dropped_by, count(*) FROM pair_state WHERE present GROUP BY ALL ORDER BY ALL"
        for kept, rule, n in bench.rows(sql):
            step.count("kept" if kept is not False else f"filtered: {rule}", int(n))
            if kept is False:
                step.count("filtered", int(n))
