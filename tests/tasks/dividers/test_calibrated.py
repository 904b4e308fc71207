"""Calibration on verdicts: against scikit-learn and an independent optimiser."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from schemas.errors import DataError
from tasks.dividers import Calibrated


def judge(true, count, seed=0):
    verdict = np.full(len(true), -1, np.int8)
    judged = np.random.default_rng(seed).permutation(len(true))[:count]
    verdict[judged] = true[judged]
    return verdict


def test_many_verdicts_are_fitted_by_isotonic_regression(make_scores):
    scores, _, true = make_scores(2000, rate=0.4, auroc=0.9, seed=0)
    verdict = judge(true, 400)
    judged = verdict >= 0
    expected = IsotonicRegression(out_of_bounds="clip").fit(scores[judged], verdict[judged]).predict(scores)
    np.testing.assert_allclose(Calibrated()(scores, verdict=verdict).clean, expected, atol=1e-6)


def test_few_verdicts_are_fitted_by_platts_curve(make_scores):
    scores, _, true = make_scores(500, rate=0.4, auroc=0.9, seed=0)
    verdict = judge(true, 40)
    x, t = scores[verdict >= 0].astype(float), verdict[verdict >= 0]
    target = np.where(t == 1, (t.sum() + 1) / (t.sum() + 2), 1 / ((t == 0).sum() + 2))

    def loss(line):
        p = 1 / (1 + np.exp(-(line[0] * x + line[1])))
        return -(target * np.log(p) + (1 - target) * np.log(1 - p)).sum()

    line = minimize(
        loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 9999}
    ).x
    expected = 1 / (1 + np.exp(-(line[0] * scores.astype(float) + line[1])))
    np.testing.assert_allclose(Calibrated()(scores, verdict=verdict).clean, expected, atol=2e-3)


@pytest.mark.parametrize("count", [60, 600])
def test_finds_the_share_of_noise_also_where_doubtful_pairs_were_judged_more(count, make_scores):
    found, held = [], []
    for seed in range(6):
        scores, _, true = make_scores(3000, rate=0.3, auroc=0.9, seed=seed)
        odds = np.where(scores < 0.5, 4.0, 1.0)  # low scores are looked at more often
        judged = np.random.default_rng(seed).choice(3000, count, replace=False, p=odds / odds.sum())
        verdict = np.full(3000, -1, np.int8)
        verdict[judged] = true[judged]
        division = Calibrated()(scores, verdict=verdict)
        found.append(division.noise_rate)
        held.append(division.low <= 0.3 <= division.high)
    assert np.mean(found) == pytest.approx(0.3, abs=0.04)
    assert np.mean(held) > 0.6


@pytest.mark.parametrize("said", [None, -1, 0, 1])
def test_needs_verdicts_of_both_kinds(said):
    scores = np.linspace(0, 1, 50).astype(np.float32)
    verdict = None if said is None else np.full(50, said, np.int8)
    with pytest.raises(DataError, match="both kinds"):
        Calibrated()(scores, verdict=verdict)


def test_refuses_verdicts_that_contradict_the_scores(make_scores):
    scores, _, true = make_scores(1000, rate=0.5, auroc=0.9, seed=0)
    division = Calibrated()(scores, verdict=judge(~true, 200))
    assert not division.separable


@pytest.mark.parametrize("wrong", [{"enough": 1}, {"resamples": 1}])
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Calibrated(**wrong)
