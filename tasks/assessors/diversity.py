"""Whether texts are many or one text with other words put in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.assessors.contract import Assessed, Drafts
from tasks.filters._words import words

SLOT = "_"


@dataclass(frozen=True)
class Diversity:
    """What a text adds to the variety of all texts.

    By template: a text's template is its frequent words in order, everything between them a slot. Every word
    of a template that is over its quota stands in more texts than the quota allows, so exactly such words are
    kept and no list of slot words is needed, in any language. A text scores 1 while its template holds within
    `quota` of all texts, and quota / share beyond; a text without a frequent word has no template and scores 1.

    By n-grams: mean over a text's n-grams of 1 / occurrences in all texts. Averaged over texts, weighted by
    their n-grams, that is distinct-n.

    Args:
        by: "template" or "ngrams".
        quota: Share of the texts that one template may hold; at least one text.
        n: Words in an n-gram.

    Raises:
        ValueError: `by` is neither, quota is not in (0, 1], or n is under 1.
    """

    name: ClassVar[str] = "diversity"
    source: ClassVar[Source] = Source(
        title="A Diversity-Promoting Objective Function for Neural Conversation Models",
        authors="Li et al.",
        year=2016,
        url="https://arxiv.org/abs/1510.03055",
        departs="distinct-n split into what each text adds; templates with a quota besides",
    )
    scope: ClassVar[Literal["row", "table"]] = "table"

    by: Literal["template", "ngrams"] = "template"
    quota: float = 0.1
    n: int = 2

    def __post_init__(self) -> None:
        if self.by not in ("template", "ngrams"):
            raise ValueError(f"by must be 'template' or 'ngrams', found {self.by!r}")
        if not 0 < self.quota <= 1 or self.n < 1:
            raise ValueError(f"quota must be in (0, 1] and n at least 1, found {self.quota} and {self.n}")

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return what each text adds. In [0, 1]; NaN where a text is shorter than n words and n-grams count."""
        if self.by == "ngrams":
            return Assessed(_contributions(drafts.texts, self.n))
        allowed = max(1.0, self.quota * len(drafts))
        found = templates(drafts.texts, allowed)
        held = Counter(found)
        score = [min(1.0, allowed / held[one]) if one not in ("", SLOT) else 1.0 for one in found]
        return Assessed(np.array(score, dtype=np.float32))


def templates(texts: Sequence[str], allowed: float) -> list[str]:
    """Return the template of each text: words of more than `allowed` texts kept, each run of others one slot.

    Examples:
        >>> templates(["A photo of a red dog.", "A photo of a cat.", "A photo of a tree", "Rain"], 2)
        ['a photo of a _', 'a photo of a _', 'a photo of a _', '_']
    """
    said = [words(text) for text in texts]
    frequency = Counter(word for distinct in map(set, said) for word in distinct)
    frames = ([word if frequency[word] > allowed else SLOT for word in one] for one in said)
    return [" ".join(_collapsed(frame)) for frame in frames]


def _collapsed(frame: Sequence[str]) -> list[str]:
    found: list[str] = []
    for word, run in groupby(frame):
        found += [SLOT] if word == SLOT else list(run)
    return found


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Return the number of distinct n-grams of words over the number of all; NaN where there are none.

    Args:
        texts: The texts; no n-gram spans two of them.
        n: Words in an n-gram.

    Raises:
        ValueError: n is under 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, found {n}")
    found = Counter(gram for text in texts for gram in _ngrams(text, n))
    return len(found) / found.total() if found else float("nan")


def _contributions(texts: Sequence[str], n: int) -> NDArray[np.float32]:
    said = [_ngrams(text, n) for text in texts]
    found = Counter(gram for grams in said for gram in grams)
    adds = [sum(1 / found[gram] for gram in grams) / len(grams) if grams else np.nan for grams in said]
    return np.array(adds, dtype=np.float32)


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    said = words(text)
    return [tuple(said[start : start + n]) for start in range(len(said) - n + 1)]
