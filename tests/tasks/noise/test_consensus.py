"""The consensus: what it promises beyond any scorer, against numbers worked out elsewhere."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from schemas.batch import PairBatch, Reordered
from schemas.errors import DataError
from schemas.recipes import MethodRef
from schemas.source import Source
from tasks.dividers import DIVIDERS, SelfInjected
from tasks.injectors import INJECTORS
from tasks.noise import NOISE_SCORERS, consensus
from tasks.noise.consensus import Consensus


@pytest.mark.parametrize("seed", range(3))
def test_is_as_good_as_its_best_member_or_better(make_noisy_pairs, seed):
    pairs, clean = make_noisy_pairs(500, rate=0.4, seed=seed)
    study = Consensus().study(pairs)
    best = max(roc_auc_score(clean, scores) for scores in study.members.values())
    assert roc_auc_score(clean, study.scores) > best - 0.01


def test_a_member_that_says_nothing_counts_for_nothing(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(500, rate=0.3, seed=1)
    pairs = replace(pairs, texts=[f"a thing called {row}" for row in range(len(pairs))])
    members = (MethodRef(name="geometry"), MethodRef(name="frequency"))
    weights = Consensus(members=members).study(pairs).weights
    assert weights["geometry"] > 0.5
    assert weights["frequency"] < 0.05


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4, 0.6])
def test_the_noise_it_estimates_is_near_the_truth(make_noisy_pairs, rate):
    errors = []
    for seed in range(3):
        pairs, clean = make_noisy_pairs(600, rate=rate, seed=seed)
        scorer = Consensus(rounds=1)
        division = scorer.divide(scorer.study(pairs), pairs)
        assert division.noise_rate is not None
        errors.append(division.noise_rate - (1 - clean.mean()))
    assert abs(np.mean(errors)) < 0.1


def test_noise_planted_by_others_with_the_same_seed_is_not_planted_again(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(400, rate=0.0, seed=0)
    theirs = INJECTORS["pair"]()(pairs, rate=0.2, seed=0)
    ours = Consensus(seed=0)._planted(theirs.pairs)[0]
    overlap = (ours.planted & ~theirs.true).sum() / ours.planted.sum()
    assert overlap < 0.4  # a fifth by chance; all of it when seeds meet


def test_weights_are_those_of_a_logistic_regression(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(400, rate=0.3, seed=2)
    scorer = Consensus(rounds=1)
    batches = [consensus._Batch(pairs, np.zeros(len(pairs), dtype=bool)), *scorer._planted(pairs)]
    for batch in batches:
        batch.members = consensus._scored(scorer._scorers(), batch.pairs, ["a", "b"])
    x = np.concatenate([consensus._normal(batch) for batch in batches[1:]])
    untouched = np.concatenate([~batch.planted for batch in batches[1:]])
    balance = np.where(untouched, 0.5 / untouched.mean(), 0.5 / (~untouched).mean())
    oracle = LogisticRegression(C=1.0, tol=1e-8).fit(x, untouched, sample_weight=balance).coef_[0]
    assert (oracle > 0).all()  # else the bound would be active and the comparison void
    np.testing.assert_allclose(consensus._weights(batches), oracle, rtol=1e-2)


def test_weight_on_true_neighbours_helps_where_most_pairs_are_wrong(make_noisy_pairs):
    gains = []
    for seed in range(4):
        pairs, clean = make_noisy_pairs(600, rate=0.6, seed=seed)
        once, twice = (Consensus(rounds=rounds).study(pairs).scores for rounds in (1, 2))
        gains.append(roc_auc_score(clean, twice) - roc_auc_score(clean, once))
    assert np.mean(gains) > 0


@dataclass(frozen=True)
class Loud:
    """Leaves the range it promised."""

    name: ClassVar[str] = "loud"
    source: ClassVar[Source] = Source("none", "nobody", 2026, "https://example.org")
    scope: ClassVar[Literal["shard", "table"]] = "table"

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        return np.linspace(0, 1.5, len(pairs), dtype=np.float32)


def test_a_member_that_leaves_its_range_is_named(make_noisy_pairs, monkeypatch):
    pairs, _ = make_noisy_pairs(100, rate=0.3, seed=0)
    monkeypatch.setitem(NOISE_SCORERS, "loud", Loud)
    with pytest.raises(DataError, match=r"loud returned 1\.0\d* for pair 67"):
        Consensus(members=(MethodRef(name="loud"),)).study(pairs)


def test_too_few_pairs_or_one_text_under_all_cannot_be_told(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(39, rate=0.3, seed=0)
    np.testing.assert_array_equal(Consensus()(pairs), np.full(39, 0.5, np.float32))
    pairs, _ = make_noisy_pairs(100, rate=0.3, seed=0)
    alike = replace(pairs, text_vec=np.tile(pairs.text_vec[:1], (100, 1)))
    np.testing.assert_array_equal(Consensus()(alike), np.full(100, 0.5, np.float32))


@pytest.mark.parametrize(
    "wrong",
    [{"members": ()}, {"members": (MethodRef(name="geometry"),) * 2}, {"members": (MethodRef(name="consensus"),)},
     {"rounds": 0}, {"repeats": 0}, {"planted": 0.9}, {"among": 39}],
)  # fmt: skip
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match=r"members|must be"):
        Consensus(**wrong)


def test_a_text_pasted_over_half_the_corpus_does_not_decide_who_counts(make_noisy_pairs):
    """Pairs of one text look mismatched to every scorer and are not planted: alone they would turn weights round."""
    pairs, _ = make_noisy_pairs(500, rate=0.0, seed=4)
    pasted = np.arange(500) < 260
    text = pairs.text_vec.copy()
    text[pasted] = text[0]
    key = np.where(pasted, 0, np.arange(500)).astype(np.int64)
    weights = Consensus(rounds=1).study(replace(pairs, text_vec=text, text_key=key)).weights
    assert max(weights.values()) > 0.5
    rows = consensus._once_per_text(replace(pairs, text_key=key))
    assert rows[0] == 1 / 260 and rows[-1] == 1


def test_how_many_rows_are_weighed_at_once_does_not_matter(make_noisy_pairs, monkeypatch):
    pairs, _ = make_noisy_pairs(200, rate=0.3, seed=4)
    whole = Consensus(rounds=1).study(pairs)
    monkeypatch.setattr("tasks.noise.consensus._CHUNK", 7)
    parts = Consensus(rounds=1).study(pairs)
    assert list(parts.weights.values()) == pytest.approx(list(whole.weights.values()), rel=1e-6)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=0.01)


def test_a_study_whose_numbers_lie_in_files_is_the_same(make_noisy_pairs, monkeypatch):
    pairs, _ = make_noisy_pairs(200, rate=0.3, seed=4)
    key = np.arange(200) // 3 * 7  # with gaps
    pairs = replace(
        pairs,
        media_key=key,
        text_key=np.roll(key, 1),
        group=key,
        texts=[f"text {n}" for n in np.roll(key, 1)],
    )
    method = Consensus()
    held = method.study(pairs)
    monkeypatch.setattr("schemas.batch._LITTLE", 0)
    lying = method.study(pairs)
    assert [batch.pairs.text_key.base is not None for batch in method._planted(pairs)] == [True, True]
    assert held.weights == lying.weights
    for one, other in (
        (held, lying),
        (held.divided_by(SelfInjected(), None)[0], lying.divided_by(SelfInjected(), None)[0]),
    ):
        for name, found in vars(one).items():
            np.testing.assert_equal(vars(other)[name], found)


def test_of_many_pairs_mismatches_are_planted_in_samples_of_their_own(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(900, rate=0.3, seed=5)
    pairs = replace(pairs, media_key=np.arange(900), texts=[f"text {row}" for row in range(900)])
    few, all_ = Consensus(among=200), Consensus()
    first, second = few._planted(pairs)
    for batch in (first, second):
        rows = batch.pairs.media_key
        assert len(rows) == 200 and (np.diff(rows) > 0).all()
        assert batch.planted.sum() == 40
        np.testing.assert_array_equal(batch.pairs.media_vec, pairs.media_vec[rows])
        still = rows[~batch.planted]
        np.testing.assert_array_equal(batch.pairs.text_vec[~batch.planted], pairs.text_vec[still])
        moved = [text for text, planted in zip(batch.pairs.texts, batch.planted, strict=True) if planted]
        assert not set(moved) & {f"text {row}" for row in still}
    assert set(first.pairs.media_key) != set(second.pairs.media_key)
    study = few.study(pairs)
    assert len(study.scores) == 900 and len(study.mismatched) == 80
    whole = roc_auc_score(clean, all_.study(pairs).scores)
    assert abs(roc_auc_score(clean, study.scores) - whole) < 0.01
    np.testing.assert_array_equal(Consensus(among=900).study(pairs).scores, all_.study(pairs).scores)


def test_a_sample_of_pairs_that_lie_on_disk_lies_there_too(tmp_path, monkeypatch):
    np.save(tmp_path / "v", np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    lying = Reordered([f"text {row}" for row in range(50)], np.arange(50)[::-1])
    rows = np.array([3, 7, 49])
    some = PairBatch(mapped, mapped, texts=lying, verdict=np.arange(50).astype(np.int8)).take(rows)
    assert isinstance(some.media_vec, np.memmap) and isinstance(some.texts, Reordered)
    np.testing.assert_array_equal(some.text_vec, np.load(tmp_path / "v.npy")[rows])
    assert list(some.texts) == ["text 46", "text 42", "text 0"]
    assert some.verdict.tolist() == [3, 7, 49]


@pytest.mark.parametrize("decimals", [1, 8])
def test_ranks_are_those_of_scipy_and_shares_are_counted(monkeypatch, decimals):
    monkeypatch.setattr("tasks.noise.consensus._CHUNK", 7)
    rng = np.random.default_rng(0)
    values, among = rng.random(50).round(decimals), rng.random(30).round(decimals)
    np.testing.assert_array_equal(consensus._ranks(values), rankdata(values))
    wanted = [np.mean((among < value) + 0.5 * (among == value)) for value in values]
    np.testing.assert_allclose(consensus._share_below(values, among), wanted, atol=1e-12)
    assert (
        len(consensus._share_below(values[:0], among)) == 0 == consensus._share_below(values, among[:0]).sum()
    )


def test_mapped_texts_are_reordered_into_another_file_and_equal_those_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20_000, 4)).astype(np.float32)
    np.save(tmp_path / "text.npy", vectors)
    mapped = np.load(tmp_path / "text.npy", mmap_mode="r")
    order = rng.permutation(len(vectors))
    moved = PairBatch(vectors, mapped).with_texts_of(order)
    assert isinstance(moved.text_vec, np.memmap)
    assert moved.text_vec.filename != mapped.filename
    assert (moved.text_vec == vectors[order]).all()
    assert (mapped == vectors).all()


def test_vectors_mapped_from_files_are_studied_as_those_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    sides = rng.normal(size=(2, 300, 8)).astype(np.float32)
    sides[1, 60:] = sides[0, 60:] + 0.3 * rng.normal(size=(240, 8))
    media, text = sides / np.linalg.norm(sides, axis=2, keepdims=True)
    for name, side in (("media", media), ("text", text)):
        np.save(tmp_path / name, side)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("media", "text")]
    in_memory, from_files = (Consensus().study(PairBatch(*two)) for two in ((media, text), mapped))
    assert (in_memory.scores == from_files.scores).all()
    assert (in_memory.mismatched == from_files.mismatched).all()


def test_a_divider_that_reads_shapes_gets_scores_and_not_ranks(make_noisy_pairs):
    """Ranks are flat whatever the scores are: two kinds never show in them."""
    pairs, clean = make_noisy_pairs(600, rate=0.4, seed=0)
    by_bells = MethodRef(name="gaussian-mixture")
    alone = Consensus(members=(MethodRef(name="geometry"),), divider=by_bells)
    study = alone.study(pairs)
    _, divided = study.divided_by(DIVIDERS["gaussian-mixture"](), None)
    assert divided.of == "geometry"
    np.testing.assert_array_equal(divided.scores, study.members["geometry"])
    assert np.ptp(np.histogram(study.scores, 10, (0, 1))[0]) <= 1  # ranks, flat
    both = Consensus(divider=by_bells).study(pairs)
    _, divided = both.divided_by(DIVIDERS["gaussian-mixture"](), None)
    total = sum(both.weights.values())
    expected = [
        sum(both.weights[name] * float(own[row]) for name, own in both.members.items()) / total
        for row in range(len(pairs))
    ]
    np.testing.assert_allclose(divided.scores, expected, atol=1e-6)
    _, ranks = both.divided_by(DIVIDERS["self-injected"](), None)
    np.testing.assert_array_equal(ranks.scores, both.scores)
