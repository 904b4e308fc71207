"""How far what a text says is from what others said of the same medium."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.assessors._vectors import encoded
from tasks.assessors._words import sentences
from tasks.assessors.contract import Encode
from tasks.filters._words import words

Distance = Literal["embedding", "surprisal", "nouns"]
DISTANCES: tuple[Distance, ...] = ("embedding", "surprisal", "nouns")

Evidence = Sequence[Sequence[str]]  # of one text: a list of passages per generator


@dataclass(frozen=True)
class Unsupported:
    """How little evidence supports phrases, by one or several distances.

    A distance is a number in [0, 1] between a phrase and a generator's passages:

    * embedding: 1 less the highest cosine with a sentence of the passage, mean over passages. Cosines under 0
      count as 0.
    * surprisal: mean over the phrase's words of -log((c + k) / (T + k V)), where c counts the word in the
      generator's passages, T all their words and V the distinct ones and the unknown; over the surprisal of a
      word that is not there, so that 1 is "none of its words".
    * nouns: share of the phrase's nouns that a passage lacks, mean over passages. English only, and says nothing
      of a phrase without a noun.

    Generators have one voice each, however many passages they left. A phrase gets the mean of what the distances
    say.

    Args:
        distances: Which distances.
        smoothing: k above.

    Raises:
        ValueError: `distances` is empty, repeats one, or names an unknown one; or smoothing is not positive.
    """

    distances: tuple[Distance, ...]
    smoothing: float

    def __post_init__(self) -> None:
        known = set(self.distances) <= set(DISTANCES)
        if not self.distances or not known or len(set(self.distances)) < len(self.distances):
            raise ValueError(
                f"distances must be some of {', '.join(DISTANCES)}, each once; found {self.distances}"
            )
        if not self.smoothing > 0:
            raise ValueError(f"smoothing must be positive, found {self.smoothing}")

    def __call__(
        self,
        phrases: Sequence[Sequence[str]],
        evidence: Sequence[Evidence],
        encode: Encode,
        language: Sequence[str],
    ) -> list[NDArray[np.float32]]:
        """Return for each text the distance of each phrase. In [0, 1]; NaN where there is no evidence.

        Args:
            phrases: For each text, its phrases.
            evidence: For each text, a list of passages per generator.
            encode: Encodes phrases and sentences.
            language: BCP 47 tag of each text and its evidence.

        Raises:
            DataError: A text's vector is not finite.
        """
        heard = [_spoken(one) for one in evidence]
        columns = {
            "embedding": lambda: _by_embedding(phrases, heard, encode),
            "surprisal": lambda: _by_surprisal(phrases, heard, self.smoothing),
            "nouns": lambda: _by_nouns(phrases, heard, language),
        }
        chosen = [columns[name]() for name in self.distances]
        return [_mean(np.stack(found)) for found in zip(*chosen, strict=True)]


def _by_surprisal(
    phrases: Sequence[Sequence[str]], evidence: Sequence[Evidence], k: float
) -> list[NDArray[np.float32]]:
    return [
        np.array([_average(surprisal(one, passages, k) for passages in heard) for one in said], np.float32)
        for said, heard in zip(phrases, evidence, strict=True)
    ]


def _by_nouns(
    phrases: Sequence[Sequence[str]], evidence: Sequence[Evidence], language: Sequence[str]
) -> list[NDArray[np.float32]]:
    nouns = _Nouns()
    return [
        np.array(
            [_average(nouns.missing(one, passages, tag) for passages in heard) for one in said], np.float32
        )
        for said, heard, tag in zip(phrases, evidence, language, strict=True)
    ]


def surprisal(phrase: str, passages: Sequence[str], k: float) -> float:
    """Return the mean surprisal of a phrase's words, 1 for words that are not there; NaN without words."""
    counts = Counter(word for passage in passages for word in words(passage))
    total = counts.total() + k * (len(counts) + 1)
    said = words(phrase)
    return _average(log(total / (counts[word] + k)) for word in said) / log(total / k)


def _by_embedding(
    phrases: Sequence[Sequence[str]], evidence: Sequence[Evidence], encode: Encode
) -> list[NDArray[np.float32]]:
    split = [[[sentences(passage) for passage in passages] for passages in one] for one in evidence]
    flat = [[text for passages in one for found in passages for text in found] for one in split]
    vectors, at = encoded(encode, [*phrases, *flat])
    distances = []
    for row, said in enumerate(phrases):
        if not flat[row]:
            distances.append(np.full(len(said), np.nan, dtype=np.float32))
            continue
        cosine = vectors[at[row]] @ vectors[at[len(phrases) + row]].T  # (phrases, sentences)
        voices, start = [], 0
        for passages in split[row]:
            nearest = []
            for found in passages:
                nearest.append(cosine[:, start : start + len(found)].max(axis=1))
                start += len(found)
            voices.append(np.mean(1 - np.clip(nearest, 0, 1), axis=0))
        distances.append(np.asarray(np.mean(voices, axis=0), dtype=np.float32))
    return distances


class _Nouns:
    """Reads each text once."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], frozenset[str]] = {}

    def missing(self, phrase: str, passages: Sequence[str], language: str) -> float:
        """Return the share of a phrase's nouns that a passage lacks, mean over passages; NaN without nouns."""
        nouns = self._nouns(phrase, language)
        if not nouns:
            return float("nan")
        # a noun of the phrase need not be the head of anything in the passage
        said = (self._nouns(passage, language) | set(words(passage)) for passage in passages)
        return _average(len(nouns - one) / len(nouns) for one in said)

    def _nouns(self, text: str, language: str) -> frozenset[str]:
        if (text, language) not in self._read:
            from tasks.factual.read import factual  # only this distance reads grammar

            heads = (phrase.head for phrase in factual(text, language).phrases)
            self._read[text, language] = frozenset(head for head in heads if head)
        return self._read[text, language]


def _spoken(evidence: Evidence) -> list[list[str]]:
    """Leave out passages without a word, and generators that said nothing."""
    heard = ([passage for passage in passages if words(passage)] for passages in evidence)
    return [passages for passages in heard if passages]


def _average(values: Iterable[float]) -> float:
    """Return the mean of what is not NaN; NaN if nothing is left."""
    there = [value for value in values if value == value]
    return sum(there) / len(there) if there else float("nan")


def _mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over rows of what is not NaN. (K, P) -> (P,)."""
    there = np.isfinite(values)
    total = np.where(there, values, 0).sum(axis=0, dtype=np.float64)
    return np.where(there.any(axis=0), total / np.maximum(there.sum(axis=0), 1), np.nan).astype(np.float32)


def supported(
    distances: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return 1 less the mean distance of each text's phrases, and of each phrase; NaN where nothing is known."""
    per_phrase = [1 - found for found in distances]
    score = [_average(found.tolist()) for found in per_phrase]
    return np.array(score, dtype=np.float32), per_phrase
