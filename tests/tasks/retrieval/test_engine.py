"""The whole engine against loops over the tables, on small lakes full of ties, drops and gaps."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DataError, EncoderError
from schemas.ranking import Query
from schemas.tables import MEDIA, PAIRS, TEXTS, embeddings
from storage import rows
from storage.lake import Lake
from tasks.encoders.hashing import Hashing
from tasks.encoders.identity import identity
from tasks.rerankers.cosine import Cosine
from tasks.rerankers.mmr import MMR
from tasks.retrieval.compose import less, replaced, summed
from tasks.retrieval.find import find

DIM = 16
TABLE = "embeddings_hashing"
ENCODER = Hashing(dim=DIM)
WORDS = ("red", "bicycle", "old church", "two boats", "kettle")


@dataclass
class Truth:
    """What is in a lake, as plain values."""

    lake: Lake
    media: dict[str, dict]
    vectors: dict[str, np.ndarray]
    texts: dict[str, str]
    pairs: list[tuple[str, str]]  # kept ones

    def passing(self, *, width: int | None = None, modality: str | None = None) -> set[str]:
        return {
            one
            for one, row in self.media.items()
            if row["present"]
            and row["kept"] is not False
            and (width is None or (row["width_px"] is not None and row["width_px"] > width))
            and (modality is None or row["modality"] == modality)
        }

    def kept_texts(self) -> set[str]:
        return set(self.texts)


def _id(prefix: str, n: int) -> str:
    return f"{prefix}{n:063x}"


def _write(writer, spec, given, metadata=None):
    columns = [{name: None for name in spec.schema.names} | row for row in given]
    table = pa.Table.from_pylist(columns, schema=spec.schema)
    writer.upsert(spec, pds.dataset(rows.with_digest(table, spec)), metadata=metadata)


def build(uri: str, seed: int, media: int, texts: int) -> Truth:
    """Draw a lake. Vectors come from a few directions, so many scores are equal."""
    draw = np.random.default_rng(seed)
    directions = ENCODER(list(WORDS))
    lake = Lake(uri)
    facts = {
        _id("a", n): {
            "present": bool(draw.random() < 0.9),
            "kept": [True, None, False][draw.choice(3, p=[0.6, 0.2, 0.2])],
            "width_px": None if draw.random() < 0.2 else int(draw.integers(1, 5)) * 100,
            "modality": ["image", "audio"][int(draw.random() < 0.3)],
        }
        for n in range(media)
    }
    said = {_id("b", n): WORDS[int(draw.integers(len(WORDS)))] for n in range(texts)}
    vectors = {one: directions[int(draw.integers(len(WORDS)))] for one in facts if draw.random() < 0.9} | {
        one: ENCODER([text])[0] for one, text in said.items()
    }
    links = sorted(
        {(m, t) for m in facts for t in said if draw.random() < 0.3 and facts[m]["kept"] is not False}
    )
    kept = {link: draw.random() < 0.8 for link in links}
    with lake.writer() as writer:
        _write(writer, MEDIA, [{"media_id": one} | row for one, row in facts.items()])
        _write(
            writer,
            TEXTS,
            [
                {"text_id": one, "text": text, "language": "en", "present": True, "kept": True}
                for one, text in said.items()
            ],
        )
        _write(
            writer,
            PAIRS,
            [
                {
                    "pair_id": m + t,
                    "media_id": m,
                    "text_id": t,
                    "present": True,
                    "kept": kept[m, t],
                }
                for m, t in links
            ],
        )
        known = identity(ENCODER)
        _write(
            writer,
            embeddings(TABLE, DIM),
            [
                {
                    "item_id": one,
                    "side": "media" if one[0] == "a" else "text",
                    "vector": vector.tolist(),
                    "encoder_digest": "d",
                }
                for one, vector in vectors.items()
            ],
            {
                "xmodal.encoder_ref": json.dumps({"name": "hashing", "params": {"dim": DIM}}),
                "xmodal.encoder": json.dumps({"weights_digest": known.weights_digest, "dim": DIM}),
            },
        )
        writer.commit(tag=None, recipe_digest="d", run_id="r")
    return Truth(lake, facts, vectors, said, [link for link in links if kept[link]])


def ordered(scores: dict[str, float]) -> list[str]:
    return sorted(scores, key=lambda one: (-scores[one], one))


def cosines(truth: Truth, vector: np.ndarray, among: set[str]) -> dict[str, float]:
    return {
        one: float(np.float32(np.dot(truth.vectors[one].astype(np.float64), vector.astype(np.float64))))
        for one in among & truth.vectors.keys()
    }


def by_text(truth: Truth, vector: np.ndarray, among: set[str]) -> dict[str, float]:
    of_texts = cosines(truth, vector, truth.kept_texts())
    best: dict[str, float] = {}
    for medium, text in truth.pairs:
        if medium in among or among == set():
            best[medium] = max(best.get(medium, -2.0), of_texts[text])
    return best


SMALL = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
drawn_lakes = st.tuples(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 12))


def assert_order(found, scores: dict[str, float], query: Query) -> None:
    """The same scores in the same order; ids may differ only among scores equal to float precision."""
    wanted = ordered(scores)[query.offset : query.offset + query.k]
    assert len(found) == len(wanted)
    assert np.allclose(found.scores, [scores[one] for one in wanted], atol=1e-5)
    for one, score in zip(found.item_ids, found.scores, strict=True):
        assert scores[one] == pytest.approx(score, abs=1e-5)
    assert len(set(found.item_ids)) == len(found)


@SMALL
@given(
    drawn_lakes, st.sampled_from(WORDS), st.integers(1, 30), st.integers(0, 8),
    st.sampled_from([None, 100, 300]), st.sampled_from([None, "image", "video"]),
)  # fmt: skip
def test_media_by_their_own_vectors_are_what_loops_give(
    tmp_path_factory, drawn, text, k, offset, width, modality
):
    truth = build(str(tmp_path_factory.mktemp("engine")), *drawn)
    query = Query(
        text=text, k=k, offset=offset, by="media", where=None if width is None else f"width_px > {width}",
        modality=(modality,) if modality else (),
    )  # fmt: skip
    found = find(truth.lake, query).candidates
    assert_order(
        found, cosines(truth, ENCODER([text])[0], truth.passing(width=width, modality=modality)), query
    )


@SMALL
@given(drawn_lakes, st.sampled_from(WORDS), st.integers(1, 30), st.sampled_from([None, 100, 300]))
def test_media_by_their_texts_are_what_loops_give(tmp_path_factory, drawn, text, k, width):
    truth = build(str(tmp_path_factory.mktemp("engine")), *drawn)
    query = Query(text=text, k=k, by="texts", where=None if width is None else f"width_px > {width}")
    found = find(truth.lake, query).candidates
    vector = ENCODER([text])[0]
    among = truth.passing(width=width)
    best = {
        one: score
        for one, score in by_text(truth, vector, set(truth.media)).items()
        if width is None or one in among
    }
    assert_order(found, best, query)


@SMALL
@given(drawn_lakes, st.sampled_from(WORDS), st.integers(1, 12))
def test_both_orders_are_fused_by_reciprocal_ranks(tmp_path_factory, drawn, text, k):
    truth = build(str(tmp_path_factory.mktemp("engine")), *drawn)
    parts = [
        find(truth.lake, Query(text=text, k=100, by=by)).candidates.item_ids for by in ("media", "texts")
    ]
    scores: dict[str, float] = {}
    for part in parts:
        for rank, one in enumerate(part, 1):
            scores[one] = scores.get(one, 0.0) + 1 / (60 + rank)
    query = Query(text=text, k=k)
    assert list(find(truth.lake, query).candidates.item_ids) == ordered(scores)[:k]


@SMALL
@given(drawn_lakes, st.data())
def test_items_words_and_negatives_are_composed(tmp_path_factory, drawn, data):
    truth = build(str(tmp_path_factory.mktemp("engine")), *drawn)
    items = sorted(one for one in truth.vectors if one[0] == "a")
    if not items:
        return
    liked = data.draw(st.lists(st.sampled_from(items), min_size=1, max_size=2, unique=True))
    unlike = data.draw(st.sampled_from([(), ("kettle",)]))
    swap = data.draw(st.sampled_from([None, ("red", "kettle")]))
    parts = [truth.vectors[one] for one in liked]
    vector = parts[0] if len(parts) == 1 else summed(parts)
    if swap:
        vector = replaced(vector, ENCODER([swap[0]])[0], ENCODER([swap[1]])[0])
    if unlike:
        vector = less(vector, [ENCODER([unlike[0]])[0]])
    query = Query(like=tuple(liked), unlike=unlike, replace=swap, k=10)
    found = find(truth.lake, query).candidates
    assert not set(found.item_ids) & set(liked)
    assert_order(found, cosines(truth, vector, truth.passing() - set(liked)), query)


@SMALL
@given(drawn_lakes, st.sampled_from(WORDS))
def test_a_threshold_keeps_up_to_k_and_may_keep_none(tmp_path_factory, drawn, text):
    truth = build(str(tmp_path_factory.mktemp("engine")), *drawn)
    query = Query(text=text, k=10, by="media")
    every = find(truth.lake, query).candidates

    class Sure(Cosine):
        name = "sure"
        calibrated = True

    for at_least in (-1.1, 0.5, 1.1):
        found = find(truth.lake, query, reranker=Sure(), at_least=at_least).candidates
        assert len(found) == sum(score >= at_least for score in every.scores)


def test_a_restored_snapshot_is_searched_as_it_was(tmp_path):
    truth = build(str(tmp_path / "lake"), 3, 20, 5)
    query = Query(text="kettle", k=5, by="media")
    before = find(truth.lake, query).candidates
    first = truth.lake.head().snapshot_id
    gone = before.item_ids[0]
    with truth.lake.writer() as writer:
        row = truth.media[gone] | {"media_id": gone, "kept": False, "dropped_by": "test"}
        _write(writer, MEDIA, [row])
        writer.commit(tag=None, recipe_digest="d", run_id="r2")
    assert gone not in find(truth.lake, query).candidates.item_ids
    assert (
        find(truth.lake, Query(text="kettle", k=5, by="media", at=first)).candidates.item_ids
        == before.item_ids
    )
    truth.lake.restore(first)
    assert find(truth.lake, query).candidates.item_ids == before.item_ids


def test_diversity_takes_the_best_first_and_then_what_differs(tmp_path):
    truth = build(str(tmp_path / "lake"), 5, 25, 3)
    plain = find(truth.lake, Query(text="kettle", k=5, by="media")).candidates
    spread = find(truth.lake, Query(text="kettle", k=5, by="media"), reranker=MMR(trade=0.3)).candidates
    assert spread.item_ids[0] == plain.item_ids[0]

    def alike(ids):
        vectors = np.stack([truth.vectors[one] for one in ids])
        return (vectors @ vectors.T).mean()

    assert alike(spread.item_ids) < alike(plain.item_ids)


def test_what_cannot_be_asked_is_refused_with_a_reason(tmp_path):
    truth = build(str(tmp_path / "lake"), 1, 5, 3)
    with pytest.raises(DataError, match="calibrated"):
        find(truth.lake, Query(text="x"), at_least=0.5)
    with pytest.raises(DataError, match="needs a text"):
        find(truth.lake, Query(like=(next(iter(truth.vectors)),), first="match"))
    with pytest.raises(DataError, match="no vector in"):
        find(truth.lake, Query(like=("f" * 64,)))
    with pytest.raises(DataError, match="is empty"):
        find(Lake(str(tmp_path / "none")), Query(text="x"))


def test_other_weights_are_refused(tmp_path):
    truth = build(str(tmp_path / "lake"), 1, 5, 3)
    with truth.lake.writer() as writer:
        said = {"xmodal.encoder": json.dumps({"weights_digest": "0" * 64, "dim": DIM})}
        row = {
            "item_id": _id("a", 0),
            "side": "media",
            "vector": ENCODER(["x"])[0].tolist(),
            "encoder_digest": "e",
        }
        _write(writer, embeddings(TABLE, DIM), [row], said)
        writer.commit(tag=None, recipe_digest="d", run_id="r2")
    with pytest.raises(EncoderError, match="weights"):
        find(truth.lake, Query(text="x"))
