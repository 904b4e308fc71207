"""Refuse what is only wrong in the mass, rank written texts beside the raw ones for each use, and commit."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key, params_digest
from schemas.recipes import CaptionRecipe
from schemas.tables import (
    CAPTIONS,
    CONSENSUS,
    DECISIONS,
    DIVISIONS,
    MEDIA,
    PAIRS,
    REWRITES,
    SCORES,
    SERVED,
    TEXTS,
    VERDICTS,
    TableSpec,
    embeddings,
)
from storage import rows
from storage.lake import Writer
from storage.versions import Snapshot
from storage.workbench import Workbench, workbench
from tasks.assessors import ASSESSORS
from tasks.assessors.contract import Drafts
from tasks.caption import Asked
from tasks.catalog import build
from tasks.decide import OF_CAPTIONS, decision
from tasks.publish import record
from tasks.run import RETRY, Job
from tasks.shards.caption import CaptionRun

RULE = f"{OF_CAPTIONS}refused"  # what `dropped_by` says of a refused text
POSITION = 1_000_000  # of that rule: behind every rule of a curation


@task(cache_policy=NO_CACHE, **RETRY)
def commit(job: Job, asked: Asked, writer: Writer) -> Snapshot:
    """Refuse what is only wrong in the mass, rank what is left beside the raw texts, and write it all as one snapshot."""
    run = asked.run
    if run.base is None or run.encoder is None:
        raise ValueError("captions need a snapshot and an encoder")
    with job.ledger.step("publish") as step, workbench(run.lake, run.base, run.staging) as bench:
        bench.add_base(MEDIA, TEXTS, PAIRS, SCORES, DECISIONS, VERDICTS, SERVED, DIVISIONS)
        bench.add_staged("written", _paths(asked, "captions"), CAPTIONS.schema)
        bench.add_staged("staged_scores", _paths(asked, "scores"), SCORES.stored)
        bench.add_staged("staged_rewrites", _paths(asked, "rewrites"), REWRITES.schema)
        bench.con.register("mass", _refused_in_the_mass(run, bench))
        bench.execute(_FINAL)
        bench.con.register("pair_ids", _pair_ids(bench))
        bench.execute(_STATE.format(rule=RULE))
        bench.con.register("uses", _uses(run.recipe))
        bench.execute(_SERVED_VIEW.format(consensus=CONSENSUS))
        step.count("accepted", _count(bench, "final WHERE status = 'accepted'"))
        step.count("refused", _count(bench, "final WHERE status = 'refused'"))
        tables: list[tuple[TableSpec, str]] = [
            (CAPTIONS, _CAPTIONS), (TEXTS, _TEXTS), (PAIRS, _PAIRS), (SCORES, _SCORES), (REWRITES, _REWRITES),
            (SERVED, _SERVED),
        ]  # fmt: skip
        for spec, sql in tables:
            path = bench.stage_rows(sql.format(run=run.run_id), spec, "publish", f"{spec.name}.arrow")
            done = writer.upsert(spec, run.staging.dataset([path], spec.stored))
            step.count(f"{spec.name} added", done.added)
            step.count(f"{spec.name} replaced", done.replaced)
        said = _decisions(run, bench)
        path = run.staging.write(rows.with_digest(said, DECISIONS), "publish", "decisions.arrow")
        writer.upsert(DECISIONS, run.staging.dataset([path], DECISIONS.stored))
        spec = embeddings(run.encoder.table, run.encoder.dim)
        fresh = _each_once(run, asked, spec)
        writer.upsert(spec, run.staging.dataset([fresh], spec.stored))
    # The recipe of the curation still holds: its next run has nothing new to do.
    snapshot = writer.commit(tag=run.recipe.tag, recipe_digest=run.base.recipe_digest, run_id=run.run_id)
    record(replace(job, run=run), snapshot)
    run.staging.clear()
    return snapshot


# A draft that the mass speaks against is refused; all others stay as the shards left them.
_FINAL = """
CREATE TEMP VIEW final AS
SELECT w.* REPLACE (CASE WHEN m.caption_id IS NULL THEN w.status ELSE 'refused' END AS status,
                    coalesce(m.reason, w.reason) AS reason)
FROM written w LEFT JOIN mass m USING (caption_id)
"""
# Every synthetic text of a medium, old and new, and whether it is kept: people decide first.
_STATE = """
CREATE TEMP VIEW state AS
WITH fresh AS (
  SELECT media_id, text_id, arg_min(text, caption_id) AS text, arg_min(language, caption_id) AS language,
         arg_min(generator, caption_id) AS generator, bool_or(status = 'accepted') AS accepted,
         arg_min(scores, caption_id) AS scores
  FROM final WHERE text_id IS NOT NULL GROUP BY 1, 2
)
SELECT f.*, i.pair_id, coalesce(v.verdict = 'keep', f.accepted) AS kept,
       CASE WHEN v.verdict = 'keep' THEN NULL WHEN v.verdict = 'drop' THEN 'person'
            WHEN NOT f.accepted THEN '{rule}' END AS dropped_by
