"""Belief in a pair: against loops, and that heads told by evidence find the wrong ones."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tasks.heads.linear import Linear
from tasks.losses.evidential import Evidential
from tasks.noise._trained import for_heads
from tasks.noise.evidential import EvidentialScore, belief
from tasks.training.fit import Schedule, fit


def belief_by_loops(similarity: np.ndarray, temperature: float) -> np.ndarray:
    """Belief mass of each pair among all, both directions averaged, a pair at a time."""
    n = len(similarity)
    evidence = [[np.exp(np.tanh(similarity[i, j]) / temperature) for j in range(n)] for i in range(n)]
    masses = []
    for i in range(n):
        row = sum(evidence[i][j] + 1 for j in range(n))
        column = sum(evidence[j][i] + 1 for j in range(n))
        masses.append((evidence[i][i] / row + evidence[i][i] / column) / 2)
    return np.array(masses)


def test_with_all_pairs_in_a_batch_it_is_the_mass_of_the_definition(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.3, seed=1, dim=20)
    method = EvidentialScore(folds=1, steps=9, batch_size=60, components=10, width=6, seed=2)
    seen = for_heads(pairs, 10, seed=2)
    towers = fit(
        seen,
        head=Linear(width=6),
        loss=Evidential(temperature=method.temperature),
        schedule=Schedule(epochs=9, batch_size=60, learning_rate=method.learning_rate),
        seed=2,
    )
    similarity = towers.media(seen.media_vec) @ towers.text(seen.text_vec).T
    np.testing.assert_allclose(method(pairs), belief_by_loops(similarity, method.temperature), rtol=1e-4)


def test_beliefs_and_what_is_left_open_are_one():
    evidence = np.array([4.0, 1.0, 0.5])  # of three candidates
    rivals = np.array([(evidence.sum() - own) / 2 for own in evidence])
    uncertainty = 3 / (evidence + 1).sum()
    np.testing.assert_allclose(belief(evidence, rivals, 3).sum() + uncertainty, 1)


def test_is_low_where_nothing_matches_and_where_others_do():
    masses = belief(np.array([50.0, 1.0, 50.0, 9.0]), np.array([1.0, 1.0, 50.0, np.nan]), 10)
    np.testing.assert_allclose(masses, [50 / 69, 1 / 20, 50 / 510, 0.5])


@pytest.mark.parametrize(("rate", "floor"), [(0.2, 0.9), (0.4, 0.85), (0.6, 0.75)])
def test_finds_injected_noise(rate, floor, make_noisy_pairs):
    for seed in range(2):
        pairs, clean = make_noisy_pairs(400, rate=rate, seed=seed)
        assert roc_auc_score(clean, EvidentialScore()(pairs)) > floor


def test_cannot_tell_below_sixteen_groups(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    np.testing.assert_array_equal(EvidentialScore()(replace(pairs, group=np.arange(60) % 15)), 0.5)
    assert EvidentialScore()(replace(pairs, group=np.arange(60) % 16)).std() > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": 0},
        {"folds": 9},
        {"steps": 0},
        {"components": 0},
        {"batch_size": 1},
        {"temperature": 0.01},
        {"learning_rate": 0.0},
        {"seed": -1},
    ],
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        EvidentialScore(**wrong)
