"""Mixtures of two: against scikit-learn, a loop, and scores that are of one kind."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta
from sklearn.mixture import GaussianMixture as Reference

from tasks.dividers import BetaMixture, GaussianMixture
from tasks.dividers._guard import rising, scaled
from tasks.dividers.beta_mixture import PAPER_START, fit_betas

both = pytest.mark.parametrize("method", [BetaMixture, GaussianMixture])


def test_gaussians_are_scikit_learns_where_two_kinds_are_plain():
    rng = np.random.default_rng(0)
    scores = np.clip(np.r_[rng.normal(0.3, 0.06, 300), rng.normal(0.7, 0.06, 700)], 0, 1).astype(np.float32)
    low, high = np.quantile(scores.astype(float), [0.005, 0.995])
    values = ((np.clip(scores, low, high) - low) / (high - low))[:, None]
    reference = Reference(2, max_iter=500, tol=1e-8, reg_covar=5e-4, random_state=0).fit(values)
    expected = reference.predict_proba(values)[:, reference.means_.argmax()]
    np.testing.assert_allclose(GaussianMixture(max_iter=500, tol=1e-8)(scores).clean, expected, atol=1e-3)


def test_one_outlier_does_not_squeeze_the_rest():
    rng = np.random.default_rng(0)
    scores = np.r_[rng.normal(0.02, 0.002, 300), rng.normal(0.04, 0.002, 700)]
    alone = GaussianMixture()(scores.astype(np.float32))
    beside = GaussianMixture()(np.r_[scores, 1.0].astype(np.float32))
    assert alone.separable
    assert beside.separable
    np.testing.assert_allclose(beside.clean[:-1], alone.clean, atol=0.02)


def betas_by_loops(values, steps):
    """EM for two beta distributions from the paper's start, one value at a time."""
    a, b, share = [1.0, 2.0], [2.0, 1.0], [0.5, 0.5]
    for _ in range(steps):
        belongs = []
        for x in values:
            joint = [share[k] * beta.pdf(x, a[k], b[k]) for k in (0, 1)]
            belongs.append([j / sum(joint) for j in joint])
        for k in (0, 1):
            weight = sum(r[k] for r in belongs)
            mean = sum(r[k] * x for r, x in zip(belongs, values, strict=True)) / weight
            variance = sum(r[k] * (x - mean) ** 2 for r, x in zip(belongs, values, strict=True)) / weight
            a[k] = mean * (mean * (1 - mean) / variance - 1)
            b[k] = a[k] * (1 - mean) / mean
            share[k] = weight / len(values)
    return a, b, share


def test_betas_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    values = np.r_[rng.beta(3, 9, 40), rng.beta(9, 3, 60)]
    fit = fit_betas(values, PAPER_START, 10)
    for found, expected in zip((fit.a, fit.b, fit.share), betas_by_loops(values, 10), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@both
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.random(1000),
        lambda rng: np.clip(rng.normal(0.5, 0.1, 1000), 0, 1),
        lambda rng: expit(rng.normal(size=1000)),
        lambda rng: expit(1.5 + rng.normal(size=1000)),
        lambda rng: rng.beta(2, 5, 1000),
        lambda rng: rng.beta(8, 1, 1000),
        lambda rng: rng.beta(1, 8, 1000),
        lambda rng: np.r_[rng.normal(0.3, 0.05, 985), rng.normal(0.7, 0.02, 15)],
    ],
    ids=[
        "flat",
        "bell",
        "squeezed bell",
        "lopsided bell",
        "skewed",
        "piled high",
        "piled low",
        "a few far off",
    ],
)
def test_one_kind_of_scores_is_not_divided(method, draw):
    for seed in range(4):
        division = method(resamples=2)(draw(np.random.default_rng(seed)).astype(np.float32))
        assert not division.separable
        assert division.noise_rate is None


