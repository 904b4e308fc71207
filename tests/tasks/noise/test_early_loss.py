"""Loss after a warm-up: against loops, and that it has to be short."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

from schemas.batch import PairBatch
from tasks.heads.linear import Linear
from tasks.losses.triplet import Triplet
from tasks.noise._trained import for_heads
from tasks.noise.early_loss import EarlyLoss
from tasks.training.fit import Schedule, fit


def hinge_by_loops(similarity: np.ndarray, group: np.ndarray, margin: float) -> np.ndarray:
    """Mean hinge of each pair over both directions, a pair at a time."""
    losses = []
    for i in range(len(similarity)):
        others = [j for j in range(len(similarity)) if group[j] != group[i]]
        a = [max(0, margin + similarity[i, j] - similarity[i, i]) for j in others]
        b = [max(0, margin + similarity[j, i] - similarity[i, i]) for j in others]
        losses.append((sum(a) + sum(b)) / (len(others) + 1))  # the pair itself is counted, with no loss
    return np.array(losses)


def test_is_the_mean_of_two_posteriors_of_the_loss(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(120, rate=0.3, seed=1, dim=20)
    pairs = replace(pairs, group=np.arange(120) // 2)
    method = EarlyLoss(warmup=6, rounds=0, components=10, width=8, seed=3)
    seen = for_heads(pairs, 10, seed=3)
    posteriors, between = [], np.ones(120, dtype=bool)
    for seed in (6, 7):
        towers = fit(
            seen,
            head=Linear(width=8),
            loss=Triplet(),
            schedule=Schedule(epochs=6, batch_size=128, learning_rate=1e-3),
            seed=seed,
        )
        losses = hinge_by_loops(towers.media(seen.media_vec) @ towers.text(seen.text_vec).T, pairs.group, 0.2)
        low, high = np.quantile(losses, (0.01, 0.99))
        scaled = np.clip((losses - low) / (high - low), 0, 1)[:, None]
        mixture = GaussianMixture(2, max_iter=100, tol=1e-2, reg_covar=5e-4, random_state=3).fit(scaled)
        means = mixture.means_.ravel()
        posteriors.append(mixture.predict_proba(scaled)[:, means.argmin()])
        between &= (scaled[:, 0] > means.min()) & (scaled[:, 0] < means.max())
    assert between.sum() > 20
    np.testing.assert_allclose(method(pairs)[between], np.mean(posteriors, axis=0)[between], atol=1e-4)


@pytest.mark.parametrize(("rate", "floor"), [(0.2, 0.9), (0.4, 0.85), (0.6, 0.75)])
def test_finds_injected_noise(rate, floor, make_noisy_pairs):
    for seed in range(2):
        pairs, clean = make_noisy_pairs(400, rate=rate, seed=seed, noise=1.5)
        assert roc_auc_score(clean, EarlyLoss()(pairs)) > floor


def test_a_long_warm_up_on_all_components_learns_wrong_pairs_by_heart(make_topic_pairs):
    early, late = [], []
    for seed in range(2):
        pairs, clean = make_topic_pairs(300, rate=0.4, seed=seed)
        early.append(roc_auc_score(clean, EarlyLoss()(pairs)))
        late.append(roc_auc_score(clean, EarlyLoss(warmup=60, rounds=0, components=256)(pairs)))
    assert np.mean(early) > np.mean(late) + 0.2


def test_co_teaching_changes_what_heads_learn(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(300, rate=0.4, seed=2)
    before, after = EarlyLoss(warmup=6, rounds=0)(pairs), EarlyLoss(warmup=6, rounds=4)(pairs)
    longer = EarlyLoss(warmup=10, rounds=0)(pairs)
    assert not np.allclose(after, before)
    assert not np.allclose(after, longer)  # the weights count, not only the epochs
    assert roc_auc_score(clean, after) > roc_auc_score(clean, before)


def test_cannot_tell_below_sixteen_groups(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    np.testing.assert_array_equal(EarlyLoss()(replace(pairs, group=np.arange(60) % 15)), 0.5)
    assert EarlyLoss()(replace(pairs, group=np.arange(60) % 16)).std() > 0


def test_identical_vectors_score_one_half():
    vectors = np.tile(np.float32([0.6, 0.8]), (30, 1))
    np.testing.assert_array_equal(EarlyLoss()(PairBatch(vectors, vectors)), 0.5)


def test_another_seed_gives_other_scores_of_like_quality(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(300, rate=0.3, seed=4)
    one, other = (EarlyLoss(seed=seed)(pairs) for seed in (0, 1))
    assert not np.array_equal(one, other)
    assert abs(roc_auc_score(clean, one) - roc_auc_score(clean, other)) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        {"warmup": 0},
        {"rounds": -1},
        {"components": 0},
        {"batch_size": 1},
        {"margin": 0.0},
        {"learning_rate": 0.0},
        {"seed": -1},
    ],
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        EarlyLoss(**wrong)
