"""Is a difference larger than seed noise? Intervals, tests and a verdict for runs repeated over seeds.

A run of an arm gives one value a query, and an arm is run with several seeds. Two things vary: another seed would
train another head, and other queries would be harder or easier. So a difference counts only if it stands out from
both, and the p-value is the larger of the two (Berger 1982, intersection-union):

over seeds      the t-test of the mean differences of the seeds, which are few and each a mean over many queries;
over queries    the permutation test of the mean differences of the queries: under no difference each is as likely to
                have the other sign (`scipy.stats.permutation_test`).

The interval is a bootstrap that draws whole seeds with all their queries (clusters: queries of one seed share its
luck). With S clusters such an interval is too narrow, by sqrt((S - 1) / S) and by the normal quantile where Student's
is due; it is widened by both (Hesterberg 2015, https://doi.org/10.1080/00031305.2015.1089789, section 3).

Several arms against one baseline are corrected by Holm (1979), https://www.jstor.org/stable/4615733.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import nct, norm, permutation_test, t, ttest_1samp

from schemas.errors import DataError

LARGER: Literal["larger than seed noise"] = "larger than seed noise"
NOTHING: Literal["no difference seen"] = "no difference seen"
RESAMPLES = 9_999
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """One arm against another, in the unit of the metric; positive: the arm has the higher value.

    Args:
        difference: Mean over seeds and queries of arm less baseline.
        low: Lower end of the interval over seeds.
        high: Upper end.
        p_seeds: Two-sided p-value over seeds.
        p_queries: Two-sided p-value over queries.
        p_value: The larger of both; after `compare_all`, Holm's adjustment of it.
        detectable: Smallest true difference that a comparison of this spread, so many seeds and so many queries
            finds in 8 of 10 cases. "No difference seen" says little about smaller ones.
        seeds: How many.
        queries: How many.
        alpha: Level of the tests; the interval has 1 - alpha.
        verdict: "larger than seed noise" if the p-value is at most alpha and the interval has not 0 in it.
    """

    difference: float
    low: float
    high: float
    p_seeds: float
    p_queries: float
    p_value: float
    detectable: float
    seeds: int
    queries: int
    alpha: float

    @property
    def verdict(self) -> Literal["larger than seed noise", "no difference seen"]:
        """What to say of it."""
        return LARGER if self.p_value <= self.alpha and not self.low <= 0 <= self.high else NOTHING


def compare(
    baseline: NDArray[np.floating],
    arm: NDArray[np.floating],
    *,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two arms run with the same seeds on the same queries.

    Args:
        baseline: (S, Q) value of the metric; row s is a seed, column q a query.
        arm: (S, Q), the same seeds and queries.
        alpha: Level of the tests.
        resamples: Of the bootstrap and of the permutation test.
        seed: Seed of both.

    Raises:
        DataError: A value is not finite, or there are fewer than two seeds or queries.
        ValueError: Shapes differ, or alpha is not between 0 and 1.
    """
    difference = _differences(baseline, arm, alpha)
    by_seed, by_query = difference.mean(axis=1), difference.mean(axis=0)
    mean = float(difference.mean())
    drawn = bootstrap(difference, resamples=resamples, seed=seed)
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2]) - mean
    wider = widening(len(by_seed), alpha)
    p_seeds, p_queries = seed_test(by_seed), query_test(by_query, resamples=resamples, seed=seed)
    return Comparison(
        difference=mean,
        low=mean + wider * float(low),
        high=mean + wider * float(high),
        p_seeds=p_seeds,
        p_queries=p_queries,
        p_value=max(p_seeds, p_queries),
        detectable=max(
            detectable(float(values.std(ddof=1)), len(values), alpha=alpha) for values in (by_seed, by_query)
        ),
        seeds=len(by_seed),
        queries=len(by_query),
        alpha=alpha,
    )


