"""Two Gaussians over one number per pair: against scikit-learn, and what sets ours apart."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.mixture import GaussianMixture

from tasks.noise._mixture import low_posterior


def two_heaps(seed: int, *, low: int = 300, high: int = 120, wide: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0.3, 0.05, low), rng.normal(1.2, wide, high)])


def by_scikit_learn(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of the component of the lower mean, and which values lie between both means."""
    low, high = np.quantile(values, (0.01, 0.99))
    scaled = np.clip((values - low) / (high - low), 0, 1)[:, None]
    mixture = GaussianMixture(2, max_iter=100, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(scaled)
    means = mixture.means_.ravel()
    between = (scaled[:, 0] > means.min()) & (scaled[:, 0] < means.max())
    return mixture.predict_proba(scaled)[:, means.argmin()], between


@pytest.mark.parametrize("seed", range(3))
def test_is_the_posterior_of_scikit_learn_between_the_means(seed):
    values = two_heaps(seed)
    expected, between = by_scikit_learn(values, seed)
    assert between.sum() > 100
    np.testing.assert_allclose(low_posterior(values, seed=seed)[between], expected[between], atol=1e-9)


@pytest.mark.parametrize("wide", [0.01, 0.05, 0.5])
def test_falls_with_the_value_whatever_the_widths(wide):
    values = two_heaps(3, wide=wide)
    posterior = low_posterior(values, seed=0)[np.argsort(values)]
    assert (np.diff(posterior) <= 0).all()
    assert posterior[0] > 0.9
    assert posterior[-1] < 0.1


def test_the_lowest_value_is_low_also_where_the_high_component_is_so_wide_that_it_covers_it():
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.normal(1, 0.02, 400), rng.normal(3, 1, 400), [0.0]])
    plain, _ = by_scikit_learn(values, 0)
    assert plain[-1] < 0.5  # what the tangent is for
    assert low_posterior(values, seed=0)[-1] > 0.9


def test_beyond_the_means_the_log_odds_go_on_along_their_tangent():
    values = two_heaps(7)
    low, high = np.quantile(values, (0.01, 0.99))
    scaled = (values - low) / (high - low)
    mixture = GaussianMixture(2, max_iter=100, tol=1e-2, reg_covar=5e-4, random_state=0)
    mixture.fit(np.clip(scaled, 0, 1)[:, None])
    means, variances = mixture.means_.ravel(), mixture.covariances_.ravel()
    order = means.argsort()
    for this, other, beyond in ((*order, scaled < means.min()), (*order[::-1], scaled > means.max())):
        at_mean = logit(mixture.predict_proba(means[[this]][:, None])[0, order[0]])
        # At its own mean a Gaussian is flat, so the slope is that of the other's exponent.
        slope = -abs(means[other] - means[this]) / variances[other]
        expected = at_mean + slope * (scaled[beyond] - means[this])
        np.testing.assert_allclose(logit(low_posterior(values, seed=0)[beyond]), expected, rtol=1e-6)


def test_one_outlier_does_not_take_a_component_for_itself():
    values = np.append(two_heaps(5), 1e4)
    posterior = low_posterior(values, seed=0)
    assert ((posterior[:-1] > 0.5) == (np.arange(420) < 300)).mean() > 0.97
    assert posterior[-1] == 0


@pytest.mark.parametrize("values", [[], [2.0], [2.0, 2.0, 2.0], [1.0, 1.0 + 1e-9]])
def test_cannot_tell_what_is_equal(values):
    np.testing.assert_array_equal(low_posterior(np.array(values), seed=0), np.full(len(values), 0.5))


def test_tells_two_values_apart():
    posterior = low_posterior(np.array([1.0] * 10 + [2.0] * 10), seed=0)
    np.testing.assert_allclose(posterior, [1] * 10 + [0] * 10, atol=1e-6)


def test_is_the_same_at_any_scale():
    values = two_heaps(6)
    np.testing.assert_allclose(
        low_posterior(values * 1e3 + 7, seed=0), low_posterior(values, seed=0), atol=1e-6
    )
