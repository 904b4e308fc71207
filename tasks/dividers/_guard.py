"""What every divider checks first, and what it gives when the scores cannot be divided."""

from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.dividers.contract import Division

FEWEST = 40  # rows below which no mixture is believed
STARTS = (0.05, 0.2, 0.5, 0.8, 0.95)  # shares of lowest scores that EM starts from as the wrong ones
_CHUNK = 65_536  # scores compared at once
_GRID = np.linspace(0.005, 0.995, 200)  # where a mixture is looked at for a valley
_VALLEY = 0.8  # height of a valley, in units of the lower of the peaks beside it
_APART = 0.9  # AUROC between components; one that is wide may hold the other inside it
_TAIL = 0.03  # share below which a component is no kind of its own
_STRONG = 10.0  # difference of BIC that counts as very strong evidence


def require_scores(
    scores: NDArray[np.float32],
    mismatched: NDArray[np.float32] | None = None,
    verdict: NDArray[np.int8] | None = None,
) -> None:
    """Refuse what cannot be divided.

    Raises:
        DataError: Scores are not finite or lie outside [0, 1], or verdicts do not fit them.
    """
    for what, values in (("score", scores), ("mismatched score", mismatched)):
        if values is None:
            continue
        if values.ndim != 1:
            raise DataError(f"{what}s are {values.shape}; give one per pair, (N,)")
        broken = np.flatnonzero(~((values >= 0) & (values <= 1)))  # NaN is in no range
        if len(broken):
            raise DataError(
                f"{len(broken)} {what}s are not in [0, 1], first {values[broken[0]]} in row {broken[0]}; "
                "score the pairs again"
            )
    if verdict is None:
        return
    if verdict.shape != scores.shape:
        raise DataError(f"verdicts are {verdict.shape} but scores are {scores.shape}; give one per pair")
    strange = np.flatnonzero(~np.isin(verdict, (-1, 0, 1)))
    if len(strange):
        raise DataError(
            f"verdict {verdict[strange[0]]} in row {strange[0]} is none of 1 (true), 0 (false), -1 (nothing)"
        )


def refused(scores: NDArray[np.float32], why: str) -> Division:
    """Return soft weights instead of a division: the rank of each score, equal scores alike.

    A logistic step at an unknown share of noise, averaged over all shares, is about the rank itself.
    """
    weight = (scipy.stats.rankdata(scores) - 0.5) / max(len(scores), 1)
    return Division(weight.astype(np.float32), None, None, None, False, why)


def too_few(scores: NDArray[np.float32]) -> str | None:
    """Return why there is too little to divide, or None."""
    if len(scores) < FEWEST:
        return f"{len(scores)} scores are too few to tell kinds of pairs apart; {FEWEST} are needed"
    if np.ptp(scores) == 0:
        return f"all {len(scores)} scores are {scores[0]:g}"
    return None


def scaled(scores: NDArray[np.float32], tail: float) -> NDArray[np.float64]:
    """Return the scores with both tails cut off at their quantiles and stretched to [0, 1]. Shape (N,).

    A single outlier would otherwise squeeze all others together.
    """
    low, high = ends(scores, tail)
    return np.asarray((np.clip(scores.astype(np.float64), low, high) - low) / (high - low))


def ends(scores: NDArray[np.float32], tail: float) -> tuple[float, float]:
    """Return the scores that `scaled` makes 0 and 1."""
    low, high = np.quantile(scores.astype(np.float64), [tail, 1 - tail])
    if high <= low:  # nearly all scores are equal
        return float(scores.min()), float(scores.max())
    return float(low), float(high)


def one_kind(
    values: NDArray[np.float64],
    density: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    parameters: int,
    smaller: float,
    apart: float,
) -> str | None:
    """Return why a mixture of two is not believed, or None if it is.

    Two components must explain the values clearly better than a single bell, peak (Laplace) or beta (of which
    the flat distribution is one), by the Bayesian information criterion; and there must be a valley between
    them, since two components also fit one lopsided kind better than one does. A very small component is a
    tail, not a kind, and one inside the other is no better.

    Args:
        values: (N,) in [0, 1].
        density: Density of the mixture at any values.
        parameters: Its free parameters.
        smaller: Share of its smaller component.
        apart: P(a value of the upper component is above one of the lower), the mixture's own AUROC.
    """
    likelihood = float(np.log(np.maximum(density(values), 1e-300)).sum())
    single = max(_bell(values), _peak(values), _single_beta(values))
    gain = 2 * (likelihood - single) - np.log(len(values)) * (parameters - 2)
    if gain < _STRONG:
        return (
            f"one kind of pairs explains the scores as well as two (BIC gains {gain:.0f} by the second, "
            f"{_STRONG:.0f} are asked for): all may be true, or the scorer cannot tell"
        )
    if not _has_valley(density(_GRID)):
        return "the scores have one peak and no valley: all pairs may be true, or the scorer cannot tell"
    if smaller < _TAIL:
        return f"one of two kinds would be {100 * smaller:.1f} % of the pairs: rather a tail of the other"
    if apart < _APART:
        return f"the two kinds overlap too much (AUROC {apart:.2f} between them, {_APART} is asked for)"
    return None


def _has_valley(height: NDArray[np.float64]) -> bool:
    """Whether a curve falls clearly between two peaks. The ends count as peaks where it rises to them."""
    before, after = np.maximum.accumulate(height), np.maximum.accumulate(height[::-1])[::-1]
    return bool((height < _VALLEY * np.minimum(before, after)).any())


def _bell(values: NDArray[np.float64]) -> float:
    """Return the log-likelihood of one Gaussian."""
    return float(scipy.stats.norm.logpdf(values, values.mean(), max(values.std(), 1e-6)).sum())


def _peak(values: NDArray[np.float64]) -> float:
    """Return the log-likelihood of one Laplace distribution: a kind with heavy tails."""
    middle = np.median(values)
    return float(scipy.stats.laplace.logpdf(values, middle, max(np.abs(values - middle).mean(), 1e-6)).sum())


def _single_beta(values: NDArray[np.float64]) -> float:
    """Return the log-likelihood of one beta distribution, by moments, or of the flat one if that is higher."""
    inside = np.clip(values, 1e-4, 1 - 1e-4)
    mean, variance = inside.mean(), max(inside.var(), 1e-12)
    size = mean * (1 - mean) / variance - 1
    if size <= 0:
        return 0.0
    return max(0.0, float(scipy.stats.beta.logpdf(inside, mean * size, (1 - mean) * size).sum()))


def rising(scores: NDArray[np.float32], clean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities made monotone in the score. Shape (N,).

    Where components differ in width, the wider one wins in both tails, so the posterior turns round in one.
    It is held at its turning point, on whichever side that changes less.
    """
    order = np.lexsort((clean, scores))
    along = clean[order]
    held_above = np.maximum.accumulate(along)
    held_below = np.minimum.accumulate(along[::-1])[::-1]
    changes_less = np.abs(held_above - along).sum() <= np.abs(held_below - along).sum()
    result = np.empty_like(clean)
    result[order] = held_above if changes_less else held_below
    return result


def auroc(above: NDArray[np.floating], below: NDArray[np.floating]) -> float:
    """Return P(a value of `above` exceeds one of `below`), ties counting half."""
    ordered, total = np.sort(below), 0.0
    for start in range(0, len(above), _CHUNK):
        some = above[start : start + _CHUNK]
        total += float(sum(np.searchsorted(ordered, some, side=side).sum() for side in ("left", "right"))) / 2
    return total / (len(above) * len(below))
