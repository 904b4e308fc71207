"""Rules on how often things occur: texts under many media, media under many texts, odd lengths, rare words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.source import Source
from tasks.filters._words import words
from tasks.filters.rare_token import tokens
from tasks.noise._vectors import require_finite


@dataclass(frozen=True)
class Frequency:
    """The rules ALIGN kept its texts by, as one score: 1 if none is broken.

    A rule compares a count with a limit; a count over it passes by the share limit / count, and the score is
    the product of the four:

    * media that carry the text, at most `media_per_text`;
    * texts the medium has, at most `texts_per_media`;
    * words of the text, at least `min_words` and at most `max_words`. A text without a word scores 0;
    * distinct words outside the frequent vocabulary, limit and count each one more. The vocabulary is the
      most frequent words, by the number of texts they stand in, that make up a share `vocabulary` of those
      numbers; ties at its end belong to it, so the rule is silent in a small corpus, where many words stand in
      one text only.

    The first two limits are lowered to the quantile `common` of the corpus, since what is often among billions
    of pairs never happens among thousands; never below 1.

    The rules read no vectors and know nothing of what a medium shows: a text swapped for another good one
    scores 1.

    Args:
        media_per_text: Media a text may be under.
        texts_per_media: Texts a medium may be under.
        common: Quantile, over distinct texts or media, the limits are lowered to.
        min_words: Fewest words of a text. ALIGN: 3, for alt texts; titles are shorter.
        max_words: Most words of a text.
        vocabulary: Share of words in use that the frequent ones make up.
        max_n: 2: pairs of neighbouring words are words too, as for ALIGN; wants millions of texts.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "frequency"
    source: ClassVar[Source] = Source(
        title="Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
        authors="Jia et al.",
        year=2021,
        url="https://arxiv.org/abs/2102.05918",
        departs="one graded score in place of four cuts; limits and vocabulary also by quantiles of the corpus; words "
        "alone unless asked; at least one word in place of three",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    media_per_text: int = 10
    texts_per_media: int = 1000
    common: float = 0.99
    min_words: int = 1
    max_words: int = 20
    vocabulary: float = 0.95
    max_n: int = 1

    def __post_init__(self) -> None:
        if min(self.media_per_text, self.texts_per_media) < 1:
            raise ValueError(
                "media_per_text and texts_per_media must be at least 1, found "
                f"{self.media_per_text} and {self.texts_per_media}"
            )
        if not 0 < self.common <= 1 or not 0 < self.vocabulary <= 1:
            raise ValueError(
                f"common and vocabulary must be in ]0, 1], found {self.common} and {self.vocabulary}"
            )
        if not 0 <= self.min_words <= self.max_words or self.max_words < 1:
            raise ValueError(
                f"words must be 0 <= min_words <= max_words and max_words at least 1, found {self.min_words} and "
                f"{self.max_words}"
            )
        if self.max_n not in (1, 2):
            raise ValueError(f"max_n must be 1 (words) or 2 (and pairs of words), found {self.max_n}")

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1].

        Without `text_key`, equal strings are one text; without `media_key`, all media differ.

        Raises:
            DataError: There are no texts, or a vector is not finite.
        """
        require_finite(pairs)
        if pairs.texts is None:
            raise DataError(
                f"{self.name!r} reads texts and was given none; pass them, or use a scorer of vectors"
            )
        if not len(pairs):
            return np.zeros(0, dtype=np.float32)
        rows = np.arange(len(pairs), dtype=np.int64)
        media = rows if pairs.media_key is None else pairs.media_key
        text = _numbered(pairs.texts) if pairs.text_key is None else pairs.text_key
        shared = self._within(_partners(text, media), text, self.media_per_text)
        many = self._within(_partners(media, text), media, self.texts_per_media)
        first, place = np.unique(text, return_index=True, return_inverse=True)[1:]
        of_text = self._wording([pairs.texts[row] for row in first])
        return np.asarray(shared * many * of_text[place], dtype=np.float32)

    def _within(self, counts: NDArray[np.int64], key: NDArray[np.int64], limit: int) -> NDArray[np.float64]:
        """Return limit / count per pair, at most 1, the limit lowered to what is common. Shape (N,)."""
        distinct = counts[np.unique(key, return_index=True)[1]]
        usual = np.quantile(distinct, self.common, method="inverted_cdf")
        return np.minimum(1, min(limit, int(usual)) / counts)

    def _wording(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the product of the rules on words per distinct text. Shape (T,).

        Every text is split twice: a million sets of words cost more memory, and more time of the garbage
        collector, than splitting again.
        """
        frequency = Counter(token for text in texts for token in tokens(text, self.max_n))
        least = _least_frequent(np.array(sorted(frequency.values(), reverse=True)), self.vocabulary)
        scores = np.zeros(len(texts))
        for row, text in enumerate(texts):
            length = len(words(text))
            if length:
                outside = sum(frequency[token] < least for token in tokens(text, self.max_n))
                scores[row] = min(1, length / max(self.min_words, 1), self.max_words / length) / (1 + outside)
        return scores


def _partners(key: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, per pair, with how many distinct values of `other` its key occurs. Shape (N,)."""
    of_key, number = np.unique(key, return_inverse=True)
    of_other, partner = np.unique(other, return_inverse=True)
    distinct = np.unique(number.astype(np.int64) * len(of_other) + partner)
    counts: NDArray[np.int64] = np.bincount(distinct // len(of_other), minlength=len(of_key))
    return counts[number]


def _least_frequent(frequency: NDArray[np.int64], share: float) -> int:
    """Return the frequency of the last word needed to make up `share` of the sum; `frequency` falls."""
    if not len(frequency):
        return 0
    covered = np.cumsum(frequency)
    return int(frequency[np.searchsorted(covered, share * covered[-1])])


def _numbered(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return a number per distinct string. Shape (N,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
