"""Represent what is kept a second time: binary codes learnt from an encoder's vectors."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key
from schemas.errors import DataError, LakeError
from schemas.ranking import Side
from schemas.represent import CodesRecipe
from storage import checkpoints, tokens
from storage.lake import Lake, Writer
from storage.matrix import Matrix, matrix_of
from storage.search import EncoderTable, encoder_table
from storage.versions import Snapshot
from tasks.catalog import build, method_digest
from tasks.codes import CODERS, Codes, SemiPaired
from tasks.publish import record
from tasks.retrieval.tokens_and_codes import CODES, coder_of, codes_table, digest_of
from tasks.run import RETRY, Job
from tasks.shards.represent import CodesRun

AT_ONCE = 32_768  # vectors that are coded and written in one go
SIDES: tuple[Side, ...] = ("media", "text")


@dataclass(frozen=True)
class Learnt:
    """What makes the rows of a table.

    Args:
        checkpoint: Where it is kept.
        table: The table.
        behind: The table of the vectors it codes; None: it reads the media and texts themselves.
        is_new: It was learnt by this run.
        meta: What it was learnt from.
    """

    checkpoint: str
    table: str
    behind: EncoderTable | None
    is_new: bool
    meta: dict[str, object]


@dataclass(frozen=True)
class Represented:
    """What a run led to.

    Args:
        snapshot: The newest snapshot.
        table: The table.
        checkpoint: What made its rows.
        is_new: That was learnt by this run.
        written: {side: rows added or replaced}.
        meta: What it was learnt from: pairs, media_alone, text_alone ...
    """

    snapshot: Snapshot
    table: str
    checkpoint: str
    is_new: bool
    written: dict[str, int]
    meta: dict[str, object] = field(default_factory=dict)


@task(cache_policy=NO_CACHE)
def learn_codes(job: Job) -> Learnt:
    """Learn codes from kept pairs and from what has no partner, and keep them; those learnt before, if they will do.

    Raises:
        DataError: The lake is empty, or has too few pairs to learn from.
        NoSuchTable: It has no vectors of the encoder.
    """
    run, snapshot = job.run, snapshot_of(job)
    if not isinstance(run, CodesRun):
        raise TypeError(f"{run.flow} runs no recipe of codes")
    recipe, entry = run.recipe, encoder_table(run.lake, snapshot, run.recipe.encoder)
    method = build(CODERS, recipe.method)
    table = codes_table(entry.table, method.bits)
    how = method_digest(method)
    known = _known(run.lake, snapshot, entry, table)
    if known is not None and not (known.meta["how"] == how and known.meta["recipe"]["name"] == method.name):
        known = None
    if known is not None and not recipe.relearn:
        return Learnt(known.id, table, entry, False, known.meta)
    with job.ledger.step("learn codes") as step:
        rows, data = _semi_paired(run.lake, snapshot, entry, recipe)
        if known is not None and known.meta["data"] == data:
            return Learnt(known.id, table, entry, False, known.meta)
        step.count("pairs", len(rows))
        fitted = method(rows)
    meta = {
        "kind": CODES, "recipe": recipe.method.model_dump(mode="json"), "snapshot_id": snapshot.snapshot_id,
        "snapshot_digest": snapshot.digest, "seed": recipe.seed, "loss": None, "head": None, "run_id": run.run_id,
        "table": entry.table, "encoder": digest_of(entry), "data": data, "how": how, "bits": method.bits,
        "pairs": len(rows), "media_alone": len(rows.media_only), "text_alone": len(rows.text_only),
    }  # fmt: skip
    return Learnt(checkpoints.save(run.lake, fitted.state(), meta), table, entry, True, meta)


@task(cache_policy=NO_CACHE, **RETRY)
def write_codes(job: Job, learnt: Learnt, writer: Writer) -> Represented:
    """Write the codes of what is kept and has none of this coder yet, and name them in one snapshot."""
    run, snapshot = job.run, snapshot_of(job)
    if learnt.behind is None:
        raise TypeError("codes are made of an encoder's vectors, and none is named")
    codes, entry = Codes.from_state(checkpoints.load(run.lake, learnt.checkpoint).state), learnt.behind
    written: dict[str, int] = dict.fromkeys(SIDES, 0)
    with job.ledger.step("write codes") as step:
        for side in SIDES:
            matrix = matrix_of(run.lake, snapshot, entry.table, side)
            for modality, rows in _wanted(run.lake, snapshot, learnt, entry, matrix):
                done = tokens.write_codes(
                    writer,
                    learnt.table,
                    matrix.ids.take(pa.array(rows)).to_pylist(),
                    codes.code(side, matrix.vectors.values[rows]),
                    side=side,
                    modality=modality,
                    digest=learnt.checkpoint,
                    run_id=run.run_id,
                )
                written[side] += done.added + done.replaced
            step.count(f"{side} written", written[side])
    return Represented(
        committed(job, writer), learnt.table, learnt.checkpoint, learnt.is_new, written, learnt.meta
    )


def snapshot_of(job: Job) -> Snapshot:
    """Return the snapshot a run starts from.

    Raises:
        DataError: The lake is empty.
    """
    if job.run.base is None:
        raise DataError(f"{job.run.lake.uri} is empty: run `xmodal curate RECIPE` first")
    return job.run.base


def committed(job: Job, writer: Writer) -> Snapshot:
    """Name what was written in one snapshot, and record the run."""
    # The recipe of the curation still holds: its next run has nothing new to do.
    snapshot = writer.commit(
        tag=job.run.recipe.tag, recipe_digest=snapshot_of(job).recipe_digest, run_id=job.run.run_id
    )
    record(job, snapshot)
    job.run.staging.clear()
    return snapshot


def _known(lake: Lake, snapshot: Snapshot, entry: EncoderTable, table: str) -> checkpoints.Checkpoint | None:
    """Return the coder of the codes that are there; None without any, or where its file was removed."""
    try:
        return coder_of(lake, snapshot, entry, table)
    except LakeError:
        return None  # it cannot be applied to anything any more: another one is learnt


def _semi_paired(
    lake: Lake, snapshot: Snapshot, entry: EncoderTable, recipe: CodesRecipe
) -> tuple[SemiPaired, str]:
    """Return vectors of kept pairs and of what is kept without a partner, and a digest over whose they are."""
    sides = {side: matrix_of(lake, snapshot, entry.table, side) for side in SIDES}
    usable = {
        side: matrix.kept & _of_encoder(lake, snapshot, entry, matrix) for side, matrix in sides.items()
    }
    pairs = (
        lake.dataset("pairs", snapshot)
        .to_table(columns=["media_id", "text_id"], filter="present AND kept IS NOT false")
        .sort_by([("media_id", "ascending"), ("text_id", "ascending")])
    )
    links = np.stack([_rows_of(sides[side], pairs[f"{side}_id"]) for side in SIDES], axis=1)  # (P, 2)
    links = links[
        (links >= 0).all(axis=1) & np.all([usable[side][links[:, n]] for n, side in enumerate(SIDES)], axis=0)
    ]
    draw = np.random.default_rng(recipe.seed)
    drawn = links[_some(len(links), recipe.pairs, draw)]
    alone = {}
    for n, side in enumerate(SIDES):
        single = usable[side].copy()
        single[links[:, n]] = False
        rows = np.flatnonzero(single)
        rows = rows[
            pc.sort_indices(sides[side].ids.take(pa.array(rows))).to_numpy()
        ]  # the same in every lake
        alone[side] = rows[_some(len(rows), recipe.alone, draw)]
    said = [
        ids
        for n, side in enumerate(SIDES)
        for rows in (drawn[:, n], alone[side])
        for ids in ("", *sides[side].ids.take(pa.array(rows)).to_pylist())
    ]
    media, text = (sides[side].vectors.values for side in SIDES)
    found = SemiPaired(media[drawn[:, 0]], text[drawn[:, 1]], media[alone["media"]], text[alone["text"]])
    return found, key(digest_of(entry), *said)


def _some(count: int, most: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Return which of `count` rows are taken, ascending: all, or `most` of them drawn."""
    return np.arange(count) if count <= most else np.sort(draw.permutation(count)[:most])


