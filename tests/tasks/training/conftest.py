"""What tests of training share: pairs of which a linear head can learn something."""

from collections.abc import Callable

import numpy as np
import pytest

from schemas.batch import PairBatch


def shared_latent(n: int, *, rate: float = 0.0, seed: int = 0) -> tuple[PairBatch, np.ndarray]:
    """Make n pairs, 24-d media and 16-d texts of one 8-d latent; a share `rate` of the texts is swapped.

    Returns:
        The pairs, and (n,) bool: which are true. The maps from the latent are the same for every seed.
    """
    maps = np.random.default_rng(99)
    to_media, to_text = maps.normal(size=(8, 24)), maps.normal(size=(8, 16))
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 8))
    media = latent @ to_media + rng.normal(size=(n, 24))
    text = latent @ to_text + rng.normal(size=(n, 16))
    wrong = rng.permutation(n)[: round(rate * n)]
    text[wrong] = text[np.roll(wrong, 1)]
    clean = np.ones(n, dtype=bool)
    clean[wrong] = False
    media, text = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (media, text))
    return PairBatch(media.astype(np.float32), text.astype(np.float32), common=False), clean


@pytest.fixture
def make_pairs() -> Callable[..., tuple[PairBatch, np.ndarray]]:
    """Make pairs of any size, share of noise and seed, and say which are true."""
    return shared_latent
