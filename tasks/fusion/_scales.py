"""Scores of different searches brought to one scale, within a query."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from tasks.fusion._runs import Scores

Scale = Literal["min-max", "z"]


def min_max(scores: Scores) -> dict[str, float]:
    """Return the scores mapped to [0, 1]: the last found has 0, the best 1. Where all are alike each has 1."""
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    if low == high:
        return dict.fromkeys(scores, 1.0)
    return {item_id: (score - low) / (high - low) for item_id, score in scores.items()}


def z(scores: Scores) -> dict[str, float]:
    """Return the scores less their mean, in standard deviations. Where all are alike each has 0."""
    values = np.array(list(scores.values()), np.float64)
    if len(values) == 0 or values.min() == values.max():
        return dict.fromkeys(scores, 0.0)
    scaled = (values - values.mean()) / values.std()
    return dict(zip(scores, scaled.tolist(), strict=True))


SCALES: dict[Scale, Callable[[Scores], dict[str, float]]] = {"min-max": min_max, "z": z}


def require_scale(scale: str) -> None:
    """Refuse a scale that is none.

    Raises:
        ValueError: It is none.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, found {scale!r}")
