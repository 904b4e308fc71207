"""Two bells over the scores: the division of NCR and most of its successors."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.source import Source
from tasks.dividers._guard import STARTS, ends, one_kind, refused, require_scores, rising, scaled, too_few
from tasks.dividers.contract import Component, Division

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture as TwoBells

_MOST = 4096  # rows of a resample; with more pairs than that the interval is wider than it need be


@dataclass(frozen=True)
class GaussianMixture:
    """P(clean) is the posterior of the component with the higher mean.

    Reads nothing but the shape of the scores: two kinds must show in it. On scores that overlap, the share it
    finds lies far from the truth even where it does not refuse; `self-injected` needs no shape.

    Args:
        max_iter: EM iterations.
        tol: EM stops when the mean log-likelihood gains less, in nats.
        reg_covar: Added to both variances; keeps a component from collapsing onto one pair.
        tail: Share of scores cut off at either end before they are stretched to [0, 1].
        resamples: Bootstrap resamples for the interval.
        seed: Seed of the starting point and the resamples.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "gaussian-mixture"
    source: ClassVar[Source] = Source(
        title="Learning with Noisy Correspondence for Cross-modal Matching",
        authors="Huang et al.",
        year=2021,
        url="https://github.com/XLearning-SCU/2021-NeurIPS-NCR",
        departs="on scores in place of losses; tails cut before scaling; the best of several starts; posterior held "
        "monotone; refuses where one kind explains the scores",
    )
    reads_shape: ClassVar[bool] = True

    max_iter: int = 10
    tol: float = 1e-2
    reg_covar: float = 5e-4
    tail: float = 0.005
    resamples: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_iter < 1 or self.tol <= 0 or self.reg_covar <= 0 or self.resamples < 2:
            raise ValueError(
                f"max_iter must be at least 1, resamples 2, and tol and reg_covar positive: {self}"
            )
        if not 0 <= self.tail < 0.25:
            raise ValueError(f"tail must be in [0, 0.25), found {self.tail}")

    def __call__(
        self,
        scores: NDArray[np.float32],
        *,
        mismatched: NDArray[np.float32] | None = None,
        verdict: NDArray[np.int8] | None = None,
    ) -> Division:
        """Return the division; `mismatched` and `verdict` are not read.

        Raises:
            DataError: Scores are not finite or lie outside [0, 1].
        """
        require_scores(scores, mismatched, verdict)
        if why := too_few(scores):
            return refused(scores, why)
        values = scaled(scores, self.tail)
        fits = [self._fit(values, start) for start in STARTS]
        best = int(np.argmax([bells.score(values[:, None]) for bells in fits]))
        bells = fits[best]
        mean, deviation = bells.means_[:, 0], np.sqrt(bells.covariances_[:, 0, 0])
        apart = float(scipy.stats.norm.cdf(np.ptp(mean) / np.hypot(*deviation)))
        if why := one_kind(
            values,
            lambda x: np.exp(bells.score_samples(x[:, None])),
            parameters=5,
            smaller=float(bells.weights_.min()),
            apart=apart,
        ):
            return refused(scores, why)

        clean = rising(scores, _posterior(bells, values))
        rates = []
        for number in range(self.resamples):
            rng = np.random.default_rng((self.seed, number))
            drawn = rng.choice(values, min(len(values), _MOST))
            rates.append(1 - rising(drawn, _posterior(self._fit(drawn, STARTS[best]), drawn)).mean())
        low, high = np.quantile(rates, [0.025, 0.975])
        rate = 1 - float(clean.mean())
        return Division(
            clean.astype(np.float32),
            rate,
            min(float(low), rate),
            max(float(high), rate),
            True,
            f"two kinds of scores, AUROC {apart:.2f} between them if both are bells",
            _components(bells, *ends(scores, self.tail)),
        )

    def _fit(self, values: NDArray[np.float64], start: float) -> "TwoBells":
        """Fit two bells, beginning with a share `start` of the lowest values as the lower one."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as TwoBells

        cut = min(max(round(start * len(values)), 1), len(values) - 1)
        ascending = np.sort(values)
        parts = ascending[:cut], ascending[cut:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # ten iterations are the paper's
            return TwoBells(
                n_components=2,
                max_iter=self.max_iter,
                tol=self.tol,
                reg_covar=self.reg_covar,
                weights_init=[cut / len(values), 1 - cut / len(values)],
                means_init=[[part.mean()] for part in parts],
                precisions_init=[[[1 / (part.var() + self.reg_covar)]] for part in parts],
                random_state=self.seed,
            ).fit(values[:, None])


def _posterior(bells: "TwoBells", values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(upper component). Shape (N,)."""
    return np.asarray(bells.predict_proba(values[:, None])[:, int(bells.means_.argmax())])


def _components(bells: "TwoBells", low: float, high: float) -> tuple[Component, Component]:
    """Return both kinds in units of the scores, of which `low` and `high` were stretched to 0 and 1."""
    upper, width = int(bells.means_.argmax()), high - low
    wrong, true = (
        Component(
            "normal", float(bells.weights_[n]), low + width * float(bells.means_[n, 0]),
            width * float(np.sqrt(bells.covariances_[n, 0, 0])),
        )
        for n in (1 - upper, upper)
    )  # fmt: skip
    return wrong, true
