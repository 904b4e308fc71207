"""Two beta distributions over the scores: skewed kinds, with tails that end where scores do."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.source import Source
from tasks.dividers._guard import STARTS, ends, one_kind, refused, require_scores, rising, scaled, too_few
from tasks.dividers.contract import Component, Division

_MOST = 4096  # rows of a resample; with more pairs than that the interval is wider than it need be
_GRID = np.linspace(0.0005, 0.9995, 1000)  # where the overlap of two components is measured


@dataclass(frozen=True)
class BetaPair:
    """Two beta distributions and their shares, each (2,)."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    share: NDArray[np.float64]

    def joint(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log of share times density. Shape (2, N)."""
        x = values[None]
        a, b = self.a[:, None], self.b[:, None]
        density = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - scipy.special.betaln(a, b)
        return np.asarray(np.log(self.share)[:, None] + density)

    def upper(self) -> int:
        """Return which of the two has the higher mean."""
        return int((self.a / (self.a + self.b)).argmax())

    def apart(self) -> float:
        """Return P(a value of the upper one is above one of the lower)."""
        density = np.exp(self.joint(_GRID) - np.log(self.share)[:, None])
        density /= density.sum(axis=1, keepdims=True)
        above, below = density[self.upper()], density[1 - self.upper()]
        return float((above * (np.cumsum(below) - below / 2)).sum())


@dataclass(frozen=True)
class BetaMixture:
    """P(clean) is the posterior of the component with the higher mean.

    Like `gaussian-mixture` it reads the shape of the scores alone.

    Args:
        steps: EM steps.
        margin: Scaled scores are kept this far from 0 and 1, where a beta density may be infinite.
        tail: Share of scores cut off at either end before they are stretched to [0, 1].
        resamples: Bootstrap resamples for the interval.
        seed: Seed of the resamples.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "beta-mixture"
    source: ClassVar[Source] = Source(
        title="BiCro: Noisy Correspondence Rectification for Multi-modality Data via Bi-directional "
        "Cross-modal Similarity Consistency",
        authors="Yang et al.",
        year=2023,
        url="https://arxiv.org/abs/2303.12419",
        departs="on scores in place of losses; tails cut before scaling; the best of several starts; posterior held "
        "monotone; refuses where one kind explains the scores",
    )
    reads_shape: ClassVar[bool] = True

    steps: int = 10
    margin: float = 0.05
    tail: float = 0.005
    resamples: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.resamples < 2 or not 0 < self.margin < 0.25:
            raise ValueError(f"steps must be at least 1, resamples 2, and margin between 0 and 0.25: {self}")
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
        stretched = scaled(scores, self.tail)
        inner = 1 - 2 * self.margin
        values = self.margin + inner * stretched
        starts = [PAPER_START, *(split_at(values, start) for start in STARTS)]
        fits = [fit_betas(values, start, self.steps) for start in starts]
        best = int(np.argmax([_likelihood(betas, values) for betas in fits]))
        betas = fits[best]

        def density(at: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(
                inner * np.exp(scipy.special.logsumexp(betas.joint(self.margin + inner * at), axis=0))
            )

        apart = betas.apart()
        if why := one_kind(stretched, density, parameters=5, smaller=float(betas.share.min()), apart=apart):
            return refused(scores, why)

        clean = rising(scores, _posterior(betas, values))
        rates = []
        for number in range(self.resamples):
            rng = np.random.default_rng((self.seed, number))
            drawn = rng.choice(values, min(len(values), _MOST))
            rates.append(
                1 - rising(drawn, _posterior(fit_betas(drawn, starts[best], self.steps), drawn)).mean()
            )
        low, high = np.quantile(rates, [0.025, 0.975])
        rate = 1 - float(clean.mean())
        return Division(
            clean.astype(np.float32),
            rate,
            min(float(low), rate),
            max(float(high), rate),
            True,
            f"two kinds of scores, AUROC {apart:.2f} between them if both are betas",
            self._components(betas, *ends(scores, self.tail)),
        )

    def _components(self, betas: BetaPair, low: float, high: float) -> tuple[Component, Component]:
        """Return both kinds in units of the scores, of which `low` and `high` were stretched to 0 and 1."""
        scale = (high - low) / (1 - 2 * self.margin)
        loc = low - self.margin * scale
        wrong, true = (
            Component("beta", float(betas.share[n]), loc, scale, float(betas.a[n]), float(betas.b[n]))
            for n in (1 - betas.upper(), betas.upper())
        )
        return wrong, true


PAPER_START = BetaPair(np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([0.5, 0.5]))


def split_at(values: NDArray[np.float64], share: float) -> BetaPair:
    """Return the betas of a share of lowest values and of the rest."""
    return _by_moments(
        (np.argsort(np.argsort(values, kind="stable")) < share * len(values)).astype(np.float64), values
    )


def fit_betas(values: NDArray[np.float64], start: BetaPair, steps: int) -> BetaPair:
    """Fit two beta distributions by EM; the M-step matches mean and variance, not the likelihood."""
    betas = start
    for _ in range(steps):
        joint = betas.joint(values)
        betas = _by_moments(np.exp(joint[0] - scipy.special.logsumexp(joint, axis=0)), values)
    return betas


def _by_moments(first: NDArray[np.float64], values: NDArray[np.float64]) -> BetaPair:
    """Return the betas of given means and variances; `first` (N,) is how far values belong to the first."""
    belongs = np.stack([first, 1 - first])  # (2, N)
    weight = np.maximum(belongs.sum(axis=1), 1e-9)
    mean = np.clip(belongs @ values / weight, 1e-6, 1 - 1e-6)
    variance = (belongs * (values - mean[:, None]) ** 2).sum(axis=1) / weight
    # A beta's variance lies below mean (1 - mean); at the floor it is a spike and not a division by 0.
    size = np.clip(mean * (1 - mean) / np.maximum(variance, 1e-8) - 1, 1e-2, 1e6)
    return BetaPair(mean * size, (1 - mean) * size, weight / weight.sum())


def _likelihood(betas: BetaPair, values: NDArray[np.float64]) -> float:
    return float(scipy.special.logsumexp(betas.joint(values), axis=0).sum())


def _posterior(betas: BetaPair, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(upper component). Shape (N,)."""
    joint = betas.joint(values)
    return np.asarray(np.exp(joint[betas.upper()] - scipy.special.logsumexp(joint, axis=0)))
