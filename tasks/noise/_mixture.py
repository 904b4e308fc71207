"""Which of two kinds a pair is of, by one number per pair: those with low values, or those with high ones."""

import warnings

import numpy as np
import scipy
from numpy.typing import NDArray

_WINSOR = 0.01  # share of values pulled in at either end before the fit
_MAX_ITER = 100
_TOL = 1e-2  # nats; NCR's
_REG_COVAR = 5e-4  # NCR's


def low_posterior(values: NDArray[np.floating], *, seed: int) -> NDArray[np.float64]:
    """Return the posterior of the component of low values, of two Gaussians. Shape (N,), in [0, 1]; falls strictly.

    Values are winsorised, as one outlier would squeeze all others into one component, brought to [0, 1] and
    fitted. Between the two means the result is the mixture's posterior. Beyond them two Gaussians of unequal
    width cross a second time, and the lowest value of all may be taken for a high one; there the log-odds go
    on along their tangent.

    Args:
        values: (N,) finite numbers; N may be 0.
        seed: Seed of the mixture's initial means.

    Returns:
        The posterior; 0.5 throughout where there are not two distinct values to tell apart.
    """
    if len(values) < 2:
        return np.full(len(values), 0.5)
    low, high = np.quantile(values, (_WINSOR, 1 - _WINSOR))
    # Values that differ by rounding only are equal.
    if high - low <= 1e-6 * max(abs(low), abs(high), 1e-12):
        return np.full(len(values), 0.5)
    scaled = (np.asarray(values, dtype=np.float64) - low) / (high - low)
    weight, mean, variance = _two_gaussians(np.clip(scaled, 0, 1), seed)
    inside = np.clip(scaled, mean[0], mean[1])
    log_density = np.log(weight) - np.log(variance) / 2 - (inside[:, None] - mean) ** 2 / (2 * variance)
    # The slope of the log-odds at one mean comes from the other component alone: its own is flat there.
    below, above = np.minimum(scaled - mean[0], 0), np.maximum(scaled - mean[1], 0)
    tangent = (mean[1] - mean[0]) * (below / variance[1] + above / variance[0])
    return np.asarray(scipy.special.expit(log_density[:, 0] - log_density[:, 1] - tangent), dtype=np.float64)


def _two_gaussians(
    scaled: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return weights, means and variances, the component of the lower mean first. Each (2,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        n_components=2, max_iter=_MAX_ITER, tol=_TOL, reg_covar=_REG_COVAR, random_state=seed
    )
    with warnings.catch_warnings():
        # Two distinct values make two clusters of no width; that is an answer, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(scaled[:, None])
    order = np.argsort(mixture.means_[:, 0], kind="stable")
    return mixture.weights_[order], mixture.means_[order, 0], mixture.covariances_[order, 0, 0]
