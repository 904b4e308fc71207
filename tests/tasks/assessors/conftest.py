"""A world of two words a medium: what is true of each is known, and so is what was made up."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tasks.assessors.contract import Drafts

COLOURS = ("red", "green", "blue", "yellow", "black", "white", "grey", "brown")
OBJECTS = (
    "dog", "cat", "house", "tree", "car", "boat", "horse", "bird", "apple", "chair", "clock", "drum",
)  # fmt: skip
FRAMES = ("A {}.", "Here is a {}.", "We can see a {} today.")


class BagOfWords:
    """Encodes a text as the sum of its words' random vectors, words it does not know left out."""

    def __init__(self, dim: int = 64, seed: int = 0) -> None:
        drawn = np.random.default_rng(seed).normal(size=(len(COLOURS + OBJECTS) + 1, dim))
        self.vectors = dict(zip(("", *COLOURS, *OBJECTS), drawn, strict=True))
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        said = [[w for w in text.lower().strip(".").split() if w in self.vectors] or [""] for text in texts]
        summed = np.stack([sum(self.vectors[word] for word in one) for one in said])
        return unit(summed)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to unit length, float32."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def world(n: int = 80, *, wrong: float = 0.3, seed: int = 0) -> tuple[Drafts, np.ndarray]:
    """Make n texts about a quarter as many of 90 media; a share `wrong` names another colour and object.

    One generator wrote them, several a medium. Two other generators, who are right, left evidence; each text has
    its colour flipped in five negatives.

    Returns:
        The texts, and (n,) bool: which are true.
    """
    rng = np.random.default_rng(seed)
    encode = BagOfWords()
    shown = [(c, o) for c in COLOURS for o in OBJECTS]
    shown = [shown[i] for i in rng.permutation(len(shown))[:90]]
    media = np.stack([encode([f"{c} {o}"])[0] for c, o in shown])
    media = unit(media + 0.02 * rng.normal(size=media.shape))
    own = np.arange(n) % max(n // 4, 1)
    true = rng.permutation(n) >= round(wrong * n)
    said, negatives, evidence = [], [], []
    for row, medium in enumerate(own):
        colour, thing = shown[medium]
        if not true[row]:
            colour = rng.choice([c for c in COLOURS if c != colour])
            thing = rng.choice([o for o in OBJECTS if o != thing])
        said.append(f"{colour} {thing}")
        flips = [shown[medium][0], *COLOURS]
        negatives.append([f"A {c} {thing}." for c in dict.fromkeys(flips) if c != colour][:5])
        names = " ".join(shown[medium])
        evidence.append([[FRAMES[1].format(names), FRAMES[0].format(names)], [FRAMES[2].format(names)]])
    texts = [FRAMES[0].format(one) for one in said]
    drafts = Drafts(
        texts=texts,
        phrases=[[one] for one in said],
        media_vec=media[own],
        gallery_vec=media,
        own=own.astype(np.int64),
        encode=encode,
        negatives=negatives,
        evidence=evidence,
        generator=["painter"] * n,
        raw=[[f"A {shown[medium][1]}."] for medium in own],
        language=["en"] * n,
    )
    return drafts, true


def take(drafts: Drafts, rows: Sequence[int] | np.ndarray) -> Drafts:
    """Return some of the texts."""
    names = ("texts", "phrases", "negatives", "evidence", "generator", "raw", "language")
    lists = {name: [getattr(drafts, name)[int(row)] for row in rows] for name in names}
    at = np.array(rows, dtype=np.int64)
    return replace(drafts, media_vec=drafts.media_vec[at], own=drafts.own[at], **lists)


@pytest.fixture
def drafts() -> Drafts:
    return world()[0]


@pytest.fixture
def make_world() -> Callable[..., tuple[Drafts, np.ndarray]]:
    return world


@pytest.fixture
def take_rows() -> Callable[..., Drafts]:
    return take
