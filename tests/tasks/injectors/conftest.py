"""Media with several captions each, in groups and classes, some texts used twice."""

from collections.abc import Callable

import numpy as np
import pytest

from schemas.batch import PairBatch

_WORDS = [f"{a}{b}" for a in "klmnprst" for b in ("ado", "eri", "ilu", "ona", "umo")]


def encode_words(texts) -> np.ndarray:
    """Hash words into 64 dimensions; the same text, the same vector."""
    vectors = np.zeros((len(texts), 64), np.float32)
    for row, text in enumerate(texts):
        for word in text.split():
            vectors[row] += np.random.default_rng(sum(map(ord, word)) * 131 + len(word)).normal(size=64)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def captioned(media: int, *, seed: int, captions: int = 3, classes: int = 6, alike: float = 0.1) -> PairBatch:
    """Make media of 1 to `captions` captions; a share `alike` of media is grouped with another."""
    rng = np.random.default_rng(seed)
    number = rng.integers(1, captions + 1, media)
    medium = np.repeat(np.arange(media), number)
    rows = rng.permutation(len(medium))  # captions of one medium lie apart
    medium = medium[rows]
    group = np.arange(media)
    doubles = rng.permutation(media)[: round(alike * media) // 2 * 2].reshape(-1, 2)
    group[doubles[:, 1]] = group[doubles[:, 0]]
    texts = [" ".join(rng.choice(_WORDS, 6)) for _ in medium]
    for row in range(0, len(texts), 17):
        texts[row] = texts[0]  # a generic text that many media have
    media_vec = rng.normal(size=(media, 64)).astype(np.float32)
    media_vec /= np.linalg.norm(media_vec, axis=1, keepdims=True)
    return PairBatch(
        media_vec[medium],
        encode_words(texts),
        group=group[medium],
        label=rng.integers(0, classes, media)[medium],
        media_key=medium * 7 + 3,
        text_key=np.unique(texts, return_inverse=True)[1].astype(np.int64) + 50,
        verdict=np.ones(len(medium), np.int8),
        texts=texts,
    )


@pytest.fixture
def pairs() -> PairBatch:
    """120 media of 1 to 3 captions."""
    return captioned(120, seed=0)


@pytest.fixture
def make_pairs() -> Callable[..., PairBatch]:
    return captioned


@pytest.fixture
def encode() -> Callable[..., np.ndarray]:
    return encode_words
