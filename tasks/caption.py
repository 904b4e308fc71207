"""Write texts about media that lack one: plan, have them written and judged, rank them beside the raw ones, commit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key, params_digest
from schemas.errors import DataError
from schemas.recipes import CaptionRecipe
from schemas.tables import (
    CAPTIONS,
    DECISIONS,
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
from tasks.captioners import CAPTIONERS
from tasks.catalog import build
from tasks.decide import OF_CAPTIONS, decision
from tasks.publish import record
from tasks.run import RETRY, Job
from tasks.shards.caption import (
    CORPUS_MEDIA,
    CORPUS_PAIRS,
    CORPUS_TEXTS,
    LEARNED,
    TO_CAPTION,
    CaptionRun,
    caption_shard,
    read_corpus,
)

RULE = f"{OF_CAPTIONS}refused"  # what `dropped_by` says of a refused text
POSITION = 1_000_000  # of that rule: behind every rule of a curation
MOST_PAIRS = 20_000  # pairs that learners see: drawn by the digest of their ids from larger corpora

_VECTORS = "SELECT item_id, vector FROM base_{table} WHERE encoder_digest = '{digest}'"
# Raw texts of each medium: whether it is kept, and whether the recipe lets captioners read it.
_RAW = """
CREATE TEMP VIEW raw AS
SELECT p.media_id, p.pair_id, t.text_id, t.text, t.language, p.role, p.kept,
       p.role IN ({reads}) AS read,
       t.origin = 'raw' AND p.role IN ({usable})
         AND (t.language_from <> 'declared' OR t.language IN ('und', {languages})) AS usable
FROM base_pairs p JOIN base_texts t USING (text_id)
WHERE p.present AND t.origin <> 'synthetic'
"""
_SAID = """
SELECT media_id, list({{'text_id': text_id, 'text': text, 'language': language, 'role': role, 'kept': kept IS NOT FALSE,
                       'read': read}} ORDER BY text_id) AS said
FROM raw WHERE {which} GROUP BY 1
"""
_WANTED = """
SELECT m.media_id FROM base_media m
WHERE m.present AND m.kept IS NOT FALSE AND m.phash IS NOT NULL AND list_contains({modalities}, m.modality)
  AND ({everyone} OR m.media_id NOT IN (SELECT media_id FROM raw WHERE usable AND kept IS NOT FALSE))
ORDER BY 1 {limit}
"""
_SHARDS = """
SELECT m.media_id, m.modality, m.thumbnail, v.vector, to_json(coalesce(s.said, [])) AS texts
FROM base_media m SEMI JOIN todo w USING (media_id)
LEFT JOIN vectors v ON v.item_id = m.media_id LEFT JOIN said s USING (media_id)
ORDER BY m.media_id
"""
# What learners see: kept raw texts of usable roles that no study of correspondence doubts, with vectors on both sides.
_TRUSTED = """
SELECT r.media_id, r.text_id, r.text, r.language, r.role FROM raw r
JOIN base_media m USING (media_id)
SEMI JOIN vectors a ON a.item_id = r.media_id SEMI JOIN vectors b ON b.item_id = r.text_id
ANTI JOIN (SELECT subject_id FROM base_decisions WHERE active AND rule LIKE 'correspondence: %') d ON d.subject_id = r.pair_id
WHERE r.usable AND r.kept IS NOT FALSE AND m.present AND m.kept IS NOT FALSE
ORDER BY md5(r.pair_id) LIMIT {most}
"""


@dataclass(frozen=True)
class Asked:
    """Which shards of media are to be written about.

    Args:
        run: The run, told what learners learn from.
        names: Staged shards.
        media: How many media they hold.
    """

    run: CaptionRun
    names: tuple[str, ...]
    media: int


@task(cache_policy=NO_CACHE)
def plan(job: Job) -> Asked:
    """Stage the media that lack what the recipe's captioners would say, and the pairs that learners may see.

    Raises:
        DataError: The snapshot has no vectors of the recipe's encoder.
    """
    run = _caption_run(job)
    recipe = run.recipe
    with job.ledger.step("plan") as step, _bench(run) as bench:
        modalities = sorted(
            frozenset.intersection(*(CAPTIONERS[ref.name].modalities for ref in _known(recipe)))
        )
        wanted = bench.table(
            _WANTED.format(
                modalities=modalities,
                everyone="true" if recipe.of == "all" else "false",
                limit=f"LIMIT {recipe.limit}" if recipe.limit else "",
            )
        )
        learned_from = (
            _stage_corpus(run, bench) if any(CAPTIONERS[r.name].learns for r in recipe.captioners) else ""
        )
        run = replace(run, learned_from=learned_from)
        _stage_gallery(run, bench)
        bench.con.register("todo", _unwritten(run, bench, wanted))
        names = []
        for number, table in enumerate(bench.tables(_SHARDS, size=recipe.shard_rows)):
            inputs = [
                _inputs(run, *row)
                for row in zip(table["media_id"].to_pylist(), table["texts"].to_pylist(), strict=True)
            ]
            table = table.append_column("inputs", pa.array(inputs, pa.string()))
            names.append(f"{number:05d}-{key(*table['media_id'].to_pylist())[:12]}")
            run.staging.write(
                table.select(TO_CAPTION.names).cast(TO_CAPTION).combine_chunks(),
                "to-caption",
                f"{names[-1]}.arrow",
            )
            step.items += len(table)
        step.count("media without a usable text" if recipe.of == "missing" else "media", len(wanted))
        step.count("to write about", step.items)
    return Asked(run, tuple(names), step.items)


@task(cache_policy=NO_CACHE)
def learn(job: Job, asked: Asked) -> Asked:
    """Train the recipe's learners whose state can be handed to workers; the others learn where they write."""
    run = asked.run
    with job.ledger.step("learn") as step:
        for number, ref in enumerate(run.recipe.captioners):
            captioner = build(CAPTIONERS, ref)
            done = run.staging.exists(f"learned-{number}.arrow")
            if not asked.names or not captioner.learns or done or not hasattr(captioner, "with_state"):
                continue
            learned: Any = captioner.learn(read_corpus(run))
            table = pa.Table.from_pylist(
                [
                    {
                        "name": name,
                        "dtype": array.dtype.str,
                        "shape": json.dumps(array.shape),
                        "data": array.tobytes(),
                    }
                    for name, array in sorted(learned.state().items())
                ],
                schema=LEARNED,
            )
            run.staging.write(table, f"learned-{number}.arrow")
            step.count(ref.name)
    return asked


