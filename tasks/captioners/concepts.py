"""Captions from a vocabulary: the words that a medium fits better than other media do."""

import copy
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from schemas.errors import DataError
from schemas.source import Source
from tasks.captioners._classes import terms
from tasks.captioners.contract import Corpus, Draft, Failure, Medium, Statement

WORDS = Path(__file__).with_name("concepts.json")
NEAR = 10  # words of the vocabulary nearest to a human text count as what it says
FEWEST = 20  # media with texts that a calibration takes
_ALIKE = 0.9  # cosine of two words from which the second says nothing new
_LEAST = 0.01  # 0 is for what is odd: it would be refused


@dataclass(frozen=True)
class Concepts:
    """Says the words of a vocabulary that stand out for a medium, the most outstanding first.

    A word's cosine with the medium, less the word's mean over the corpus's media, divided by its deviation there: so
    words that fit everything ("comic", "toy") do not win everywhere, and a number means the same for all words. What
    the encoder knows is what this knows: with `lite` that is what emoji and clip art taught it, about things no
    caption of the corpus need name.

    The confidence is how often, on the corpus, a word that stood out as much was among the ten of the vocabulary nearest
    to what people said of the medium (isotonic); with under 20 media to learn that from, the share of media it fits worse.

    Args:
        vocabulary: Words to choose from; by default names and keywords of emoji from the Unicode CLDR, and the
            hypernyms of the ImageNet classes (WordNet).
        stands_out: Deviations above its mean from which a word is said.
        most: Words that are said at most.
        against: Media of the corpus whose cosines give mean and deviation at most, the first by id.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "concepts"
    source: ClassVar[Source] = Source(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        authors="Radford et al.",
        year=2021,
        url="https://arxiv.org/abs/2103.00020",
        departs="zero-shot classification among some thousand words without prompts around them; cosines are standardised "
        "a word over the corpus, after the global correction of hubs by Dinu et al. (2015)",
    )
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = True
    modalities: ClassVar[frozenset[str]] = frozenset({"image", "audio", "video"})

    vocabulary: tuple[str, ...] = ()
    stands_out: float = 3.5
    most: int = 3
    against: int = 2000

    def __post_init__(self) -> None:
        if not np.isfinite(self.stands_out):
            raise ValueError(f"stands_out is a number of deviations, found {self.stands_out}")
        if self.most < 1 or self.against < 2:
            raise ValueError(f"most must be at least 1 and against 2, found {self.most} and {self.against}")
        if any(not word.strip() or len(word) > 100 or not word.isprintable() for word in self.vocabulary):
            raise ValueError("a word of the vocabulary has 1 to 100 printable characters")

    def learn(self, corpus: Corpus) -> Self:
        """Return a captioner that knows how well every word fits media in general, and how far to trust it.

        Raises:
            DataError: The corpus has fewer than 2 media.
        """
        if len(corpus.media_ids) < 2:
            raise DataError(
                f"the corpus has {len(corpus.media_ids)} media; whether a word stands out takes at least 2 to tell"
            )
        words = tuple(dict.fromkeys(self.vocabulary)) or shipped()
        vectors = corpus.encode(words)
        order = sorted(range(len(corpus.media_ids)), key=corpus.media_ids.__getitem__)[: self.against]
        cosines = corpus.media_vec[order].astype(np.float64) @ vectors.T  # (M, W)
        learned = copy.copy(self)
        object.__setattr__(learned, "_words", words)
        object.__setattr__(learned, "_vectors", vectors)
        object.__setattr__(learned, "_mean", cosines.mean(axis=0))
        object.__setattr__(learned, "_deviation", np.maximum(cosines.std(axis=0), 1e-6))
        object.__setattr__(learned, "_trust", learned._calibrated(corpus, order))
        return learned

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return the words that stand out for each medium, joined by commas.

        Raises:
            DataError: It has not learnt yet.
        """
        if not hasattr(self, "_words"):
            raise DataError("concepts knows no media to compare with; call learn(corpus) first")
        return [self._said(medium) for medium in media]

    def _said(self, medium: Medium) -> Draft | Failure:
        if medium.vector is None or not np.isfinite(medium.vector).all():
            return Failure("no-vector", "words are compared with the medium's vector, and it has none")
        outstanding = self._outstanding(medium.vector)
        rows = self._best(outstanding)
        said = [row for row in rows if outstanding[row] >= self.stands_out]
        words: tuple[str, ...] = self._words  # type: ignore[attr-defined]
        if not said:
            nearest = f"the most outstanding, {words[rows[0]]!r}, by {outstanding[rows[0]]:.1f}"
            return Failure(
                "nothing-to-say", f"no word stands out by {self.stands_out:g} deviations; {nearest}"
            )
        trust = self._trusted(outstanding[said])
        return Draft(
            ", ".join(words[row] for row in said),
            tuple(
                Statement(words[row], "object", round(max(float(value), _LEAST), 4))
                for row, value in zip(said, trust, strict=True)
            ),
            facts={"stands out": {words[row]: round(float(outstanding[row]), 2) for row in rows}},
        )

    def _outstanding(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return by how many deviations each word stands out for a medium. (W,)."""
        cosines = (self._vectors @ vector).astype(np.float64)  # type: ignore[attr-defined]
        found: NDArray[np.float64] = (cosines - self._mean) / self._deviation  # type: ignore[attr-defined]
        return found

    def _best(self, outstanding: NDArray[np.float64]) -> list[int]:
        """Return the most outstanding words that differ from each other, best first."""
        vectors: NDArray[np.float32] = self._vectors  # type: ignore[attr-defined]
        found: list[int] = []
        for row in np.argsort(-outstanding, kind="stable").tolist():
            if len(found) == self.most:
                break
            if not found or float((vectors[found] @ vectors[row]).max()) < _ALIKE:
                found.append(row)
        return found

    def _calibrated(self, corpus: Corpus, order: Sequence[int]) -> IsotonicRegression | None:
        """Return what tells how often a word that stands out so far is what people said; None with too few media."""
        of_text: dict[int, int] = {}
        texts = [row for row, text in enumerate(corpus.texts) if text.language in ("en", "und")]
        usable = set(texts)
        for media, text in corpus.pairs.tolist():
            if text in usable:
                of_text.setdefault(media, text)
        known = [media for media in order if media in of_text]
        if len(known) < FEWEST:
            return None
        said = corpus.text_vec[[of_text[media] for media in known]] @ self._vectors.T  # type: ignore[attr-defined]
        far, right = [], []
        for media, nearness in zip(known, said, strict=True):
            near = set(np.argsort(-nearness, kind="stable")[:NEAR].tolist())
            outstanding = self._outstanding(corpus.media_vec[media])
            for row in self._best(outstanding):
                far.append(outstanding[row])
                right.append(float(row in near))
        return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(far, right)

    def _trusted(self, outstanding: NDArray[np.float64]) -> NDArray[np.float64]:
        trust: IsotonicRegression | None = self._trust  # type: ignore[attr-defined]
        if trust is not None:
            found: NDArray[np.float64] = trust.predict(outstanding)
            return found
        from scipy.stats import norm

        return np.asarray(norm.cdf(outstanding), np.float64)


@functools.lru_cache(maxsize=1)
def shipped() -> tuple[str, ...]:
    """Return the default vocabulary, sorted."""
    words = json.loads(WORDS.read_text(encoding="utf-8"))["terms"]
    return tuple(sorted({*words, *terms().names}))
