"""How common a text's rarest token is: codes and typing accidents occur once."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import scored, texts
from tasks.filters._words import words


def tokens(text: str, max_n: int) -> set[str]:
    """Return the distinct words of a text and, if `max_n` is 2, its pairs of neighbouring words."""
    unigrams = words(text)
    bigrams = (f"{left} {right}" for left, right in pairwise(unigrams)) if max_n == 2 else ()
    return {*unigrams, *bigrams}


@dataclass(frozen=True)
class RareToken:
    """Number of texts in which the text's rarest token occurs, itself included.

    ALIGN drops a text with any token outside the most frequent of its corpus; a threshold on the document
    frequency of the rarest token is the same rule with the cut given as a frequency and not as a rank. A text
    without a word scores 0.

    Args:
        max_n: 1: words only. 2: also pairs of neighbouring words, as ALIGN does; most pairs of a small corpus
            occur once, so this wants millions of texts.

    Raises:
        ValueError: `max_n` is neither 1 nor 2.
    """

    name: ClassVar[str] = "rare-token"
    source: ClassVar[Source] = Source(
        title="Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
        authors="Jia et al.",
        year=2021,
        url="https://arxiv.org/abs/2102.05918",
        departs="cut by document frequency, not by rank among 100 million tokens; words only unless asked",
    )
    subject: ClassVar[Literal["media", "text"]] = "text"
    scope: ClassVar[Literal["shard", "table"]] = "table"
    columns: ClassVar[tuple[str, ...]] = ("text",)

    max_n: int = 1

    def __post_init__(self) -> None:
        if self.max_n not in (1, 2):
            raise ValueError(f"max_n must be 1 (words) or 2 (and pairs of words), found {self.max_n}")

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the document frequency of the rarest token. Shape (N,), float32; NaN without a text."""
        found = [None if text is None else tokens(text, self.max_n) for text in texts(rows, "text")]
        frequency = Counter(token for distinct in found if distinct for token in distinct)
        return scored(found, lambda distinct: min((frequency[token] for token in distinct), default=0))