@task(cache_policy=NO_CACHE)
def describe(job: Job, asked: Asked) -> Asked:
    """Have every shard written about, judged, and rewritten where it was refused."""
    run = asked.run
    with job.ledger.step("write") as step:
        todo = [
            name for name in asked.names if not run.staging.exists("captioned", "captions", f"{name}.arrow")
        ]
        for report in job.workers.map(partial(caption_shard, run), todo, label="write", gpu=True):
            step.add(report)
    return asked


@task(cache_policy=NO_CACHE, **RETRY)
def commit(job: Job, asked: Asked, writer: Writer) -> Snapshot:
    """Refuse what is only wrong in the mass, rank what is left beside the raw texts, and write it all as one snapshot."""
    run = asked.run
    if run.base is None or run.encoder is None:
        raise ValueError("captions need a snapshot and an encoder")
    with job.ledger.step("publish") as step, _bench(run) as bench:
        bench.add_staged("written", _paths(asked, "captions"), CAPTIONS.schema)
        bench.add_staged("staged_scores", _paths(asked, "scores"), SCORES.stored)
        bench.add_staged("staged_rewrites", _paths(asked, "rewrites"), REWRITES.schema)
        bench.con.register("mass", _refused_in_the_mass(run, bench))
        bench.execute(_FINAL)
        bench.con.register("pair_ids", _pair_ids(bench))
        bench.execute(_STATE.format(rule=RULE))
        bench.con.register("uses", _uses(run.recipe))
        bench.execute(_SERVED_VIEW)
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
  ON d.active AND d.separable AND s.method = d.scorer AND s.inputs = d.rule_digest WHERE s.subject = 'pair'
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


def _caption_run(job: Job) -> CaptionRun:
    if not isinstance(job.run, CaptionRun):
        raise TypeError(f"{job.run.flow} runs no recipe of captions")
    return job.run


def _known(recipe: CaptionRecipe) -> tuple[Any, ...]:
    """Return the recipe's captioners, having built each once: a wrong name or parameter is said before work starts."""
    for ref in recipe.captioners:
        build(CAPTIONERS, ref)
    for gate in recipe.gates:
        build(ASSESSORS, gate.method)
    return recipe.captioners


