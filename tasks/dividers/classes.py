"""From probabilities to decisions: clean, disputed or noisy, and where to cut for a wanted precision."""

from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.dividers.contract import Division

NOISY, DISPUTED, CLEAN = range(3)
NAMES = ("noisy", "disputed", "clean")

_CUTS = 10  # sizes of sets that are tried; each costs some of the confidence


def classes(
    division: Division,
    *,
    noisy_below: float,
    clean_above: float,
    disagreement: NDArray[np.bool_] | None = None,
) -> NDArray[np.int8]:
    """Return NOISY, DISPUTED or CLEAN per pair. Shape (N,).

    Where the scores do not separate, nobody is noisy: all that is not clean is disputed.

    Args:
        division: What a divider gave.
        noisy_below: Pairs of a lower probability are noisy.
        clean_above: Pairs of at least this probability are clean.
        disagreement: (N,) whether scorers contradict each other on a pair, which is then disputed. None: they
            do not.

    Raises:
        ValueError: The thresholds are not 0 <= noisy_below <= clean_above <= 1.
        DataError: `disagreement` is not one per pair.
    """
    if not 0 <= noisy_below <= clean_above <= 1:
        raise ValueError(
            f"thresholds must be 0 <= noisy_below <= clean_above <= 1, found {noisy_below} and {clean_above}"
        )
    kind = np.full(len(division.clean), DISPUTED, np.int8)
    kind[division.clean >= clean_above] = CLEAN
    if division.separable:
        kind[division.clean < noisy_below] = NOISY
    if disagreement is not None:
        if disagreement.shape != kind.shape:
            raise DataError(f"disagreement is {disagreement.shape} but there are {len(kind)} pairs")
        kind[disagreement] = DISPUTED
    return kind


def threshold_for_precision(
    scores: NDArray[np.float32],
    verdict: NDArray[np.int8],
    wanted: float,
    *,
    of: Literal["kept", "dropped"] = "kept",
    confidence: float = 0.95,
) -> float | None:
    """Return where to cut so that the kept pairs are right, or the dropped ones wrong, to a wanted share.

    Kept are pairs that score at or above the threshold, dropped those below it. Of the thresholds that hold, the
    one is returned that keeps most, or drops most. Each of ten sizes of the set is tested by its
    Clopper-Pearson bound at a tenth of the allowed error, so that the choice among them is paid for. The judged
    pairs must be a fair sample at every score, and the scores must not have been fitted to their verdicts.

    Args:
        scores: (N,) scores or probabilities of being true.
        verdict: (N,) 1 true, 0 false, -1 nothing.
        wanted: The precision, in (0, 1).
        of: Which set is to be precise.
        confidence: Probability that the set is as precise as wanted, in (0, 1).

    Returns:
        The threshold; None where the verdicts do not show any that holds. Keeping 0.99 right takes some 530
        verdicts on right pairs, 0.9 some 50.

    Raises:
        ValueError: `wanted` or `confidence` is out of range.
        DataError: Shapes differ, or a judged score is not finite.
    """
    if not 0 < wanted < 1 or not 0 < confidence < 1:
        raise ValueError(f"wanted and confidence must be in (0, 1), found {wanted} and {confidence}")
    if scores.shape != verdict.shape:
        raise DataError(f"scores are {scores.shape} but verdicts {verdict.shape}; give one per pair")
    judged = np.flatnonzero(verdict >= 0)
    broken = judged[~np.isfinite(scores[judged])]
    if len(broken):
        raise DataError(
            f"{len(broken)} judged scores are not finite, first in row {broken[0]}; score them again"
        )
    if len(judged) == 0:
        return None
    seen = scores[judged]
    good = verdict[judged] == (1 if of == "kept" else 0)
    best_first = np.sort(seen)[::-1] if of == "kept" else np.sort(seen)
    error = (1 - confidence) / _CUTS
    for tenths in range(_CUTS, 0, -1):  # the largest set first
        last = best_first[-(-len(seen) * tenths // _CUTS) - 1]
        inside = seen >= last if of == "kept" else seen <= last
        hits, size = int(good[inside].sum()), int(inside.sum())
        if hits and scipy.stats.beta.ppf(error, hits, size - hits + 1) >= wanted:
            return float(last if of == "kept" else np.nextafter(last, np.inf))
    return None