def compare_all(
    baseline: NDArray[np.floating],
    arms: Mapping[str, NDArray[np.floating]],
    *,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compare several arms with one baseline; p-values, and so verdicts, are corrected for their number.

    Raises:
        DataError: As `compare`.
        ValueError: As `compare`.
    """
    found = {
        name: compare(baseline, arm, alpha=alpha, resamples=resamples, seed=seed)
        for name, arm in arms.items()
    }
    adjusted = holm(np.array([one.p_value for one in found.values()]))
    return {
        name: replace(one, p_value=float(p)) for (name, one), p in zip(found.items(), adjusted, strict=True)
    }


def holm(p_values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the p-values adjusted for their number, in the same order; compare them with alpha itself.

    The i-th smallest of m is multiplied by m - i + 1, and none may be below one that was smaller.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03]))
        array([0.03, 0.06, 0.06])
    """
    if len(p_values) and not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p-values must lie in [0, 1], found {p_values}")
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order].astype(np.float64) * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


def bootstrap(
    difference: NDArray[np.floating], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Return means of the (S, Q) differences over seeds drawn with replacement, whole. Shape (resamples,)."""
    drawn = np.random.default_rng(seed).integers(0, len(difference), (resamples, len(difference)))
    return np.asarray(difference.mean(axis=1)[drawn].mean(axis=1), dtype=np.float64)


def widening(clusters: int, alpha: float = 0.05) -> float:
    """Return by how much an interval of resampled clusters is to be widened about the mean."""
    student, normal = t.ppf(1 - alpha / 2, clusters - 1), norm.ppf(1 - alpha / 2)
    return float(student / normal * np.sqrt(clusters / (clusters - 1)))


def seed_test(by_seed: NDArray[np.floating]) -> float:
    """Return the two-sided p-value of no mean difference over seeds; Student's t."""
    if np.ptp(by_seed) <= 1e-12:  # equal but for rounding: seeds change nothing, queries decide
        return 1.0 if abs(float(by_seed.mean())) <= 1e-12 else 0.0
    return float(ttest_1samp(by_seed, 0.0).pvalue)


def query_test(by_query: NDArray[np.floating], *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return the two-sided p-value of no difference over queries, by flipping signs; exact where they are few."""
    moved = by_query[np.abs(by_query) > 1e-12].astype(np.float64)  # a difference of 0 has no sign to flip
    if len(moved) < 2:  # of one alone either sign is as extreme
        return 1.0

    def total(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.asarray(values.sum(axis=axis))

    found = permutation_test(
        (moved,),
        total,
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, 2_000_000 // len(moved)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def detectable(spread: float, count: int, *, alpha: float = 0.05, power: float = POWER) -> float:
    """Return the smallest true mean that a two-sided t-test of `count` values finds with this power.

    Args:
        spread: Standard deviation of the values.
        count: How many, two at least.
        alpha: Level of the test.
        power: Share of cases in which it is found.
    """
    edge = t.ppf(1 - alpha / 2, count - 1)

    def shortfall(
        shift: float,
    ) -> float:  # in standard errors; the far tail is nil where power is of interest
        return float(nct.sf(edge, count - 1, shift)) - power

    return float(brentq(shortfall, 0, 20 * edge)) * spread / float(np.sqrt(count))


def _differences(
    baseline: NDArray[np.floating], arm: NDArray[np.floating], alpha: float
) -> NDArray[np.float64]:
    """Return arm less baseline, checked. Shape (S, Q)."""
    if baseline.shape != arm.shape or baseline.ndim != 2:
        raise ValueError(
            f"baseline is {baseline.shape} but arm is {arm.shape}; both must be (seeds, queries)"
        )
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, found {alpha}")
    if min(baseline.shape) < 2:
        raise DataError(
            f"{baseline.shape} seeds and queries tell nothing of their spread; run two of each at least"
        )
    difference = arm.astype(np.float64) - baseline.astype(np.float64)
    if not np.isfinite(difference).all():
        seed, query = np.argwhere(~np.isfinite(difference))[0]
        raise DataError(f"the value of seed {seed}, query {query} is not finite; run it again")
    return difference
