"""Scores turned into probabilities by what people said of some of the pairs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source
from tasks.dividers._guard import auroc, refused, require_scores
from tasks.dividers.contract import Division

Curve = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True)
class Calibrated:
    """P(clean) by isotonic regression on verdicts, or by Platt's logistic curve where they are few.

    The probabilities of scores do not depend on which pairs were judged, as long as those were drawn blindly or
    by score. A judged pair keeps the probability of its score: whoever decides reads the verdict itself.

    Args:
        enough: Verdicts of each kind from which isotonic regression is used.
        resamples: Bootstrap resamples of pairs and verdicts for the interval.
        seed: Seed of the resamples.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "calibrated"
    source: ClassVar[Source] = Source(
        title="Predicting Good Probabilities With Supervised Learning",
        authors="Niculescu-Mizil and Caruana",
        year=2005,
        url="https://doi.org/10.1145/1102351.1102430",
        departs="refuses where the verdicts do not go with the scores",
    )
    reads_shape: ClassVar[bool] = False

    enough: int = 50
    resamples: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.enough < 2 or self.resamples < 2:
            raise ValueError(f"enough and resamples must be at least 2: {self}")

    def __call__(
        self,
        scores: NDArray[np.float32],
        *,
        mismatched: NDArray[np.float32] | None = None,
        verdict: NDArray[np.int8] | None = None,
    ) -> Division:
        """Return the division; `mismatched` is not read.

        Raises:
            DataError: Scores are not finite or lie outside [0, 1], or not both kinds of verdicts were given.
        """
        require_scores(scores, mismatched, verdict)
        said = np.zeros(0, np.int8) if verdict is None else verdict
        true, false = int((said == 1).sum()), int((said == 0).sum())
        if true == 0 or false == 0:
            raise DataError(
                f"calibrated needs verdicts of both kinds and got {true} true and {false} false; "
                "review pairs, or use self-injected"
            )
        judged = np.flatnonzero(said >= 0)
        seen, right = scores[judged], said[judged] == 1
        apart = auroc(seen[right], seen[~right])
        error = np.sqrt((1 / true + 1 / false) / 12)  # of an AUROC of 1/2
        if apart - 0.5 < 2 * error:
            return refused(
                scores,
                f"pairs people called true score no higher than those they called false (AUROC {apart:.2f} from "
                f"{true} and {false} verdicts)",
            )
        fit = isotonic if min(true, false) >= self.enough else platt
        clean = fit(seen, right)(scores)
        rates = []
        for number in range(self.resamples):
            rng = np.random.default_rng((self.seed, number))
            # Each kind by itself, so that no resample lacks one.
            drawn = np.concatenate(
                [rng.choice(np.flatnonzero(right), true), rng.choice(np.flatnonzero(~right), false)]
            )
            rates.append(1 - fit(seen[drawn], right[drawn])(rng.choice(scores, len(scores))).mean())
        low, high = np.quantile(rates, [0.025, 0.975])
        rate = 1 - float(clean.mean())
        return Division(
            clean.astype(np.float32),
            rate,
            min(float(low), rate),
            max(float(high), rate),
            True,
            f"calibrated on {true} true and {false} false pairs, AUROC {apart:.2f}",
        )


def isotonic(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> Curve:
    """Return the rising step function that fits verdicts best by least squares."""
    from sklearn.isotonic import IsotonicRegression

    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, right.astype(np.float64))
    return lambda at: np.asarray(steps.predict(at), dtype=np.float64)


def platt(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> Curve:
    """Return the logistic curve of highest likelihood, its targets drawn in from 0 and 1 as Platt does.

    It never falls: where the likelihood asks for that, it is flat.
    """
    true, false = right.sum(), (~right).sum()
    target = np.where(right, (true + 1) / (true + 2), 1 / (false + 2))
    middle, spread = float(scores.mean()), max(float(scores.std()), 1e-6)
    x = (scores.astype(np.float64) - middle) / spread

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = line[0] * x + line[1]
        value = -(
            target * scipy.special.log_expit(logit) + (1 - target) * scipy.special.log_expit(-logit)
        ).sum()
        residual = scipy.special.expit(logit) - target
        return float(value), np.array([residual @ x, residual.sum()])

    start = np.array([0.0, np.log((true + 1) / (false + 1))])
    line = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]
    ).x
    return lambda at: np.asarray(
        scipy.special.expit(line[0] * (at.astype(np.float64) - middle) / spread + line[1])
    )
