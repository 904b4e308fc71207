"""Losses and probabilities per pair, against loops over the same batches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tasks.heads import Linear
from tasks.losses import LOSSES, Triplet
from tasks.training.fit import Schedule, fit, match_probabilities, row_losses


@pytest.fixture
def trained(make_pairs):
    """Towers after a short warm-up on pairs of which a third is wrong, the pairs, and which are right."""
    pairs, clean = make_pairs(300, rate=0.3)
    schedule = Schedule(epochs=8, batch_size=32)
    return fit(pairs, head=Linear(width=8), loss=Triplet(), schedule=schedule, seed=0), pairs, clean


def batches_of(n, batch_size, seed):
    order = np.random.default_rng(seed).permutation(n)
    return [order[start : start + batch_size] for start in range(0, n, batch_size)]


def test_a_row_has_its_loss_in_its_batch(trained):
    towers, pairs, _ = trained
    pairs = replace(pairs, group=np.arange(300) // 4)
    similarity = towers.media(pairs.media_vec) @ towers.text(pairs.text_vec).T
    expected = np.zeros(300)
    for batch in batches_of(300, 60, seed=5):
        for i in batch:
            rivals = [j for j in batch if pairs.group[j] != pairs.group[i]]
            for row in (similarity[i], similarity[:, i]):
                expected[i] += sum(max(0, 0.2 + row[j] - row[i]) for j in rivals) / (len(rivals) + 1)
    found = row_losses(towers, pairs, Triplet(), seed=5, batch_size=60)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_probability_is_the_mean_of_both_softmaxes(trained):
    towers, pairs, _ = trained
    pairs = replace(pairs, group=np.arange(300) // 4)
    similarity = towers.media(pairs.media_vec) @ towers.text(pairs.text_vec).T
    expected = np.zeros(300)
    for batch in batches_of(300, 60, seed=5):
        for i in batch:
            among = [j for j in batch if j == i or pairs.group[j] != pairs.group[i]]
            for row in (similarity[i], similarity[:, i]):
                mass = sum(math.exp(row[j] / 0.1) for j in among)
                expected[i] += math.exp(row[i] / 0.1) / mass / 2
    found = match_probabilities(towers, pairs, temperature=0.1, seed=5, batch_size=60)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["active-complementary", "info-nce", "tal", "triplet"])
def test_wrong_pairs_have_the_higher_loss_after_a_warm_up(name, trained):
    towers, pairs, clean = trained
    assert roc_auc_score(~clean, row_losses(towers, pairs, LOSSES[name](), seed=0)) > 0.8


def test_right_pairs_have_the_higher_probability_after_a_warm_up(trained):
    towers, pairs, clean = trained
    assert roc_auc_score(clean, match_probabilities(towers, pairs, temperature=0.05, seed=0)) > 0.8


def test_dropout_is_off_and_a_seed_gives_the_same_again(make_pairs):
    pairs, _ = make_pairs(90)
    head = Linear(width=8, dropout=0.5)
    towers = fit(pairs, head=head, loss=Triplet(), schedule=Schedule(epochs=1), seed=0)
    first, again, other = (
        row_losses(towers, pairs, Triplet(), seed=seed, batch_size=30) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_takes_very_few_pairs(n, trained):
    towers, pairs, _ = trained
    few = pairs.take(np.arange(n))
    assert row_losses(towers, few, Triplet(), seed=0).shape == (n,)
    assert match_probabilities(towers, few, temperature=0.05, seed=0).shape == (n,)
    if n == 1:
        assert row_losses(towers, few, Triplet(), seed=0)[0] == 0
        assert match_probabilities(towers, few, temperature=0.05, seed=0)[0] == 1


def test_no_gradient_is_kept(trained):
    towers, pairs, _ = trained
    row_losses(towers, pairs, Triplet(), seed=0)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in towers.media_tower.head.parameters())


def test_refuses_batches_of_one(trained):
    towers, pairs, _ = trained
    with pytest.raises(ValueError, match="batch_size must be at least 2"):
        row_losses(towers, pairs, Triplet(), seed=0, batch_size=1)
