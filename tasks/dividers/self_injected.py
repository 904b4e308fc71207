"""The share of wrong pairs by comparison with pairs made wrong on purpose: no shape of the scores is assumed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.batch import chunks, empty_on_disk, on_disk
from schemas.errors import DataError
from schemas.source import Source
from tasks.dividers._guard import FEWEST, auroc, refused, require_scores, too_few
from tasks.dividers.contract import Division

_CELLS = 200  # the tail share of a score is looked at in so many cells; fewer if there are fewer wrong scores
# Of the triangles. Wider ones take a dip of chance at the far end for a slope: less bias where kinds overlap, more
# variance everywhere. With 0.85, 19 of 20 estimates on 500 pairs are within 0.1 at an AUROC of 0.9.
_WIDTHS = np.concatenate([np.linspace(0.01, 0.2, 20), np.linspace(0.225, 0.85, 26)])
_CHUNK = 65_536  # scores looked up at once
_MEANS = np.linspace(0.2, 5, 49)  # of the bell of true scores, in widths of either bell
_HALVINGS = 12
_SIGNIFICANT = 3.0  # standard errors by which scores must exceed those of wrong pairs


@dataclass(frozen=True)
class SelfInjected:
    """Compares the scores with those of pairs known to be wrong, as from self-injected noise.

    The tail share p of a score is the share of known wrong pairs that score at least as high. Among wrong
    pairs p is uniform; among true ones it gathers near 0. So the density of p is a level, the share of noise,
    plus something that falls to 0 at p = 1. That something is fitted as a mixture of triangles, that is as any
    convex falling density, by maximum likelihood, and P(wrong | score) is the level over the density.

    True pairs that score like wrong ones cannot be told from them by any method: the estimate is an upper
    bound, reached where some scores are beyond all true pairs. With bells at an AUROC of 0.9 it is too high by
    0.03 at most, at 0.8 by 0.1 where noise is little; beyond that by about the share of true pairs that score
    like wrong ones. The lower end of the interval allows for true pairs whose scores are a bell, not for a
    longer tail.

    Verdicts refine the probabilities by isotonic regression, with the above as a prior. They should be of pairs
    drawn blindly, or by score. A judged pair keeps the probability of its score: whoever decides reads the
    verdict itself, and a threshold is set with probabilities that did not see it.

    Args:
        steps: EM steps of the fit.
        prior: How many verdicts the comparison counts as, all scores together.
        least_apart: AUROC of true over wrong pairs, as implied by the shares under bells, below which nothing is
            divided.
        widest: Width of the interval by chance beyond which nothing is divided.
        resamples: Bootstrap resamples, of both kinds of scores, for the interval.
        seed: Seed of the resamples.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "self-injected"
    source: ClassVar[Source] = Source(
        title="Estimating the proportion of true null hypotheses, with application to DNA microarray data",
        authors="Langaas et al.",
        year=2005,
        url="https://doi.org/10.1111/j.1467-9868.2005.00515.x",
        departs="the null distribution is that of self-injected wrong pairs; triangles of set widths, fitted by EM "
        "on cells; refuses where true and wrong pairs overlap",
    )
    reads_shape: ClassVar[bool] = False

    steps: int = 300
    prior: float = 50.0
    least_apart: float = 0.75
    widest: float = 0.4
    resamples: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.resamples < 2 or self.prior <= 0:
            raise ValueError(f"steps must be at least 1, resamples 2, and prior positive: {self}")
        if not 0.5 <= self.least_apart < 1 or not 0 < self.widest <= 1:
            raise ValueError(f"least_apart must be in [0.5, 1) and widest in (0, 1]: {self}")

    def __call__(
        self,
        scores: NDArray[np.float32],
        *,
        mismatched: NDArray[np.float32] | None = None,
        verdict: NDArray[np.int8] | None = None,
    ) -> Division:
        """Return the division.

        Raises:
            DataError: Scores are not finite or lie outside [0, 1], or there are no scores of wrong pairs.
        """
        require_scores(scores, mismatched, verdict)
        if mismatched is None:
            raise DataError(
                "self-injected compares with pairs known to be wrong and got no mismatched scores; "
                "inject noise and score it, or use gaussian-mixture"
            )
        if len(mismatched) < FEWEST:
            return refused(
                scores, f"{len(mismatched)} scores of wrong pairs are too few; {FEWEST} are needed"
            )
        if why := too_few(scores):
            return refused(scores, why)

        above = auroc(scores, mismatched)
        error = np.sqrt((1 / len(scores) + 1 / len(mismatched)) / 12)  # of an AUROC of 1/2
        if above - 0.5 < _SIGNIFICANT * error:
            return refused(
                scores,
                f"the pairs score no higher than wrong ones (AUROC {above:.2f}): nearly all are wrong, or the scorer "
                "cannot tell",
            )
        cells = min(_CELLS, len(mismatched) + 1)
        tails = empty_on_disk(len(scores), np.float64)
        ascending = np.sort(mismatched)
        counts = np.zeros((3, cells))
        for at in chunks(len(scores), _CHUNK):
            tails[at] = tail_shares(scores[at], ascending)
            counts += counted(tails[at], None if verdict is None else verdict[at], cells)
        wrong = self._wrong(counts[None])[0]
        clean = tails  # in their place
        for at in chunks(len(scores), _CHUNK):
            clean[at] = 1 - np.interp(tails[at], (np.arange(cells) + 0.5) / cells, wrong)
        rate = 1 - float(clean.mean())
        low, high, bells = self._interval(scores, mismatched, verdict, cells)
        if high - low > self.widest:
            return refused(scores, f"the share of noise lies anywhere between {low:.2f} and {high:.2f}")
        # Triangles overrate the noise, and so the AUROC, the more the worse it is. The quarter is for doubt: with the
        # median, one in three scorers of AUROC 0.7 passes on 500 pairs.
        level = min(rate, float(np.quantile(bells, 0.25)))
        apart = min(0.5 + (above - 0.5) / max(1 - level, 1e-6), 1)
        if apart < self.least_apart:
            return refused(
                scores,
                f"true and wrong pairs overlap too much (AUROC {apart:.2f} between them, "
                f"{self.least_apart:.2f} is asked for)",
            )
        return Division(
            clean.astype(np.float32),
            rate,
            min(float(np.quantile(bells, 0.025)), low, rate),
            max(high, rate),
            True,
            f"true pairs score above wrong ones with AUROC {apart:.2f} or more; the share of noise is an upper bound, as "
            "true pairs that score like wrong ones count as wrong",
        )

    def _interval(
        self,
        scores: NDArray[np.float32],
        mismatched: NDArray[np.float32],
        verdict: NDArray[np.int8] | None,
        cells: int,
    ) -> tuple[float, float, NDArray[np.float64]]:
        """Return 2.5 % and 97.5 % quantiles of the share of wrong pairs over resamples, and the shares under bells.

        Both kinds of scores are drawn anew. If true and wrong scores are bells, the tail of the true ones may reach
        below the worst wrong pair, which triangles cannot see.
        """
        ascending = on_disk(scores)
        ascending.sort()
        is_judged = np.zeros(len(scores), dtype=bool) if verdict is None else verdict >= 0
        judged, said = scores[is_judged], None if verdict is None else verdict[is_judged]
        counts = np.empty((self.resamples, 3, cells))
        for number in range(self.resamples):
            rng = np.random.default_rng((self.seed, number))
            wrong = np.sort(rng.choice(mismatched, len(mismatched)))
            _, told, told_wrong = counted(tail_shares(judged, wrong), said, cells)
            # What draws the scores anew comes to: how many of each kind fall in each cell is a multinomial draw.
            kinds = np.stack([_in_cells(ascending, wrong, cells) - told, told - told_wrong, told_wrong])
            drawn = rng.multinomial(len(scores), kinds.ravel() / len(scores)).reshape(kinds.shape)
            counts[number] = drawn.sum(axis=0), drawn[1:].sum(axis=0), drawn[2]
        found = counts[:, 0] / len(scores)
        low, high = np.quantile((self._wrong(counts) * found).sum(axis=1), [0.025, 0.975])
        return float(low), float(high), level_under_bells(found)

    def _wrong(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P(wrong) at the middle of each cell of tail shares, for R samples at once. Shape (R, cells).

        Where there are verdicts it is isotonic, the comparison counting as `prior` of them.

        Args:
            counts: (R, 3, cells) of each sample, as `counted` gives.
        """
        from sklearn.isotonic import IsotonicRegression

        found = counts[:, 0] / counts[:, 0].sum(axis=1, keepdims=True)
        level, density = falling_density(found, self.steps)
        wrong = level[:, None] / density
        cells = np.arange(counts.shape[2])
        for sample, (_, said, said_wrong) in enumerate(counts):
            if not said.any():
                continue
            weight = self.prior * found[sample] + said
            there = weight > 0
            target = (self.prior * found[sample] * wrong[sample] + said_wrong)[there] / weight[there]
            rising = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            wrong[sample] = rising.fit(cells[there], target, sample_weight=weight[there]).predict(cells)
        return wrong


def counted(tails: NDArray[np.float64], verdict: NDArray[np.int8] | None, cells: int) -> NDArray[np.float64]:
    """Return how many pairs, verdicts and verdicts of "false" lie in each cell of tail shares. Shape (3, cells)."""
    cell = _cell_of(tails, cells)
    said = np.zeros(len(tails), dtype=bool) if verdict is None else verdict >= 0
    wrong = np.zeros(len(tails), dtype=bool) if verdict is None else verdict == 0
    return np.stack([np.bincount(cell, weights=kind, minlength=cells) for kind in (cell >= 0, said, wrong)])


def _in_cells(ascending: NDArray[np.float32], wrong: NDArray[np.float32], cells: int) -> NDArray[np.float64]:
    """Return how many scores, given in order, lie in each cell of tail shares. (cells,)."""
    edges = np.arange(1, cells)
    beyond = np.zeros(
        cells - 1, np.int64
    )  # scores whose cell is the edge's or a later one: the lowest, as tails fall
    for bit in reversed(range(len(ascending).bit_length())):
        further = np.minimum(beyond + (1 << bit), len(ascending))
        reached = _cell_of(tail_shares(ascending[further - 1], wrong), cells) >= edges
        beyond = np.where(reached, further, beyond)
    return -np.diff(np.concatenate([[len(ascending)], beyond, [0]])).astype(np.float64)


def _cell_of(tails: NDArray[np.float64], cells: int) -> NDArray[np.int64]:
    return np.minimum((tails * cells).astype(np.int64), cells - 1)


def tail_shares(scores: NDArray[np.float32], ascending: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of wrong pairs, given in order, that score at least as high, equal ones counting half. In (0, 1)."""
    at_least = len(ascending) - np.searchsorted(ascending, scores, "left")
    higher = len(ascending) - np.searchsorted(ascending, scores, "right")
    return np.asarray((at_least + higher + 1) / 2 / (len(ascending) + 1))


def falling_density(
    found: NDArray[np.float64], steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a level plus a mixture of triangles, which fall from 0 to their width and are 0 beyond.

    Args:
        found: (R, cells) share of R samples in each of the equal cells of [0, 1].
        steps: EM steps.

    Returns:
        (R,) the level, and (R, cells) the density, both by maximum likelihood.
    """
    cells = found.shape[1]
    edges = np.linspace(0, 1, cells + 1)
    inside = 1 - np.maximum(1 - edges[:, None] / _WIDTHS, 0) ** 2  # (cells + 1, T) mass below an edge
    shapes = np.column_stack([np.ones(cells), np.diff(inside, axis=0) * cells])  # (cells, 1 + T)
    weight = np.full((len(found), shapes.shape[1]), 0.5 / len(_WIDTHS))
    weight[:, 0] = 0.5
    for _ in range(steps):
        weight *= (found / (weight @ shapes.T)) @ shapes
        np.maximum(weight, 1e-12, out=weight)  # a level of 0 would leave cells without a density
    return weight[:, 0], weight @ shapes.T


def level_under_bells(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the level by maximum likelihood if wrong and true scores are bells of one width. Shape (R,).

    Any rising change of scale is allowed for: wrong scores are made a standard bell by their ranks.

    Args:
        found: (R, cells) share of R samples in each of the equal cells of tail shares.
    """
    cells = found.shape[1]
    height = -scipy.special.ndtri(np.linspace(0, 1, cells + 1))  # of the edges, falling from infinity
    mass = scipy.special.ndtr(height - _MEANS[:, None])
    shape = np.maximum(mass[:, :-1] - mass[:, 1:], 1e-12) * cells  # (S, cells)
    low, high = np.zeros((len(found), len(shape))), np.ones((len(found), len(shape)))
    for _ in range(_HALVINGS):  # the likelihood is concave in the level
        level = (low + high) / 2
        slope = np.stack(
            [
                (((1 - g) / (one[:, None] + (1 - one[:, None]) * g)) * found).sum(axis=1)
                for g, one in zip(shape, level.T, strict=True)
            ],
            axis=1,
        )
        low, high = np.where(slope > 0, level, low), np.where(slope > 0, high, level)
    level = (low + high) / 2
    fit = [
        (np.log(one[:, None] + (1 - one[:, None]) * g) * found).sum(axis=1)
        for g, one in zip(shape, level.T, strict=True)
    ]
    return np.asarray(low[np.arange(len(found)), np.argmax(fit, axis=0)])  # 0 where the likelihood only falls
