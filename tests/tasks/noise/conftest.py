"""Pairs whose two sides share a hidden cause, some of them shuffled."""

from collections.abc import Callable

import numpy as np
import pytest

from schemas.batch import PairBatch

NoisyPairs = tuple[PairBatch, np.ndarray]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to unit length, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def shared_latent(
    n: int,
    *,
    rate: float,
    seed: int,
    dim: int = 48,
    rank: int = 12,
    noise: float = 1.0,
    aligned: bool = False,
) -> NoisyPairs:
    """Make n pairs from a low-rank latent; a share `rate` then swaps texts in a cycle: none stays right.

    The class of a medium is the signs of the strongest three directions of its latent.

    Returns:
        The pairs, and (n,) bool: which are true.
    """
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, rank)) * np.linspace(2, 0.5, rank)
    to_media = rng.normal(size=(rank, dim)) / rank**0.5
    to_text = to_media if aligned else rng.normal(size=(rank, dim)) / rank**0.5
    media = latent @ to_media + noise * rng.normal(size=(n, dim))
    text = latent @ to_text + noise * rng.normal(size=(n, dim))
    label = (latent[:, :3] > 0) @ np.array([4, 2, 1])
    return _with_swapped_texts(media, text, label, rate=rate, rng=rng)


def _with_swapped_texts(
    media: np.ndarray, text: np.ndarray, label: np.ndarray, *, rate: float, rng: np.random.Generator
) -> NoisyPairs:
    wrong = rng.permutation(len(text))[: round(rate * len(text))]
    text[wrong] = text[np.roll(wrong, 1)]
    clean = np.ones(len(text), dtype=bool)
    clean[wrong] = False
    order = np.arange(len(text))
    order[wrong] = np.roll(wrong, 1)
    pairs = PairBatch(
        unit(media),
        unit(text),
        label=label,
        media_key=np.arange(len(text)),
        text_key=order,
        texts=[f"a thing of kind {label[i]}, number {i}" for i in order],
    )
    return pairs, clean


@pytest.fixture
def noisy_pairs() -> NoisyPairs:
    """400 pairs in a common space, 30 % mismatched."""
    return shared_latent(400, rate=0.3, seed=0, aligned=True)


@pytest.fixture
def make_noisy_pairs() -> Callable[..., NoisyPairs]:
    """Make pairs of any size, share of noise and seed; each side in its own space."""
    return shared_latent


def shared_topics(n: int, *, rate: float, seed: int, dim: int = 256) -> NoisyPairs:
    """Make n pairs of bags of words: two shared topics, and four words of each side's own, some of them rare.

    Rare words make every row nearly unlike all others, as captions are: a head can learn single pairs by
    heart.

    Returns:
        The pairs, and (n,) bool: which are true.
    """
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, 60, (n, 2))
    media, text = (
        rng.normal(size=(60, dim))[topic].sum(axis=1)
        + rng.normal(size=(3000, dim))[(3000 * rng.random((n, 4)) ** 2).astype(int)].sum(axis=1)
        for _ in range(2)
    )
    return _with_swapped_texts(media, text, topic[:, 0], rate=rate, rng=rng)


@pytest.fixture
def make_topic_pairs() -> Callable[..., NoisyPairs]:
    """Make pairs of bags of words of any size, share of noise and seed."""
    return shared_topics
