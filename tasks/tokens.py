"""Represent what is kept token by token: heads trained on kept pairs, and what they make of pictures and texts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key
from schemas.errors import DataError
from schemas.tables import MEDIA, PAIRS, TEXTS, tokens
from storage import checkpoints
from storage.lake import Lake, Writer
from storage.versions import Snapshot
from storage.workbench import Workbench, workbench
from tasks.catalog import method_digest
from tasks.embed import TEXTS_PER_PICTURE, TO_EMBED
from tasks.late._token_heads import Lesson
from tasks.represent import SIDES, Learnt, Represented, committed, snapshot_of
from tasks.retrieval.tokens_and_codes import MODALITIES, TOKENS, TOKENS_TABLE, backbones, heads_of
from tasks.run import RETRY, Job, Step
from tasks.shards.represent import TokensRun, stage_heads, token_shard

FEWEST = 2  # pairs that heads can be trained on

_KEPT = f"""
CREATE TEMP VIEW kept_media AS SELECT media_id AS id FROM base_media
WHERE present AND kept IS NOT FALSE AND phash IS NOT NULL AND list_contains({sorted(MODALITIES)}, modality);
CREATE TEMP VIEW kept_text AS SELECT text_id AS id FROM base_texts t WHERE present AND kept IS NOT FALSE AND (
  text_id IN (SELECT p.text_id FROM base_pairs p JOIN kept_media m ON m.id = p.media_id WHERE p.present)
  OR text_id NOT IN (SELECT text_id FROM base_pairs WHERE present)
);
"""
# One pair a medium and one a text: in a batch, whatever is no pair then counts as none.
_PAIRS = """
WITH kept AS (
  SELECT p.media_id, p.text_id, md5(p.media_id || ' ' || p.text_id) AS place FROM base_pairs p
  JOIN kept_media m ON m.id = p.media_id JOIN kept_text t ON t.id = p.text_id
  WHERE p.present AND p.kept IS NOT FALSE
), of_media AS (SELECT * FROM kept QUALIFY row_number() OVER (PARTITION BY media_id ORDER BY place, text_id) = 1)
SELECT media_id, text_id FROM of_media QUALIFY row_number() OVER (PARTITION BY text_id ORDER BY place, media_id) = 1
ORDER BY place, media_id LIMIT {most}
"""
# What was dropped and has tokens of earlier heads gets new ones too: it may be kept again.
_WANTED = {
    "media": """
SELECT m.media_id AS item_id, m.modality, m.thumbnail AS item FROM base_media m
WHERE m.thumbnail IS NOT NULL AND (m.media_id IN (SELECT id FROM kept_media) OR m.media_id IN (SELECT item_id FROM had))
  AND m.media_id NOT IN (SELECT item_id FROM has)
ORDER BY item_id
""",
    "text": """
SELECT t.text_id AS item_id, 'text' AS modality, t.text AS item FROM base_texts t
WHERE (t.text_id IN (SELECT id FROM kept_text) OR t.text_id IN (SELECT item_id FROM had))
  AND t.text_id NOT IN (SELECT item_id FROM has)