@both
def test_probabilities_do_not_turn_round_in_the_tails(method):
    rng = np.random.default_rng(0)
    # A wide kind of wrong pairs reaches above the narrow kind of true ones.
    scores = np.clip(np.r_[rng.normal(0.35, 0.13, 500), rng.normal(0.8, 0.02, 500)], 0, 1).astype(np.float32)
    division = method()(scores)
    assert division.separable
    assert (np.diff(division.clean[np.argsort(scores)]) >= 0).all()
    assert division.clean[scores.argmax()] > 0.9


def test_a_turned_tail_is_held_and_the_rest_is_left():
    scores = np.float32([0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_array_equal(
        rising(scores, np.array([0.1, 0.3, 0.9, 0.8, 0.7])), [0.1, 0.3, 0.9, 0.9, 0.9]
    )
    np.testing.assert_array_equal(
        rising(scores, np.array([0.3, 0.2, 0.1, 0.1, 0.8])), [0.1, 0.1, 0.1, 0.1, 0.8]
    )


def test_scaling_keeps_the_ends_where_nearly_all_scores_are_equal():
    values = np.float32([0.5] * 999 + [0.7])
    np.testing.assert_allclose(scaled(values, 0.005), [0] * 999 + [1])


@both
@pytest.mark.parametrize("wrong", [{"resamples": 1}, {"tail": 0.3}, {"tail": -0.1}])
def test_refuses_parameters_out_of_range(method, wrong):
    with pytest.raises(ValueError, match="must be"):
        method(**wrong)


def test_bells_handed_out_are_scikit_learns_in_units_of_the_scores():
    rng = np.random.default_rng(1)
    scores = np.clip(np.r_[rng.normal(0.3, 0.05, 400), rng.normal(0.6, 0.04, 600)], 0, 1).astype(np.float32)
    low, high = np.quantile(scores.astype(float), [0.005, 0.995])
    values = ((np.clip(scores, low, high) - low) / (high - low))[:, None]
    reference = Reference(2, max_iter=500, tol=1e-8, reg_covar=5e-4, random_state=0).fit(values)
    at = np.linspace(0.2, 0.7, 51)
    density = np.exp(reference.score_samples(((at - low) / (high - low))[:, None])) / (high - low)
    found = GaussianMixture(max_iter=500, tol=1e-8)(scores).components
    step = 1e-5
    slope = sum((one.below(at + step) - one.below(at - step)) / (2 * step) for one in found)
    np.testing.assert_allclose(slope, density, rtol=0.02, atol=0.02)
    wrong, true = found
    assert wrong.loc < true.loc
    assert (wrong.share, true.share) == pytest.approx((0.4, 0.6), abs=0.02)


def test_betas_handed_out_are_scipys_in_units_of_the_scores():
    rng = np.random.default_rng(2)
    scores = np.r_[rng.beta(4, 20, 400), rng.beta(20, 4, 600)].astype(np.float32)
    method = BetaMixture()
    low, high = np.quantile(scores.astype(float), [method.tail, 1 - method.tail])

    def squeezed(at):
        return method.margin + (1 - 2 * method.margin) * (at - low) / (high - low)

    for one in method(scores).components:
        for at in (0.1, 0.3, 0.5, 0.7, 0.9):
            expected = one.share * beta(one.a, one.b).cdf(np.clip(squeezed(at), 0, 1))
            assert one.below(np.array([at]))[0] == pytest.approx(expected, abs=1e-9)
    # What is fitted is what was drawn: each kind holds its pairs.
    wrong, true = method(scores).components
    assert wrong.below(np.array([0.5]))[0] == pytest.approx(0.4, abs=0.02)
    assert true.share - true.below(np.array([0.5]))[0] == pytest.approx(0.6, abs=0.02)


@both
def test_what_is_refused_has_no_components(method):
    assert method(resamples=2)(np.random.default_rng(0).random(1000).astype(np.float32)).components is None
