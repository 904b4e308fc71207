"""How well a score finds wrong pairs, and a division's probabilities hold, where the truth is known."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from schemas.errors import DataError

BINS = 15


@dataclass(frozen=True)
class Detection:
    """How well scores (higher: likelier true) find the wrong pairs. None: there is only one kind of pair.

    Args:
        wrong: Share of wrong pairs, which is what chance reaches in `average_precision`.
        auroc: P(a true pair scores above a wrong one), ties counting half.
        average_precision: Of finding the wrong pairs by low score.
        precision_at: n -> share of wrong pairs among the n of lowest score; where scores tie at the n-th, the
            share expected of a random choice among them. Only for n up to the number of pairs.
    """

    wrong: float
    auroc: float | None
    average_precision: float | None
    precision_at: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DivisionQuality:
    """How good P(clean) is, cut and as a probability. None: undefined, the pairs it divides by are none.

    Args:
        kept_precision: Of the pairs kept, the share that is true.
        kept_recall: Of the true pairs, the share kept.
        kept_f1: Their harmonic mean.
        found_precision: Of the pairs refused, the share that is wrong.
        found_recall: Of the wrong pairs, the share refused.
        found_f1: Their harmonic mean.
        ece: Expected calibration error: |share true - mean P| averaged over 15 bins of P of equal width.
        brier: Mean squared difference of P and truth, in [0, 1].
    """

    kept_precision: float | None
    kept_recall: float | None
    kept_f1: float | None
    found_precision: float | None
    found_recall: float | None
    found_f1: float | None
    ece: float
    brier: float


def detection(
    scores: NDArray[np.floating], clean: NDArray[np.bool_], *, at: tuple[int, ...] = (10, 50, 100)
) -> Detection:
    """Return how well the scores find the wrong pairs.

    Args:
        scores: (N,) higher: likelier true.
        clean: (N,) whether the pair is true.
        at: The n of `precision_at`.

    Raises:
        DataError: A score is not finite, or there are none.
        ValueError: Shapes differ, or an n is under 1.
    """
    _checked(scores, clean)
    if min(at, default=1) < 1:
        raise ValueError(f"every n of precision_at must be at least 1, found {at}")
    wrong = ~clean
    both = bool(wrong.any() and clean.any())
    return Detection(
        wrong=float(wrong.mean()),
        auroc=float(roc_auc_score(clean, scores)) if both else None,
        average_precision=float(average_precision_score(wrong, -scores)) if both else None,
        precision_at={n: _precision_at(n, scores, wrong) for n in at if n <= len(scores)},
    )


def division_quality(
    probability: NDArray[np.floating], clean: NDArray[np.bool_], *, at_least: float = 0.5
) -> DivisionQuality:
    """Return how good P(clean) is.

    Args:
        probability: (N,) P(true correspondence), in [0, 1].
        clean: (N,) whether the pair is true.
        at_least: A pair is kept from this probability on.

    Raises:
        DataError: A probability is not finite or lies outside [0, 1], or there are none.
        ValueError: Shapes differ.
    """
    _checked(probability, clean)
    if probability.min() < 0 or probability.max() > 1:
        raise DataError(
            f"probabilities lie in [{probability.min():g}, {probability.max():g}], not in [0, 1]; divide first"
        )
    kept = probability >= at_least
    precision, recall, f1, _ = precision_recall_fscore_support(
        clean, kept, labels=[True, False], zero_division=np.nan
    )
    kept_values, found_values = (
        [_defined(values[label]) for values in (precision, recall, f1)] for label in (0, 1)
    )
    p = probability.astype(np.float64)
    return DivisionQuality(
        kept_precision=kept_values[0],
        kept_recall=kept_values[1],
        kept_f1=kept_values[2],
        found_precision=found_values[0],
        found_recall=found_values[1],
        found_f1=found_values[2],
        ece=calibration_error(p, clean),
        brier=float(brier_score_loss(clean, p, pos_label=True)),
    )


def calibration_error(
    probability: NDArray[np.floating], clean: NDArray[np.bool_], *, bins: int = BINS
) -> float:
    """Return |share true - mean probability|, averaged over bins of equal width by how many are in them.

    After Guo et al. (2017), On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599, with
    P(clean) in place of the confidence in the predicted class. Bins are closed below; the last also above.
    """
    which = np.minimum((probability * bins).astype(np.int64), bins - 1)
    surplus = np.bincount(which, weights=clean - probability.astype(np.float64), minlength=bins)
    return float(np.abs(surplus).sum() / len(probability))


def _precision_at(n: int, scores: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    edge = np.partition(scores, n - 1)[n - 1]
    below, tied = scores < edge, scores == edge
    return float((wrong[below].sum() + (n - below.sum()) * wrong[tied].mean()) / n)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _checked(values: NDArray[np.floating], clean: NDArray[np.bool_]) -> None:
    if values.shape != clean.shape or values.ndim != 1:
        raise ValueError(f"scores are {values.shape} but truth is {clean.shape}; both must be (N,)")
    if clean.dtype != bool:
        raise ValueError(f"truth must be boolean, found {clean.dtype}")
    if len(values) == 0:
        raise DataError("there are no pairs to judge the scores by")
    if len(broken := np.flatnonzero(~np.isfinite(values))):
        raise DataError(f"{len(broken)} scores are not finite, first that of pair {broken[0]}")
