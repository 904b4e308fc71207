"""P of the pair under complementary heads: against a softmax, and out of fold."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from schemas.batch import PairBatch
from tasks.heads.linear import Linear
from tasks.losses.complementary import Complementary
from tasks.noise._trained import for_heads
from tasks.noise.complementary import ComplementaryScore, pair_probability
from tasks.training.fit import Schedule, fit


def test_with_all_pairs_in_a_batch_it_is_the_diagonal_of_both_softmaxes(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(80, rate=0.3, seed=1, dim=20)
    method = ComplementaryScore(folds=1, steps=7, batch_size=80, components=10, width=6, seed=2)
    seen = for_heads(pairs, 10, seed=2)
    towers = fit(
        seen,
        head=Linear(width=6),
        loss=Complementary(temperature=method.temperature),
        schedule=Schedule(epochs=7, batch_size=80, learning_rate=method.learning_rate),
        seed=2,
    )
    logits = towers.media(seen.media_vec) @ towers.text(seen.text_vec).T / method.temperature
    expected = (softmax(logits, axis=1).diagonal() + softmax(logits, axis=0).diagonal()) / 2
    np.testing.assert_allclose(method(pairs), expected, rtol=1e-4)


def test_an_average_batch_has_one_pair_and_b_minus_one_competitors():
    own, rivals = np.array([3.0, 3.0, 1.0, 2.0]), np.array([1.0, 0.0, 1.0, np.nan])
    np.testing.assert_allclose(pair_probability(own, rivals, 4), [3 / 6, 1, 1 / 4, 0.5])


@pytest.mark.parametrize(("rate", "floor"), [(0.2, 0.9), (0.4, 0.85), (0.6, 0.75)])
def test_finds_injected_noise(rate, floor, make_noisy_pairs):
    for seed in range(2):
        pairs, clean = make_noisy_pairs(400, rate=rate, seed=seed, noise=1.5)
        assert roc_auc_score(clean, ComplementaryScore()(pairs)) > floor


def test_does_not_learn_pairs_of_pure_chance_by_heart():
    seen, held_out = [], []
    for seed in range(2):  # corpora where nothing relates the sides
        media, text = np.random.default_rng(seed).normal(size=(2, 200, 64)).astype(np.float32)
        for folds, scores in ((1, seen), (5, held_out)):
            scores.append(ComplementaryScore(folds=folds)(PairBatch(media, text)).mean())
    assert min(seen) > 3 * max(held_out)


def test_pairs_of_one_group_do_not_compete(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    once = PairBatch(pairs.media_vec, pairs.text_vec)
    twice = once.take(np.repeat(np.arange(60), 2))
    method = ComplementaryScore(folds=1, batch_size=120, temperature=0.05)
    # Its own copy is a competitor that no pair can beat.
    assert method(replace(twice, group=np.arange(120))).max() <= 0.5 + 1e-6
    assert method(replace(twice, group=np.arange(120) // 2)).max() > 0.5


def test_cannot_tell_below_sixteen_groups(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    np.testing.assert_array_equal(ComplementaryScore()(replace(pairs, group=np.arange(60) % 15)), 0.5)
    assert ComplementaryScore()(replace(pairs, group=np.arange(60) % 16)).std() > 0


def test_a_sample_of_candidates_orders_nearly_alike(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(400, rate=0.3, seed=4)
    some, every = (roc_auc_score(clean, ComplementaryScore(candidates=c)(pairs)) for c in (40, 4096))
    assert some > every - 0.03


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": 0},
        {"folds": 9},
        {"steps": 0},
        {"components": 0},
        {"batch_size": 1},
        {"temperature": 0.01},
        {"penalty": "square"},
        {"learning_rate": 0.0},
        {"candidates": 0},
        {"seed": -1},
    ],
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        ComplementaryScore(**wrong)