FROM fresh f LEFT JOIN pair_ids i USING (media_id, text_id)
LEFT JOIN (SELECT subject_id, verdict FROM base_verdicts WHERE active AND subject = 'pair') v ON v.subject_id = i.pair_id
"""
_CAPTIONS = "SELECT * REPLACE ('{run}' AS run_id) FROM final"
_TEXTS = """
SELECT DISTINCT ON (text_id) text_id, text, language, 'declared' AS language_from, 'synthetic' AS origin, generator,
       length(text) AS length_chars, true AS present, true AS kept, NULL::VARCHAR AS dropped_by, '{run}' AS run_id
FROM state ANTI JOIN (SELECT text_id FROM base_texts WHERE present) b USING (text_id) ORDER BY text_id, generator
"""
_PAIRS = """
SELECT pair_id, media_id, text_id, 'synthetic' AS role, true AS present, kept, dropped_by, '{run}' AS run_id FROM state
"""
_SCORES = "SELECT DISTINCT ON (score_id) * EXCLUDE (row_digest) FROM staged_scores ORDER BY score_id"
_REWRITES = """
SELECT DISTINCT ON (rewrite_id) r.* REPLACE ('{run}' AS run_id) FROM staged_rewrites r
SEMI JOIN (SELECT media_id, text_id FROM state WHERE kept) s USING (media_id, text_id) ORDER BY rewrite_id
"""
# A raw text's score is what the study of correspondence says of its pair, 1 where nothing was said; a synthetic
# one's is the mean of what its assessors said. Preferred origins come first, then scores, then ids.
_SERVED_VIEW = """
CREATE TEMP VIEW candidates AS
WITH study AS (
  SELECT s.subject_id, s.value FROM base_scores s JOIN base_divisions d
  ON d.active AND d.separable AND s.method = '{consensus}' AND s.inputs = d.rule_digest WHERE s.subject = 'pair'
), assessed AS (
  SELECT subject_id, avg(value) AS value FROM (
    SELECT subject_id, method, value FROM staged_scores UNION ALL
    SELECT subject_id, method, value FROM base_scores b
    ANTI JOIN (SELECT score_id FROM staged_scores) s USING (score_id)
  ) WHERE method LIKE 'caption: %' GROUP BY 1
)
SELECT p.media_id, p.text_id, t.origin, coalesce(y.value, a.value, 1)::FLOAT AS score
FROM (
  SELECT pair_id, media_id, text_id FROM base_pairs b
  WHERE present AND kept IS NOT FALSE AND pair_id NOT IN (SELECT pair_id FROM pair_ids)
  UNION ALL SELECT pair_id, media_id, text_id FROM state WHERE kept
) p
JOIN (SELECT media_id FROM base_media WHERE present AND kept IS NOT FALSE) m USING (media_id)
JOIN (SELECT text_id, origin FROM base_texts WHERE origin <> 'synthetic' AND kept IS NOT FALSE
      UNION SELECT text_id, 'synthetic' FROM base_texts WHERE origin = 'synthetic'
      UNION SELECT text_id, 'synthetic' FROM state) t USING (text_id)
LEFT JOIN study y ON y.subject_id = p.pair_id AND t.origin <> 'synthetic'
LEFT JOIN assessed a ON a.subject_id = p.pair_id AND t.origin = 'synthetic'
"""
_SERVED = """
WITH ranked AS (
  SELECT u.name AS use, c.*, u.most,
         row_number() OVER (PARTITION BY u.name, c.media_id ORDER BY
           CASE u.prefer WHEN 'best' THEN 0 WHEN 'raw' THEN (c.origin = 'synthetic')::INT ELSE (c.origin <> 'synthetic')::INT END,
           c.score DESC, c.text_id) AS rank
  FROM candidates c CROSS JOIN uses u
), now AS (SELECT * FROM ranked WHERE rank <= most)
SELECT md5(media_id || ' ' || use || ' ' || text_id) AS served_id, media_id, text_id, use, rank::INT AS rank, score,
       origin, true AS active, '{run}' AS run_id
