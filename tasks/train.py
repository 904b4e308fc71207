"""Train a head a side on vectors that a snapshot has, and say how well it does on pairs kept apart."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.recipes import MethodRef, TrainRecipe
from schemas.tables import CONSENSUS, CONTENT
from storage import checkpoints
from storage.lake import Lake
from storage.quoting import literals
from storage.versions import Snapshot
from tasks.catalog import build
from tasks.encoders import ENCODERS
from tasks.encoders.identity import identity
from tasks.gathered import numbers
from tasks.heads import HEADS
from tasks.losses import LOSSES
from tasks.metrics import retrieval
from tasks.remedies import teacher
from tasks.score import matrix
from tasks.training.fit import Schedule, Towers, fit

LEAST = 1e-3  # weight of a pair of P(true) 0: it stays everyone's negative
_NUMBER = 2.0**64

# P(true) where the snapshot's study of correspondence said one.
_PAIRS = """
SELECT p.pair_id, p.media_id, p.text_id, coalesce(m.cluster_id, p.media_id) AS cluster_id, p.kept,
       coalesce(s.value, 1)::FLOAT AS clean, coalesce(v.said, -1)::TINYINT AS verdict
FROM pairs p JOIN media m USING (media_id) JOIN texts t USING (text_id)
LEFT JOIN (SELECT s.subject_id, s.value FROM scores s
           JOIN divisions d ON d.active AND d.separable AND s.method = '{consensus}' AND s.inputs = d.rule_digest
           WHERE s.subject = 'pair') s ON s.subject_id = p.pair_id
LEFT JOIN (SELECT subject_id, CASE verdict WHEN 'keep' THEN 1 ELSE 0 END AS said FROM verdicts
           WHERE active AND subject = 'pair') v ON v.subject_id = p.pair_id
WHERE p.present AND m.kept AND t.kept AND (p.kept OR ({doubted} AND p.dropped_by LIKE 'correspondence%'))
  AND {roles}