def _of_encoder(lake: Lake, snapshot: Snapshot, entry: EncoderTable, matrix: Matrix) -> NDArray[np.bool_]:
    """Return which rows of a matrix are vectors of the encoder as it is now. (N,)."""
    rows = lake.dataset(entry.table, snapshot).to_table(
        columns=["item_id"], filter=f"side = '{matrix.side}' AND encoder_digest = '{digest_of(entry)}'"
    )
    return _among(matrix, rows["item_id"])


def _wanted(
    lake: Lake, snapshot: Snapshot, learnt: Learnt, entry: EncoderTable, matrix: Matrix
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield a modality and rows of it that lack a code of this coder: what is kept, and what had one of another."""
    of_side = f"side = '{matrix.side}'"
    may = matrix.kept & _of_encoder(lake, snapshot, entry, matrix)
    if learnt.table in snapshot.versions:
        there = lake.dataset(learnt.table, snapshot)
        of_coder = f"{of_side} AND coder_digest = '{learnt.checkpoint}'"
        # A dropped item may be kept again: its code shall not be one of an earlier coder then.
        had = _among(matrix, there.to_table(columns=["item_id"], filter=of_side)["item_id"])
        may |= had & _of_encoder(lake, snapshot, entry, matrix)
        may &= ~_among(matrix, there.to_table(columns=["item_id"], filter=of_coder)["item_id"])
    said = lake.dataset(entry.table, snapshot).to_table(columns=["item_id", "modality"], filter=of_side)
    at = pc.index_in(matrix.ids, value_set=said["item_id"].combine_chunks())
    modalities = np.array(said["modality"].take(at).to_pylist(), dtype=np.str_)
    for modality in np.unique(modalities[may]).tolist():
        rows = np.flatnonzero(may & (modalities == modality))
        for start in range(0, len(rows), AT_ONCE):
            yield modality, rows[start : start + AT_ONCE]


def _among(matrix: Matrix, ids: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return which rows of a matrix are one of these items. (N,)."""
    found: NDArray[np.bool_] = pc.is_in(matrix.ids, value_set=ids.combine_chunks()).to_numpy(
        zero_copy_only=False
    )
    return found


def _rows_of(matrix: Matrix, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the rows of ids in a matrix; -1 for those it lacks. (N,)."""
    found = pc.index_in(ids.combine_chunks(), value_set=matrix.ids)
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