ORDER BY length(item) DESC, item_id
""",
}
_CHOSEN = {
    "media": "SELECT media_id AS item_id, modality, thumbnail AS item FROM base_media "
    "SEMI JOIN chosen c ON c.media_id = base_media.media_id ORDER BY item_id",
    "text": "SELECT text_id AS item_id, 'text' AS modality, text AS item FROM base_texts "
    "SEMI JOIN chosen c ON c.text_id = base_texts.text_id ORDER BY item_id",
}


@task(cache_policy=NO_CACHE)
def learn_tokens(job: Job) -> Learnt:
    """Train heads on kept pairs, and keep them; those trained before, if they will do.

    Raises:
        DataError: The lake is empty, or has too few pairs to learn from.
        EncoderError: The weights of the backbones are not installed.
    """
    run, snapshot = _run(job), snapshot_of(job)
    lesson = Lesson(epochs=run.recipe.epochs, seed=run.recipe.seed)
    how, made_of = method_digest(lesson), backbones()
    known = heads_of(run.lake, snapshot, missing_ok=True)
    if known is not None and (known.meta["how"], known.meta["encoder"]) != (how, made_of):
        known = None
    if known is not None and not run.recipe.relearn:
        return Learnt(known.id, TOKENS_TABLE, None, False, known.meta)
    with job.ledger.step("train heads") as step:
        with _bench(run, snapshot) as bench:
            pairs = bench.table(_PAIRS.format(most=run.recipe.pairs))
        data = key(made_of, *pairs["media_id"].to_pylist(), "", *pairs["text_id"].to_pylist())
        same = known if known is not None and known.meta["data"] == data else None
        if same is not None:
            return Learnt(same.id, TOKENS_TABLE, None, False, same.meta)
        if found := _trained(run.lake, how, data):
            return Learnt(found, TOKENS_TABLE, None, True, checkpoints.checkpoints(run.lake)[found])
        if len(pairs) < FEWEST:
            raise DataError(
                f"{len(pairs)} kept pairs of a picture and a text are too few to train heads on: it takes {FEWEST}"
            )
        step.count("pairs", len(pairs))
        heads = lesson(*_features(job, run, snapshot, pairs, step))
    meta = {
        "kind": TOKENS, "recipe": run.recipe.model_dump(mode="json"), "snapshot_id": snapshot.snapshot_id,
        "snapshot_digest": snapshot.digest, "seed": run.recipe.seed, "loss": lesson.compare, "head": None,
        "run_id": run.run_id, "table": TOKENS_TABLE, "encoder": made_of, "data": data, "how": how,
        "pairs": len(pairs),
    }  # fmt: skip
    return Learnt(checkpoints.save(run.lake, heads.state(), meta), TOKENS_TABLE, None, True, meta)


@task(cache_policy=NO_CACHE, **RETRY)
def write_tokens(job: Job, learnt: Learnt, writer: Writer) -> Represented:
    """Make tokens of what is kept and has none by these heads yet, shard by shard, and name them in one snapshot."""
    run, snapshot = _run(job), snapshot_of(job)
    heads = checkpoints.load(run.lake, learnt.checkpoint)
    width = int(heads.state["media_map"].shape[1])
    spec = tokens(learnt.table, width)
    run = replace(run, table=learnt.table, heads=learnt.checkpoint)
    stage_heads(run.staging, run.heads, heads.state)
    written: dict[str, int] = dict.fromkeys(SIDES, 0)
    with job.ledger.step("write tokens") as step:
        for side in SIDES:
            with _bench(run, snapshot) as bench:
                bench.add_base(spec)
                of_side = f"SELECT item_id FROM base_{spec.name} WHERE side = '{side}'"
                bench.execute(f"CREATE TEMP VIEW had AS {of_side}")
                bench.execute(f"CREATE TEMP VIEW has AS {of_side} AND encoder_digest = '{run.heads}'")
                names = _sharded(job, run, bench, step, side, _WANTED[side], "tokened")
            paths = tuple(run.staging.path("tokened", f"{name}.arrow") for name in names)
            if paths:
                done = writer.upsert(spec, run.staging.dataset(paths, spec.stored))
                written[side] = done.added + done.replaced
            step.count(f"{side} written", written[side])
    return Represented(
        committed(job, writer), learnt.table, learnt.checkpoint, learnt.is_new, written, learnt.meta
    )


def _run(job: Job) -> TokensRun:
    if not isinstance(job.run, TokensRun):
        raise TypeError(f"{job.run.flow} runs no recipe of tokens")
    return job.run


@contextmanager
def _bench(run: TokensRun, snapshot: Snapshot) -> Iterator[Workbench]:
    """Open a workbench over the snapshot that knows what is kept."""
    with workbench(run.lake, snapshot, run.staging) as bench:
        bench.add_base(MEDIA, TEXTS, PAIRS)
        for statement in _KEPT.strip().rstrip(";").split(";"):
            bench.execute(statement)
        yield bench


def _trained(lake: Lake, how: str, data: str) -> str | None:
    """Return heads that were trained on the same and never used, as by a run that was killed after its lesson."""
    for one, meta in checkpoints.checkpoints(lake).items():
        if meta.get("kind") == TOKENS and (meta["how"], meta["data"]) == (how, data):
            return one
    return None


def _features(
    job: Job, run: TokensRun, snapshot: Snapshot, pairs: pa.Table, step: Step
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what the backbones say of pairs: (P, 9, 1280) of media and (m, 384) of each text, in their order."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for side in SIDES:
        with _bench(run, snapshot) as bench:
            bench.con.register("chosen", pairs)
            names = _sharded(job, run, bench, step, side, _CHOSEN[side], "features")
        found[side] = {}
        for name in names:
            for row in run.staging.read(run.staging.path("features", f"{name}.arrow")).to_pylist():
                values = np.frombuffer(row["tokens"], np.float32).reshape(-1, row["width"])
                found[side][row["item_id"]] = values
    media = np.stack([found["media"].pop(one) for one in pairs["media_id"].to_pylist()])
    return media, [found["text"][one] for one in pairs["text_id"].to_pylist()]


def _sharded(
    job: Job, run: TokensRun, bench: Workbench, step: Step, side: str, sql: str, to: str
) -> list[str]:
    """Stage the items a query gives, have workers take their tokens, and return the names of the shards."""
    size = run.recipe.shard_rows * (TEXTS_PER_PICTURE if side == "text" else 1)
    names = []
    for number, table in enumerate(bench.tables(sql, size=size)):
        names.append(f"{run.heads[:12]}-{side}-{number:05d}-{key(*table['item_id'].to_pylist())[:12]}")
        run.staging.write(table.cast(TO_EMBED[side]).combine_chunks(), "to-token", f"{names[-1]}.arrow")
    todo = [(side, name) for name in names if not run.staging.exists(to, f"{name}.arrow")]
    for report in job.workers.map(partial(token_shard, run), todo, label=f"tokens of {side}", gpu=True):
        step.add(report)
    return names