ORDER BY p.pair_id
"""
_COLUMNS = {
    "pairs": ["pair_id", "media_id", "text_id", "role", "present", "kept", "dropped_by"],
    "media": ["media_id", "cluster_id", "kept"],
    "texts": ["text_id", "kept"],
    "scores": ["subject", "subject_id", "method", "inputs", "value"],
    "divisions": ["rule_digest", "separable", "active"],
    "verdicts": ["subject", "subject_id", "verdict", "active"],
}


@dataclass(frozen=True)
class Material:
    """What a head is trained and tested on.

    Args:
        snapshot: Where it was read.
        train: Pairs to train on.
        clean: (N,) P(true) of each.
        test: Kept pairs of groups that no training pair belongs to.
    """

    snapshot: Snapshot
    train: PairBatch
    clean: NDArray[np.float32]
    test: PairBatch


@dataclass(frozen=True)
class Trained:
    """What a training led to.

    Args:
        checkpoint: Its id in the lake.
        pairs: Pairs trained on.
        tested: Pairs tested on.
        recall: {"media_to_text_r10" ...: per cent}, of the head on pairs kept apart.
        before: The same of the vectors themselves; empty where the sides have no common space.
    """

    checkpoint: str
    pairs: int
    tested: int
    recall: Mapping[str, float]
    before: Mapping[str, float]


@task(cache_policy=NO_CACHE)
def gather(lake: Lake, recipe: TrainRecipe) -> Material:
    """Read pairs and vectors of a snapshot, and keep a share of near-duplicate groups apart.

    Which groups follows from their ids alone: every training on a growing lake tests on the same ones.

    Raises:
        DataError: There are too few pairs with vectors on both sides, or of them in either part.
    """
    snapshot = lake.snapshot(recipe.tag)
    table = _pairs(lake, snapshot, recipe)
    sides = {}
    for side, ref in (("media", recipe.encoder), ("text", recipe.text_encoder or recipe.encoder)):
        sides[side] = _vectors(lake, snapshot, ref, side, table[f"{side}_id"])
    found = np.flatnonzero((sides["media"][0] >= 0) & (sides["text"][0] >= 0))
    if len(found) < 10:
        raise DataError(
            f"{snapshot.snapshot_id} has {len(found)} pairs with vectors on both sides; a head needs at least 10"
        )
    table = table.take(pa.array(found))
    apart = _apart(table["cluster_id"].to_pylist(), recipe.held_out)
    kept = table["kept"].to_numpy(zero_copy_only=False)
    parts = [np.flatnonzero(~apart), np.flatnonzero(apart & kept)]
    if min(map(len, parts)) < 2:
        raise DataError(
            f"of {len(table)} pairs {len(parts[0])} are left to train on and {len(parts[1])} to test on; "
            f"held_out is {recipe.held_out:g}"
        )
    whole = PairBatch(
        sides["media"][1][sides["media"][0][found]],
        sides["text"][1][sides["text"][0][found]],
        group=numbers(table["cluster_id"]),
        media_key=numbers(table["media_id"]),
        text_key=numbers(table["text_id"]),
        verdict=table["verdict"].to_numpy().astype(np.int8),
        common=recipe.text_encoder is None,
    )
    clean = table["clean"].to_numpy().astype(np.float32)
    return Material(snapshot, whole.take(parts[0]), clean[parts[0]], whole.take(parts[1]))


@task(cache_policy=NO_CACHE)
def train(lake: Lake, recipe: TrainRecipe, material: Material, run_id: str) -> Trained:
    """Fit the towers, keep them in the lake with recipe and data version, and test them."""
    pairs = material.train
    right = np.flatnonzero(pairs.verdict == 1) if pairs.verdict is not None else np.array([], int)
    trusted = pairs.take(right) if len(right) >= recipe.trusted_at_least else None
    rows = np.setdiff1d(np.arange(len(pairs)), right) if trusted is not None else None
    how: dict[str, object] = {}
    if recipe.noisy != "drop":
        how["weight" if recipe.noisy == "weight" else "label"] = (
            np.maximum(material.clean, LEAST) if recipe.noisy == "weight" else material.clean
        )
    if recipe.noisy == "soft":
        how["teacher"] = teacher(pairs, material.clean)
    towers: Towers = fit(
        pairs,
        head=build(HEADS, recipe.head),
        loss=build(LOSSES, recipe.loss),
        schedule=Schedule(**recipe.schedule.model_dump()),
        seed=recipe.seed,
        rows=rows,
        trusted=trusted,
        **how,  # type: ignore[arg-type]
    )
    checkpoint = checkpoints.save(
        lake,
        towers.state(),
        {
            "recipe": recipe.model_dump(mode="json"),
            "snapshot_id": material.snapshot.snapshot_id,
            "snapshot_digest": material.snapshot.digest,
            "seed": recipe.seed,
            "loss": recipe.loss.model_dump(mode="json"),
            "head": recipe.head.model_dump(mode="json"),
            "run_id": run_id,
            "dims": [pairs.media_vec.shape[1], pairs.text_vec.shape[1]],
            "encoders": [
                identity(build(ENCODERS, ref)).digest
                for ref in (recipe.encoder, recipe.text_encoder or recipe.encoder)
            ],
            "pairs": len(pairs),
        },
    )
    test = material.test
    return Trained(
        checkpoint,
        len(pairs),
        len(test),
        _recall(towers.media(test.media_vec), towers.text(test.text_vec), test),
        _recall(test.media_vec, test.text_vec, test) if test.common else {},
    )


def restore(lake: Lake, checkpoint: str) -> Towers:
    """Return trained towers from the lake.

    Raises:
        LakeError: The lake has no such checkpoint, or its file is not what was written.
        DataError: The checkpoint holds something else than a head a side.
    """
    stored = checkpoints.load(lake, checkpoint)
    if "dims" not in stored.meta:
        raise DataError(f"checkpoint {checkpoint} is no head a side; it says of itself {sorted(stored.meta)}")
    head = build(HEADS, MethodRef.model_validate(stored.meta["head"]))
    return Towers.from_state(stored.state, head=head)


def _recall(media: NDArray[np.float32], text: NDArray[np.float32], test: PairBatch) -> dict[str, float]:
    return {name: round(value, 3) for name, value in retrieval(media, text, test).summary().items()}


def _pairs(lake: Lake, snapshot: Snapshot, recipe: TrainRecipe) -> pa.Table:
    sql = _PAIRS.format(
        consensus=CONSENSUS,
        roles=f"p.role IN ({literals(recipe.roles)})" if recipe.roles else "true",
        doubted="false" if recipe.noisy == "drop" else "true",
    )
    with duckdb.connect() as con:
        for name, columns in _COLUMNS.items():
            known = name in snapshot.versions
            empty = CONTENT[name].schema.empty_table().select(columns)
            con.register(name, lake.read(name, at=snapshot.snapshot_id, columns=columns) if known else empty)
        return con.sql(sql).to_arrow_table()


def _vectors(
    lake: Lake, snapshot: Snapshot, ref: MethodRef, side: str, wanted: pa.ChunkedArray
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the row of each wanted id, -1 where there is none, and the vectors."""
    who = identity(build(ENCODERS, ref))
    if who.table not in snapshot.versions:
        known = ", ".join(name for name in snapshot.versions if name.startswith("embeddings_")) or "none"
        raise DataError(
            f"{snapshot.snapshot_id} has no vectors of {ref.name!r} ({who.table}); it has {known}"
        )
    read = lake.read(
        who.table,
        at=snapshot.snapshot_id,
        columns=["item_id", "vector"],
        where=f"side = '{side}' AND encoder_digest = '{who.digest}'",
    )
    place = {item: row for row, item in enumerate(read["item_id"].to_pylist())}
    return np.array([place.get(item, -1) for item in wanted.to_pylist()], np.int64), matrix(read["vector"])


def _apart(groups: list[str], share: float) -> NDArray[np.bool_]:
    """Return which groups are kept apart: by the digest of their name, so that none changes sides later."""
    return np.array(
        [
            int(hashlib.sha256(f"held out {name}".encode()).hexdigest()[:16], 16) / _NUMBER < share
            for name in groups
        ]
    )
