"""Scores with a known share of wrong pairs among them."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit, ndtri


def simulated(
    n: int, *, rate: float, auroc: float, seed: int, like_wrong: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw scores of wrong pairs from one bell and of true pairs from another.

    A share `like_wrong` of the true pairs scores like wrong ones.

    Returns:
        (n,) scores, (n,) scores of other wrong pairs, and (n,) bool: which are true.
    """
    rng = np.random.default_rng((seed, n, round(1000 * auroc)))
    true = np.arange(n) >= round(rate * n)
    apart = true * ndtri(auroc) * 2**0.5
    apart[rng.random(n) < like_wrong] = 0
    scores, mismatched = (expit((x - 2) / 2) for x in (rng.normal(size=n) + apart, rng.normal(size=n)))
    return scores.astype(np.float32), mismatched.astype(np.float32), true


@pytest.fixture
def make_scores() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return simulated
