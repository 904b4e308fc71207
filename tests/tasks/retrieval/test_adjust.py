"""Similarities fitted to a snapshot: chosen, kept, found again, and used where they were fitted and nowhere else."""

import json

import numpy as np
import pytest

from schemas.errors import DataError
from schemas.ranking import Query
from schemas.tables import MEDIA, PAIRS, TEXTS, embeddings
from storage.lake import Lake
from storage.search import encoder_table
from tasks.encoders.hashing import Hashing
from tasks.encoders.identity import identity
from tasks.fit import fit_similarity
from tasks.retrieval import adjust
from tasks.retrieval.find import find
from tasks.similarities.bank_norm import BankNorm
from tests.tasks.retrieval.test_engine import TABLE, _id, _write

DIM = 32
ENCODER = Hashing(dim=DIM)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def hubby(uri: str, count: int, *, hubs: int = 10, noise: float = 0.35, seed: int = 0) -> Lake:
    """Media near their texts, but for some that lie where all texts do."""
    texts = {_id("b", n): f"thing {n} of kind {n % 7}" for n in range(count)}
    near = ENCODER(list(texts.values()))
    media = near + noise * np.random.default_rng(seed).standard_normal(near.shape)
    media[:hubs] = near.mean(axis=0) + 0.02 * np.random.default_rng(seed).standard_normal((hubs, DIM))
    lake = Lake(uri)
    with lake.writer() as writer:
        common = {"present": True, "kept": True}
        _write(writer, MEDIA, [{"media_id": _id("a", n)} | common for n in range(count)])
        _write(
            writer,
            TEXTS,
            [{"text_id": one, "text": text, "language": "en"} | common for one, text in texts.items()],
        )
        _write(
            writer,
            PAIRS,
            [
                {"pair_id": f"p{n}", "media_id": _id("a", n), "text_id": _id("b", n)} | common
                for n in range(count)
            ],
        )
        rows = [
            {"item_id": _id("a", n), "side": "media", "vector": vector.tolist(), "encoder_digest": "d"}
            for n, vector in enumerate(unit(media))
        ]
        rows += [
            {"item_id": one, "side": "text", "vector": vector.tolist(), "encoder_digest": "d"}
            for one, vector in zip(texts, near, strict=True)
        ]
        said = {
            "xmodal.encoder_ref": json.dumps({"name": "hashing", "params": {"dim": DIM}}),
            "xmodal.encoder": json.dumps({"weights_digest": identity(ENCODER).weights_digest, "dim": DIM}),
        }
        _write(writer, embeddings(TABLE, DIM), rows, said)
        writer.commit(tag=None, recipe_digest="d", run_id="r")
    return lake


def test_what_is_kept_orders_media_as_the_similarity_does_on_the_whole_gallery(tmp_path):
    lake = hubby(str(tmp_path / "lake"), 160)
    snapshot, pairs = lake.head(), [(_id("a", n), _id("b", n)) for n in range(160)]
    entry = encoder_table(lake, snapshot)
    method = BankNorm(beta_queries=20.0)
    _, choice, _ = adjust.fit(lake, snapshot, entry, pairs, settings=[method])
    assert choice.method == method  # hubs are planted: it must help

    rows = lake.read(TABLE)
    vectors = dict(
        zip(rows["item_id"].to_pylist(), np.array(rows["vector"].to_pylist(), np.float32), strict=True)
    )
    gallery = np.stack([vectors[_id("a", n)] for n in range(160)])
    drawn = np.random.default_rng(0).permutation(160)[:80]
    bank = np.stack([vectors[_id("b", n)] for n in sorted(drawn)])
    text = "thing 12 of kind 5"
    cosines = gallery @ ENCODER([text])[0]
    normaliser = np.exp(20.0 * (gallery @ bank.T)).sum(axis=1)
    expected = np.argsort(-(20.0 * cosines - np.log(normaliser)))[:5]

    found = find(lake, Query(text=text, by="media", k=5)).candidates
    assert found.item_ids == tuple(_id("a", n) for n in expected)
    assert any("bank-norm" in note for note in found.notes)
    plain = find(lake, Query(text=text, by="media", k=5), adjust=False).candidates
    assert plain.item_ids == tuple(_id("a", n) for n in np.argsort(-cosines)[:5])


def test_the_report_counts_what_a_loop_counts(tmp_path):
    lake = hubby(str(tmp_path / "lake"), 160)
    done = fit_similarity.fn(lake, at=None, encoder=None, seed=0, run_id="r")
    assert done.method != "raw" and done.recall[0][0] == "cosine"
    rows = lake.read(TABLE)
    vectors = dict(
        zip(rows["item_id"].to_pylist(), np.array(rows["vector"].to_pylist(), np.float32), strict=True)
    )
    gallery = np.stack([vectors[_id("a", n)] for n in range(160)])
    asked = sorted(np.random.default_rng(0).permutation(160)[80:])
    counts = np.zeros(160, int)
    for n in asked:
        for row in np.argsort(-(gallery @ vectors[_id("b", n)]), kind="stable")[:10]:
            counts[row] += 1
    assert done.queries == 80
    assert done.never == pytest.approx((counts == 0).mean())
    assert {hub.media_id: hub.queries for hub in done.hubs[:3]} == {
        _id("a", int(row)): int(counts[row]) for row in np.argsort(-counts, kind="stable")[:3]
    }


def test_another_snapshot_is_not_searched_by_it(tmp_path):
    lake = hubby(str(tmp_path / "lake"), 160)
    first = lake.head().snapshot_id
    fit_similarity.fn(lake, at=None, encoder=None, seed=0, run_id="r")
    with lake.writer() as writer:
        _write(
            writer, MEDIA, [{"media_id": _id("a", 0), "present": True, "kept": False, "dropped_by": "test"}]
        )
        writer.commit(tag=None, recipe_digest="d", run_id="r2")
    query = Query(text="thing 3 of kind 3", by="media", k=3)
    assert not find(lake, query).candidates.notes
    assert find(lake, Query(text="thing 3 of kind 3", by="media", k=3, at=first)).candidates.notes


def test_where_nothing_helps_the_cosine_stays(tmp_path):
    lake = hubby(str(tmp_path / "lake"), 160, hubs=0, noise=0.0)  # every text finds its own first
    entry = encoder_table(lake, lake.head())
    pairs = [(_id("a", n), _id("b", n)) for n in range(160)]
    _, choice, _ = adjust.fit(lake, lake.head(), entry, pairs, settings=[BankNorm(beta_queries=5.0)])
    assert choice.method.name == "raw"
    assert not find(lake, Query(text="thing", by="media", k=3)).candidates.notes


def test_too_few_pairs_are_said_to_be(tmp_path):
    lake = hubby(str(tmp_path / "lake"), 40)
    with pytest.raises(DataError, match="too few"):
        fit_similarity.fn(lake, at=None, encoder=None, seed=0, run_id="r")