@contextmanager
def _bench(run: CaptionRun) -> Iterator[Workbench]:
    """Open a workbench over the snapshot with `vectors` and `raw`."""
    if run.base is None:
        raise DataError("the lake is empty: there is nothing to write about; run `xmodal curate` first")
    if run.encoder is None or run.encoder.table not in run.base.versions:
        known = ", ".join(name for name in run.base.versions if name.startswith("embeddings_")) or "none"
        raise DataError(
            f"{run.base.snapshot_id} has no vectors of {run.recipe.encoder.name!r} to judge captions by; it has {known}"
        )
    recipe = run.recipe
    with workbench(run.lake, run.base, run.staging) as bench:
        bench.add_base(MEDIA, TEXTS, PAIRS, SCORES, DECISIONS, VERDICTS, CAPTIONS, SERVED)
        from schemas.tables import DIVISIONS

        bench.add_base(DIVISIONS, embeddings(run.encoder.table, run.encoder.dim))
        bench.execute(
            "CREATE TEMP VIEW vectors AS "
            + _VECTORS.format(table=run.encoder.table, digest=run.encoder.digest)
        )
        bench.execute(
            _RAW.format(
                reads=_listed(recipe.reads),
                usable=_listed(recipe.usable),
                languages=_listed(recipe.languages),
            )
        )
        bench.execute("CREATE TEMP VIEW said AS " + _SAID.format(which="read OR kept IS NOT FALSE"))
        yield bench


def _unwritten(run: CaptionRun, bench: Workbench, wanted: pa.Table) -> pa.Table:
    """Return the wanted media that some captioner has not written about as they are now."""
    bench.con.register("wanted", wanted)
    said = bench.table(
        "SELECT w.media_id, to_json(coalesce(s.said, [])) AS texts FROM wanted w LEFT JOIN said s USING (media_id)"
    )
    done = {
        (row["media_id"], row["generator"], row["params_digest"], row["version"], row["inputs"])
        for row in bench.table(
            "SELECT media_id, generator, params_digest, version, inputs FROM base_captions WHERE active"
        ).to_pylist()
    }
    by = [
        (ref.name, params_digest(ref.model_dump(mode="json")), CAPTIONERS[ref.name].version)
        for ref in run.recipe.captioners
    ]
    todo = [
        media_id
        for media_id, texts in zip(said["media_id"].to_pylist(), said["texts"].to_pylist(), strict=True)
        if any((media_id, *who, _inputs(run, media_id, texts)) not in done for who in by)
    ]
    return pa.table({"media_id": pa.array(sorted(todo), pa.string())})


def _inputs(run: CaptionRun, media_id: str, texts: str) -> str:
    """Digest what a draft is made and judged from, but for what learners learnt: a growing corpus rewrites nothing."""
    judged = {
        name: run.recipe.model_dump(mode="json")[name]
        for name in ("gates", "languages", "rewriters", "reads")
    }
    return key(run.encoder.digest if run.encoder else "", media_id, texts, params_digest(judged))


def _stage_corpus(run: CaptionRun, bench: Workbench) -> str:
    """Stage the pairs that learners may see and return their digest."""
    trusted = bench.table(_TRUSTED.format(most=MOST_PAIRS))
    bench.con.register("trusted", trusted)
    media = bench.table(
        "SELECT item_id AS media_id, vector FROM vectors SEMI JOIN trusted t ON t.media_id = item_id ORDER BY 1"
    )
    texts = bench.table(
        "SELECT DISTINCT ON (text_id) text_id, t.text, t.language, t.role, v.vector FROM trusted t "
        "JOIN vectors v ON v.item_id = t.text_id ORDER BY text_id, t.role"
    )
    row_of = [
        {name: row for row, name in enumerate(table[column].to_pylist())}
        for table, column in ((media, "media_id"), (texts, "text_id"))
    ]
    pairs = sorted(
        {
            (row_of[0][medium], row_of[1][text])
            for medium, text in zip(
                trusted["media_id"].to_pylist(), trusted["text_id"].to_pylist(), strict=True
            )
        }
    )
    numbers = np.array(pairs, np.int64).reshape(-1, 2)
    parts = {
        "media": media.cast(CORPUS_MEDIA),
        "texts": texts.cast(CORPUS_TEXTS),
        "pairs": pa.table([numbers[:, 0], numbers[:, 1]], schema=CORPUS_PAIRS),
    }
    for name, table in parts.items():
        run.staging.write(table.combine_chunks(), "corpus", f"{name}.arrow")
    return key(
        *(
            f"{medium} {text}"
            for medium, text in zip(
                trusted["media_id"].to_pylist(), trusted["text_id"].to_pylist(), strict=True
            )
        )
    )


def _stage_gallery(run: CaptionRun, bench: Workbench) -> None:
    """Stage the media that texts must be told from: drawn by the digest of their ids, so that a larger corpus keeps them."""
    gallery = bench.table(
        "SELECT v.item_id AS media_id, v.vector FROM vectors v JOIN base_media m ON m.media_id = v.item_id "
        f"WHERE m.present AND m.kept IS NOT FALSE ORDER BY md5(v.item_id) LIMIT {run.recipe.near}"
    )
    run.staging.write(gallery.cast(CORPUS_MEDIA).combine_chunks(), "gallery.arrow")


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


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names) or "NULL"
