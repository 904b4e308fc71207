"""Runs side by side, query by query."""

import math
from collections.abc import Callable, Mapping, Sequence

from schemas.errors import DataError
from schemas.ranking import Run

Scores = Mapping[str, float]  # item id -> score
Weighed = tuple[float, Scores]  # weight of a run, and what it found


def by_query(
    runs: Sequence[Run],
    weights: tuple[float, ...] | None,
    fuse: Callable[[Sequence[Weighed]], dict[str, float]],
) -> dict[str, dict[str, float]]:
    """Return what `fuse` makes of each query's answers, items best first; of equal scores the smaller id first.

    Args:
        runs: The runs. One that lacks a query found nothing for it.
        weights: One a run; None: 1 each.
        fuse: From (weight, what the run found) of every run to the score of every item.

    Raises:
        DataError: A score is not finite.
        ValueError: There are not as many runs as weights.
    """
    if weights is not None and len(weights) != len(runs):
        raise ValueError(f"{len(runs)} runs need as many weights; found {weights}")
    fused: dict[str, dict[str, float]] = {}
    for query_id in dict.fromkeys(query_id for run in runs for query_id in run):
        answers = [run.get(query_id, {}) for run in runs]
        for number, found in enumerate(answers):
            if wrong := [item_id for item_id, score in found.items() if not math.isfinite(score)]:
                raise DataError(
                    f"run {number} scores item {wrong[0]!r} of query {query_id!r} {found[wrong[0]]}; search again"
                )
        scores = fuse(list(zip(weights or [1.0] * len(runs), answers, strict=True)))
        fused[query_id] = {item_id: scores[item_id] for item_id in best_first(scores)}
    return fused


def best_first(scores: Scores) -> list[str]:
    """Return the items from the highest score down; of equal scores the smaller id first."""
    return sorted(scores, key=lambda item_id: (-scores[item_id], item_id))


def require_weights(weights: tuple[float, ...] | None) -> None:
    """Refuse weights that are negative, not finite, or all 0.

    Raises:
        ValueError: They are.
    """
    if weights is None:
        return
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ValueError(f"weights must be finite, not negative and not all 0, found {weights}")
