"""Frozen-estimator scores, by arithmetic."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from schemas.batch import PairBatch
from tasks.noise import FrozenEstimator
from tasks.noise.frozen_estimator import _mismatched


def at_cosines(cosines):
    """Media that all are the first axis, texts at given cosines to it."""
    cosines = np.asarray(cosines, np.float32)
    text = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    return PairBatch(np.tile(np.float32([1, 0]), (len(cosines), 1)), text)


def test_measures_from_the_mean_of_mismatched_pairs_to_the_highest_but_outliers():
    # Any text goes with any medium here: beta is the mean cosine of the texts drawn.
    cosines = np.linspace(0.1, 0.5, 200)
    media, text = _mismatched(np.arange(200), 100_000, np.random.default_rng(0))
    assert (media != text).all()
    beta = np.mean([cosines[j] for j in text])
    above = [max(c - beta, 0) for c in cosines]
    top = np.quantile(above, 0.9)
    x = np.minimum(np.array(above) / top, 1)
    pairs = at_cosines(cosines)
    np.testing.assert_allclose(FrozenEstimator(outliers=0.1)(pairs), x**2 * (2 - x**2), atol=1e-5)
    osa = FrozenEstimator(outliers=0.1, weighting="osa")(pairs)
    np.testing.assert_allclose(osa, x**2 * (1 - x**2), atol=1e-5)


def test_rises_with_similarity_unless_asked_for_the_papers_weights():
    cosines = np.linspace(-0.5, 0.9, 300)
    pairs = at_cosines(cosines)
    assert (np.diff(FrozenEstimator()(pairs)) >= 0).all()
    assert spearmanr(cosines[200:], FrozenEstimator(outliers=0)(pairs)[200:]).statistic == pytest.approx(1)
    weights = FrozenEstimator(weighting="osa", outliers=0)(pairs)
    assert weights[-1] == 0
    assert 0 < weights.argmax() < 299


def test_one_pair_of_another_kind_does_not_set_the_scale():
    cosines = np.r_[np.full(150, 0.2), np.full(150, 0.3), 1.0]
    scores = FrozenEstimator()(at_cosines(cosines))
    assert scores[200] > 0.9
    assert FrozenEstimator(outliers=0)(at_cosines(cosines))[200] < 0.1


def test_mismatched_pairs_are_of_different_groups():
    group = np.arange(90) // 30
    media, text = _mismatched(group, 1000, np.random.default_rng(0))
    assert len(media) > 40
    assert (group[media] != group[text]).all()
    assert len(_mismatched(np.zeros(50, np.int64), 1000, np.random.default_rng(0))[0]) == 0


def test_cannot_tell_where_nothing_is_above_mismatched_pairs():
    same = np.tile(np.float32([0.6, 0.8]), (30, 1))
    np.testing.assert_array_equal(FrozenEstimator()(PairBatch(same, same)), 0.5)
    one_group = PairBatch(*np.eye(3, dtype=np.float32)[None].repeat(2, 0), group=np.zeros(3, np.int64))
    np.testing.assert_array_equal(FrozenEstimator()(one_group), 0.5)


@pytest.mark.parametrize(
    "wrong", [{"weighting": "x"}, {"mismatched": 0}, {"outliers": 1.0}, {"outliers": -0.1}]
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        FrozenEstimator(**wrong)
