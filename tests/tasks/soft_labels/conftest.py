"""What a half-trained head knows of pairs, a third of them wrong."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.soft_labels.contract import Evidence


def known(n: int, *, seed: int, width: int = 16, noise: float = 0.6) -> tuple[Evidence, np.ndarray]:
    """Make n pairs of unit vectors that agree where true, and a divider's opinion that is mostly right.

    Returns:
        The evidence, and (n,) bool: which are true.
    """
    rng = np.random.default_rng(seed)
    true = rng.random(n) > 1 / 3
    media = rng.normal(size=(n, width))
    text = np.where(true[:, None], media, rng.normal(size=(n, width))) + noise * rng.normal(size=(n, width))
    media, text = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (media, text))
    clean = np.clip(np.where(true, 0.8, 0.2) + 0.15 * rng.normal(size=n), 0, 1)
    evidence = Evidence(
        clean.astype(np.float32),
        media.astype(np.float32),
        text.astype(np.float32),
        previous=rng.random(n).astype(np.float32),
        stability=rng.random(n).astype(np.float32),
    )
    return evidence, true


@pytest.fixture
def make_evidence() -> Callable[..., tuple[Evidence, np.ndarray]]:
    return known
