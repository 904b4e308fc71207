"""How many candidates to keep: up to k, those likely enough to be right, and none where nothing is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError


@dataclass(frozen=True)
class CutCurve:
    """What every threshold would keep, over Q judged queries.

    A threshold further down keeps no less: `recall` and `size` rise along the arrays.

    Args:
        threshold: (T,) falling; candidates of this score or more are kept.
        precision: (T,) share of right ones among all that are kept; 1 where nothing is.
        recall: (T,) share of all right items that are kept.
        size: (T,) how many are kept a query, on average.
        spoilt: (T,) share of queries of which a wrong one is kept.
        empty: (T,) share of queries of which nothing is kept.
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    size: NDArray[np.float64]
    spoilt: NDArray[np.float64]
    empty: NDArray[np.float64]


def cut(scores: NDArray[np.floating], *, at_least: float, k: int) -> int:
    """Return how many of a query's candidates to keep, best first: those of at least this score, up to k.

    Args:
        scores: (K,) scores, in any order.
        at_least: Threshold; minus infinity keeps k whatever they score.
        k: How many at most.

    Raises:
        DataError: A score is not a number.
        ValueError: k is under 1, or the threshold is not a number.
    """
    if k < 1 or np.isnan(at_least):
        raise ValueError(f"k must be at least 1 and at_least a number; found {k} and {at_least}")
    if np.isnan(scores).any():
        raise DataError(f"score {int(np.flatnonzero(np.isnan(scores))[0])} is not a number; rerank again")
    return min(int((scores >= at_least).sum()), k)


def kept(
    item_ids: Sequence[str], scores: NDArray[np.floating], *, at_least: float, k: int
) -> NDArray[np.int64]:
    """Return the places of the candidates to keep, best first; of equal scores the smaller id first. May be empty.

    Raises:
        DataError: A score is not a number.
        ValueError: k is under 1, the threshold is not a number, or ids and scores differ in number.
    """
    if len(item_ids) != len(scores):
        raise ValueError(f"{len(item_ids)} ids need as many scores; found {len(scores)}")
    return best_first(item_ids, scores)[: cut(scores, at_least=at_least, k=k)]


def best_first(item_ids: Sequence[str], scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the places of candidates from the best down; of equal scores the smaller id first. Shape (K,)."""
    return np.lexsort((np.array(item_ids, dtype=np.str_), -np.asarray(scores, np.float64))).astype(np.int64)


def cut_curve(
    scores: Sequence[NDArray[np.floating]],
    relevant: Sequence[NDArray[np.bool_]],
    *,
    k: int,
    total: Sequence[int] | None = None,
) -> CutCurve:
    """Return what every threshold would keep of judged queries' candidates.

    Args:
        scores: (K_q,) per query, comparable between queries.
        relevant: (K_q,) per query, which are right.
        k: How many are kept at most; of equal scores the first ones.
        total: How many right items each query has, those that were not found included; None: those found.

    Raises:
        DataError: A score is not a number, or there is no candidate at all.
        ValueError: Numbers of queries or candidates differ, or k is under 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    if len(scores) != len(relevant) or (total is not None and len(total) != len(scores)):
        raise ValueError(f"{len(scores)} queries need as many verdicts and totals")
    score, right, best, mistake = [], [], [], []
    for number, (values, truth) in enumerate(zip(scores, relevant, strict=True)):
        if values.shape != truth.shape:
            raise ValueError(f"query {number} has scores {values.shape} but verdicts {truth.shape}")
        if np.isnan(values).any():
            raise DataError(f"a score of query {number} is not a number; rerank again")
        order = np.argsort(-values.astype(np.float64), kind="stable")[:k]
        score.append(values[order].astype(np.float64))
        right.append(truth[order])
        best.append(np.arange(len(order)) == 0)
        mistake.append(~truth[order] & (np.cumsum(~truth[order]) == 1))  # the query's first
    everything = np.concatenate(score) if score else np.zeros(0)
    if len(everything) == 0:
        raise DataError("there are no candidates, so nothing to cut; search first")
    order = np.argsort(-everything, kind="stable")
    threshold = everything[order]
    ends = np.append(np.flatnonzero(np.diff(threshold)), len(threshold) - 1)  # the last of equal scores
    found, opened, spoilt = (
        np.cumsum(np.concatenate(part)[order])[ends].astype(np.float64) for part in (right, best, mistake)
    )
    wanted = sum(int(truth.sum()) for truth in relevant) if total is None else sum(total)
    taken = (ends + 1).astype(np.float64)
    return CutCurve(
        threshold=threshold[ends],
        precision=found / taken,
        recall=found / max(wanted, 1),
        size=taken / len(scores),
        spoilt=spoilt / len(scores),
        empty=1 - opened / len(scores),
    )


def threshold_for(curve: CutCurve, *, precision: float) -> float:
    """Return the lowest threshold that keeps this share of right ones: of those with the precision, most recall.

    Choose it on queries that nothing was trained on, and expect a little less of others.

    Raises:
        DataError: No threshold reaches the precision.
        ValueError: The precision is not in (0, 1].
    """
    if not 0 < precision <= 1:
        raise ValueError(f"precision must lie in (0, 1], found {precision}")
    reached = np.flatnonzero(curve.precision >= precision)
    if len(reached) == 0:
        raise DataError(
            f"no threshold keeps {precision:g} right ones; the best keeps {curve.precision.max():.3f}; "
            "ask for less, or rerank by something better"
        )
    return float(curve.threshold[reached[-1]])


def threshold_for_recall(curve: CutCurve, *, recall: float) -> float:
    """Return the highest threshold that keeps this share of all right items.

    Raises:
        DataError: None does: more candidates or a larger k are needed.
        ValueError: The recall is not in (0, 1].
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall must lie in (0, 1], found {recall}")
    reached = np.flatnonzero(curve.recall >= recall)
    if len(reached) == 0:
        raise DataError(
            f"no threshold keeps {recall:g} of what is right; all candidates up to k keep {curve.recall.max():.3f}; "
            "fetch more candidates or raise k"
        )
    return float(curve.threshold[reached[0]])
