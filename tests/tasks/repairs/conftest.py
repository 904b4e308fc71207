"""Pairs some of whose texts were exchanged, and what a good head sees of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from schemas.batch import PairBatch


@dataclass(frozen=True)
class Exchanged:
    """Pairs of which some hold another's text.

    Args:
        pairs: The pairs as found; labels are the topics of the media.
        clean: (N,) a divider's opinion, right throughout.
        home: (N,) row that holds the text which is right for the medium of row i.
        topic_of_text: (N,) topic of the text now in row i.
    """

    pairs: PairBatch
    clean: np.ndarray
    home: np.ndarray
    topic_of_text: np.ndarray


def exchanged(
    n: int, *, rate: float, seed: int, topics: int = 8, width: int = 24, noise: float = 0.15
) -> Exchanged:
    """Make n pairs around topics and exchange the texts of a share of them in one cycle."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, topics, n)
    media = (
        2 * np.linalg.qr(rng.normal(size=(width, topics)))[0].T[topic]
        + rng.normal(size=(n, width)) / width**0.5
    )
    text = media + noise * rng.normal(size=(n, width)) / width**0.5
    media, text = (
        (side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32) for side in (media, text)
    )
    giver = np.arange(n)
    wrong = rng.permutation(n)[: round(rate * n)]
    giver[wrong] = np.roll(wrong, 1)
    clean = np.where(giver == np.arange(n), 0.9, 0.1).astype(np.float32)
    pairs = PairBatch(
        media, text, group=np.arange(n) + 100, label=topic, media_key=np.arange(n), text_key=np.arange(n)
    )
    return Exchanged(pairs.with_texts_of(giver), clean, np.argsort(giver), topic[giver])


@pytest.fixture
def make_exchanged() -> Callable[..., Exchanged]:
    return exchanged
