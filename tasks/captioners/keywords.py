"""Captions from what a medium is filed under: those of its own keywords and folders that its picture bears out."""

import copy
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source
from tasks.captioners.contract import Corpus, Draft, Failure, Known, Medium, Statement
from tasks.factual.read import factual

_SEPARATORS = re.compile(r"[,;|/\n]+")
_LONGEST = 4  # words of a keyword; what is longer is a sentence, or a path
_NOT_WORDS = re.compile(r"[^\w\s'-]|\d{3,}|_")


@dataclass(frozen=True)
class Keywords:
    """Says the terms a medium is filed under, the best borne out first.

    A term's support is the share of the corpus's media that it fits worse than this one, by cosine. Terms that
    hold only words of style ("clip art", "icon", "public domain") or packing say nothing and are left out.

    Args:
        roles: Of the medium's own texts that hold terms, split at commas, semicolons and slashes.
        least: Support from which a term is said, in [0, 1].
        most: Terms that are said at most.
        against: Media of the corpus a medium is compared with at most, the first by id.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "keywords"
    source: ClassVar[Source] = Source(
        title="mmE5: Improving Multimodal Multilingual Embeddings via High-quality Synthetic Data",
        authors="Chen et al.",
        year=2025,
        url="https://arxiv.org/abs/2502.08468",
        departs="no language model: the text is the medium's own terms, those the picture bears out; only the check of "
        "relevance is the paper's",
    )
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = True
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})

    roles: tuple[str, ...] = ("keywords", "folder")
    least: float = 0.6
    most: int = 3
    against: int = 2000

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise ValueError(f"least is a share in [0, 1], found {self.least}")
        if self.most < 1 or self.against < 2:
            raise ValueError(f"most must be at least 1 and against 2, found {self.most} and {self.against}")

    def learn(self, corpus: Corpus) -> Self:
        """Return a captioner that compares with the media of the corpus; their texts are not read.

        Raises:
            DataError: The corpus has fewer than 2 media.
        """
        if len(corpus.media_ids) < 2:
            raise DataError(
                f"the corpus has {len(corpus.media_ids)} media with texts and vectors; a term needs at least 2 to be told by"
            )
        learned = copy.copy(self)
        order = sorted(range(len(corpus.media_ids)), key=corpus.media_ids.__getitem__)[: self.against]
        object.__setattr__(learned, "_gallery", corpus.media_vec[order])
        object.__setattr__(learned, "_encode", corpus.encode)
        return learned

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return the borne-out terms of each medium, joined by commas.

        Raises:
            DataError: It has not learnt yet.
        """
        if not hasattr(self, "_gallery"):
            raise DataError("keywords has nothing to compare with; call learn(corpus) first")
        terms = [_terms(medium.texts, self.roles) for medium in media]
        every = sorted({term for found in terms for term in found})
        vectors = dict(zip(every, self._encode(every), strict=True)) if every else {}  # type: ignore[attr-defined]
        return [self._said(medium, found, vectors) for medium, found in zip(media, terms, strict=True)]

    def _said(
        self, medium: Medium, found: dict[str, str], vectors: dict[str, NDArray[np.float32]]
    ) -> Draft | Failure:
        if medium.vector is None:
            return Failure("no-vector", "terms are checked by the medium's vector, and it has none")
        if not np.isfinite(medium.vector).all():
            return Failure("no-vector", "the medium's vector is not finite")
        if not found:
            return Failure("nothing-to-say", "no keyword or folder names a thing")
        gallery: NDArray[np.float32] = self._gallery  # type: ignore[attr-defined]
        support = {
            term: float(np.mean(gallery @ vectors[term] < float(medium.vector @ vectors[term])))
            for term in found
        }
        borne_out = sorted(
            (term for term in found if support[term] >= self.least), key=lambda t: (-support[t], t)
        )
        said = borne_out[: self.most]
        if not said:
            best = max(support.values())
            return Failure(
                "nothing-to-say", f"no term has a support of {self.least:g}; the highest is {best:.2f}"
            )
        statements = tuple(
            Statement(term, "object", round(support[term], 4), (found[term],)) for term in said
        )
        return Draft(
            ", ".join(said),
            statements,
            parents=tuple(sorted({found[term] for term in said})),
            facts={"terms": {term: round(value, 4) for term, value in sorted(support.items())}},
        )


def _terms(texts: Sequence[Known], roles: Sequence[str]) -> dict[str, str]:
    """Return {term: id of the text it stands in}; each term once, in the order of roles and texts."""
    found: dict[str, str] = {}
    for role in roles:
        for text in texts:
            if text.role != role:
                continue
            for part in _SEPARATORS.split(unicodedata.normalize("NFC", text.text[:2000])):
                term = " ".join(part.split()).lower()
                heads = [phrase.head for phrase in factual(term).phrases if phrase.head]
                if heads and len(term.split()) <= _LONGEST and not _NOT_WORDS.search(term):
                    # "dogs" after "dog" says nothing new
                    found.setdefault(heads[-1] if " " not in term else term, text.text_id)
    return found