FROM now
UNION ALL
SELECT b.* EXCLUDE (row_digest) REPLACE (false AS active, '{run}' AS run_id) FROM base_served b
ANTI JOIN (SELECT md5(media_id || ' ' || use || ' ' || text_id) AS served_id FROM now) n USING (served_id) WHERE b.active
"""


def _paths(asked: Asked, part: str) -> list[str]:
    staging = asked.run.staging
    return [
        staging.path("captioned", part, f"{name}.arrow")
        for name in asked.names
        if staging.exists("captioned", part, f"{name}.arrow")
    ]


def _refused_in_the_mass(run: CaptionRun, bench: Workbench) -> pa.Table:
    """Return the accepted drafts that a gate over all texts refuses, each with its reason."""
    found: dict[str, str] = {}
    gates = [(gate, build(ASSESSORS, gate.method)) for gate in run.recipe.gates]
    gates = [(gate, assessor) for gate, assessor in gates if assessor.scope == "table"]
    if gates:
        accepted = bench.table(
            "SELECT caption_id, text, generator, language FROM written WHERE status = 'accepted' ORDER BY 1"
        )
        n, dim = len(accepted), run.encoder.dim if run.encoder else 0
        texts = accepted["text"].to_pylist()
        nothing: list[list[str]] = [[] for _ in texts]
        drafts = Drafts(
            texts=texts,
            phrases=[[text] for text in texts],
            media_vec=np.zeros((n, dim), np.float32),
            gallery_vec=np.zeros((1, dim), np.float32),
            own=np.zeros(n, np.int64),
            encode=lambda said: np.zeros((len(said), dim), np.float32),
            negatives=nothing,
            evidence=[[] for _ in texts],
            generator=accepted["generator"].to_pylist(),
            raw=nothing,
            language=accepted["language"].to_pylist(),
        )
        ids = accepted["caption_id"].to_pylist()
        for gate, assessor in gates:
            for caption, score in zip(ids, assessor(drafts).score.tolist(), strict=True):
                if score < gate.at_least:
                    found.setdefault(caption, f"{gate.method.name} is {score:.2f}, under {gate.at_least:g}")
    return pa.table(
        {
            "caption_id": pa.array(list(found), pa.string()),
            "reason": pa.array(list(found.values()), pa.string()),
        }
    )


def _pair_ids(bench: Workbench) -> pa.Table:
    both = bench.table("SELECT DISTINCT media_id, text_id FROM final WHERE text_id IS NOT NULL ORDER BY ALL")
    ids = [key(*pair) for pair in zip(both["media_id"].to_pylist(), both["text_id"].to_pylist(), strict=True)]
    return both.append_column("pair_id", pa.array(ids, pa.string()))


def _uses(recipe: CaptionRecipe) -> pa.Table:
    rows_of = [
        {"name": name, "prefer": use.prefer, "most": use.most} for name, use in sorted(recipe.serve.items())
    ]
    schema = pa.schema([("name", pa.string()), ("prefer", pa.string()), ("most", pa.int64())])
    return pa.Table.from_pylist(rows_of, schema=schema)


def _decisions(run: CaptionRun, bench: Workbench) -> pa.Table:
    """Return a row per refused text, and those of texts that are no longer refused, withdrawn."""
    digest = params_digest({"gates": [gate.model_dump(mode="json") for gate in run.recipe.gates]})
    refused = bench.table(
        "SELECT i.pair_id, arg_min(f.generator, f.caption_id) AS generator, arg_min(f.reason, f.caption_id) AS reason "
        "FROM final f JOIN pair_ids i USING (media_id, text_id) "
        "GROUP BY 1 HAVING NOT bool_or(f.status = 'accepted') ORDER BY 1"
    ).to_pylist()
    found = [
        decision(run, "drop", "pair", row["pair_id"], RULE, digest, digest, POSITION)
        | {"method": row["generator"], "value": None, "threshold": row["reason"]}
        for row in refused
    ]
    now = {row["decision_id"] for row in found}
    before = bench.table(
        f"SELECT * EXCLUDE (row_digest) FROM base_decisions WHERE active AND rule = '{RULE}' "
        "AND subject_id IN (SELECT pair_id FROM pair_ids)"
    ).to_pylist()
    found += [
        row | {"active": False, "run_id": run.run_id} for row in before if row["decision_id"] not in now
    ]
    return pa.Table.from_pylist(found, schema=DECISIONS.schema)


def _each_once(run: CaptionRun, asked: Asked, spec: TableSpec) -> str:
    """Stage the vectors of new texts, one of each: several shards may have come to the same words."""
    seen: set[str] = set()

    def batches() -> Iterator[pa.RecordBatch]:
        for path in _paths(asked, "vectors"):
            table = run.staging.read(path)
            ids = table["item_id"].to_pylist()
            fresh = [row for row, item in enumerate(ids) if item not in seen]
            seen.update(ids)
            yield from table.take(pa.array(fresh, pa.int64())).combine_chunks().to_batches()

    return run.staging.write_batches(batches(), spec.stored, "publish", "vectors.arrow")


def _count(bench: Workbench, what: str) -> int:
    return int(bench.rows(f"SELECT count(*) FROM {what}")[0][0])
