"""What is kept of a corpus to retrieve from: the media that have a text that may be said, and those texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.captioners import _votes
from tasks.captioners._neighbours import Links, WordIndex, cosines_to, links
from tasks.captioners._untrusted import one_line
from tasks.captioners._votes import Fact, Read
from tasks.captioners.contract import MAX_CHARS, Corpus
from tasks.factual.read import factual


@dataclass(frozen=True)
class Memory:
    """What is kept of a corpus. Rows are those of media and texts that are kept.

    Args:
        media_ids: The media.
        media_vec: (M, D) their vectors.
        text_ids: The texts.
        lines: What they say, each on one line.
        text_vec: (T, D) their vectors.
        pairs: (P, 2) rows of media and texts.
        of_media: The texts of each medium.
        of_texts: The media of each text.
        documents: All texts of each medium, also those that may not be said.
        index: Of the documents.
        corpus: What it was made from; its `encode` is used.
        row_of: Row of each medium.
        said: What texts say, as far as they were read.
        reads_facts: Whether texts are taken apart.
    """

    media_ids: tuple[str, ...]
    media_vec: NDArray[np.float32]
    text_ids: tuple[str, ...]
    lines: tuple[str, ...]
    text_vec: NDArray[np.float32]
    pairs: NDArray[np.int64]
    of_media: Links
    of_texts: Links
    documents: tuple[str, ...]
    index: WordIndex
    corpus: Corpus
    row_of: dict[str, int]
    said: dict[int, Read]
    reads_facts: bool

    @classmethod
    def of(cls, corpus: Corpus, *, language: str, roles: Sequence[str], k1: float, b: float) -> Self:
        """Return what is to be kept of a corpus.

        Raises:
            DataError: Fewer than two media have a text in the language and of the roles.
        """
        lines = [one_line(known.text) for known in corpus.texts]
        sayable = np.array(
            [
                known.language in (language, "und") and known.role in roles and 0 < len(line) <= MAX_CHARS
                for known, line in zip(corpus.texts, lines, strict=True)
            ],
            bool,
        )
        pairs = np.unique(corpus.pairs, axis=0) if len(corpus.pairs) else corpus.pairs
        may = pairs[sayable[pairs[:, 1]]]
        media, texts = np.unique(may[:, 0]), np.unique(may[:, 1])
        if len(media) < 2:
            raise DataError(
                f"retrieve needs two media with a text in {language!r} of role {', '.join(roles)}; "
                f"the corpus has {len(media)} of {len(corpus.media_ids)}"
            )
        may = np.stack([np.searchsorted(media, may[:, 0]), np.searchsorted(texts, may[:, 1])], axis=1)
        every = links(pairs[:, 0], pairs[:, 1], len(corpus.media_ids))
        documents = tuple(" ".join(lines[text] for text in every[row]) for row in media)
        media_ids = tuple(corpus.media_ids[row] for row in media)
        return cls(
            media_ids=media_ids,
            media_vec=np.asarray(corpus.media_vec[media], np.float32),
            text_ids=tuple(corpus.texts[row].text_id for row in texts),
            lines=tuple(lines[row] for row in texts),
            text_vec=np.asarray(corpus.text_vec[texts], np.float32),
            pairs=may,
            of_media=links(may[:, 0], may[:, 1], len(media)),
            of_texts=links(may[:, 1], may[:, 0], len(texts)),
            documents=documents,
            index=WordIndex(documents, k1=k1, b=b),
            corpus=corpus,
            row_of={media_id: row for row, media_id in enumerate(media_ids)},
            said={},
            reads_facts=language == "en",
        )

    @property
    def width(self) -> int:
        """Return D."""
        return int(self.media_vec.shape[1])

    def own(self, media_id: str) -> NDArray[np.int64]:
        """Return the row of a medium, or none."""
        row = self.row_of.get(media_id)
        return np.array([] if row is None else [row], np.int64)

    def said_only_of(self, media: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the texts that no other medium has."""
        texts = [text for row in media for text in self.of_media[row] if set(self.of_texts[text]) <= {row}]
        return np.array(texts, np.int64)

    def stands_for(self, text: int, there: set[int], own: NDArray[np.int64]) -> list[int]:
        """Return the pairs a text found by itself stands for: those of media found, or else one of another."""
        pairs = self.of_texts.pairs(text)
        found = [pair for pair in pairs.tolist() if pair in there]
        return found or pairs[~np.isin(self.of_texts[text], own)][:1].tolist()

    def read(self, text: int) -> Read:
        """Return what a text says."""
        if text not in self.said:
            self.said[text] = _votes.read(self.lines[text], factual if self.reads_facts else None)
        return self.said[text]

    def cosines_of(
        self, queries: NDArray[np.float32], facts: Sequence[dict[Fact, float]]
    ) -> list[NDArray[np.float64]]:
        """Return the cosine of each medium's facts to it.

        Raises:
            DataError: `encode` of the corpus makes vectors of another width, or not finite ones.
        """
        words = sorted({_votes.words_of(fact) for mine in facts for fact in mine})
        if not words:
            return [np.empty(0) for _ in facts]
        encoded = np.asarray(self.corpus.encode(words), np.float32)
        if encoded.shape != (len(words), self.width) or not np.isfinite(encoded).all():
            raise DataError(
                f"the corpus' encode made {encoded.shape} of {len(words)} texts, or values that are not finite; "
                f"it must make ({len(words)}, {self.width})"
            )
        vectors = dict(zip(words, encoded, strict=True))
        cosines = []
        for query, mine in zip(queries, facts, strict=True):
            said = np.stack([vectors[_votes.words_of(fact)] for fact in mine]) if mine else queries[:0]
            cosines.append(cosines_to(query, said).round(4))  # batches of an encoder differ in the last bits
        return cosines

    def closest(
        self, query: NDArray[np.float32], pairs: list[int], facts: Iterable[Fact]
    ) -> NDArray[np.float64]:
        """Return for each fact the cosine of the closest medium of the pairs that is said to show it. Shape (F,)."""
        best: dict[Fact, float] = {}
        cosines = cosines_to(query, self.media_vec[self.pairs[pairs, 0]]).tolist() if pairs else []
        for cosine, pair in zip(cosines, pairs, strict=True):
            for phrase in self.read(int(self.pairs[pair, 1])).phrases:
                for fact in _votes.facts_of(phrase):
                    best[fact] = max(best.get(fact, -1.0), cosine)
        return np.array([best[fact] for fact in facts])
