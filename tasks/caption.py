"""Write texts about media that lack one: plan, learn, have them written and judged. `tasks.serve` ranks and commits."""

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
from schemas.tables import CAPTIONS, DECISIONS, MEDIA, PAIRS, TEXTS, embeddings
from storage.quoting import literals
from storage.workbench import Workbench, workbench
from tasks.assessors import ASSESSORS
from tasks.captioners import CAPTIONERS
from tasks.catalog import build
from tasks.run import Job
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
        bench.add_base(MEDIA, TEXTS, PAIRS, DECISIONS, CAPTIONS)
        bench.add_base(embeddings(run.encoder.table, run.encoder.dim))
        bench.execute(
            "CREATE TEMP VIEW vectors AS "
            + _VECTORS.format(table=run.encoder.table, digest=run.encoder.digest)
        )
        bench.execute(
            _RAW.format(
                reads=literals(recipe.reads),
                usable=literals(recipe.usable),
                languages=literals(recipe.languages),
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
