"""A caption in another language, by a dictionary learnt from captions in several."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar, Self
from zlib import crc32

import numpy as np

from schemas.errors import DataError
from schemas.source import Source
from tasks.captioners._dictionary import Dictionary, Words, dictionary
from tasks.captioners._neighbours import links, require_pairs
from tasks.captioners._untrusted import one_line
from tasks.captioners.contract import MAX_CHARS, Corpus, Draft, Failure, Known, Medium, Statement
from tasks.filters._words import words

_STOPS = ".!?\u3002\uff01\uff1f\u0964\u061f"


@dataclass(frozen=True)
class Translate:
    """Says in one language what the medium's own text says in another.

    Texts of one role in two languages under one medium of the corpus are taken for translations of each other.
    A text that stands in the corpus word for word gets the translation it has there most often. Any other is
    cut into the phrases of up to `longest` words whose translations are together the likeliest; each is put
    into its place, so that the order is that of the foreign text but inside phrases. Phrases come from words
    aligned by IBM model 1 in both directions. A text is passed over if fewer than `coverage` of its words are
    in the dictionary; of several texts the one translated with the highest confidence is said.

    Confidence is the geometric mean of the probabilities of the phrases, weighted by their words, times the
    share of words translated. It is about the translation: whether the foreign text is true is not looked at.

    What the corpus says of a medium has no part in what is said of it: a medium of the corpus is translated by
    a dictionary learnt without its fold.

    Args:
        to: Language translated into.
        coverage: Share of words that must be in the dictionary.
        roles: Of texts that are learnt from and translated.
        longest: Words of the longest phrase; 1: word by word.
        iterations: Of EM.
        diagonal: How much words at the same place are preferred as translations; 0: IBM model 1 as it is.
        least: Sentences in two languages a corpus must have.
        folds: In how many parts a corpus is cut, for media that are in it.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "translate"
    source: ClassVar[Source] = Source(
        title="The Mathematics of Statistical Machine Translation: Parameter Estimation",
        authors="Brown et al.",
        year=1993,
        url="https://aclanthology.org/J93-2003/",
        departs="model 1 in both directions with a fixed preference for the diagonal (Dyer et al., 2013); phrases "
        "taken from the alignment and kept in order (Koehn et al., 2003); no language model",
    )
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = True
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    _memory: ClassVar["_Memory | None"] = None  # set on the instance that `learn` returns

    to: str = "en"
    coverage: float = 0.8
    roles: tuple[str, ...] = ("caption", "title", "description", "alt")
    longest: int = 3
    iterations: int = 10
    diagonal: float = 2.0
    least: int = 2
    folds: int = 10

    def __post_init__(self) -> None:
        if min(self.longest, self.iterations, self.least) < 1 or self.folds < 2:
            raise ValueError(f"longest, iterations and least must be at least 1 and folds 2: {self}")
        if not 0 < self.coverage <= 1 or not self.diagonal >= 0:
            raise ValueError(f"coverage must be in (0, 1] and diagonal not negative: {self}")
        if not self.roles or not self.to or self.to == "und":
            raise ValueError("roles must not be empty and `to` must be a language")

    def learn(self, corpus: Corpus) -> Self:
        """Return a captioner that translates by the corpus. Dictionaries are made when first asked for.

        Raises:
            DataError: Fewer than `least` media have a text in two languages, or pairs name rows there are not.
        """
        require_pairs(corpus)
        of_media = links(corpus.pairs[:, 0], corpus.pairs[:, 1], len(corpus.media_ids))
        sentences: dict[str, list[_Sentence]] = {}
        for row, media_id in enumerate(corpus.media_ids):
            texts = [corpus.texts[text] for text in np.unique(of_media[row])]
            for foreign, known in self._side_by_side(texts):
                said, means = tuple(words(foreign.text)), tuple(words(known.text))
                if said and means:
                    line = one_line(known.text)
                    sentence = _Sentence(media_id, said, means, line, (foreign.text_id, known.text_id))
                    sentences.setdefault(foreign.language, []).append(sentence)
        media = {sentence.media_id for several in sentences.values() for sentence in several}
        if len(media) < self.least:
            raise DataError(
                f"translate needs {self.least} media with a text in {self.to!r} and one in another language, "
                f"found {len(media)} of {len(corpus.media_ids)}"
            )
        learnt = copy(self)
        object.__setattr__(learnt, "_memory", _Memory(sentences, frozenset(media), self))
        return learnt

    def _side_by_side(self, texts: Sequence[Known]) -> list[tuple[Known, Known]]:
        """Return texts of one role in another language and in the one translated into."""
        usable = [text for text in texts if text.role in self.roles and len(text.text) <= MAX_CHARS]
        return [
            (foreign, known)
            for known in usable
            if known.language == self.to
            for foreign in usable
            if foreign.language not in (self.to, "und") and foreign.role == known.role
        ]

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return a draft, or why there is none, for each medium in order.

        The failure is nothing-to-say: the medium has a text in the language already, has none in another, or
        too few words of it are known.

        Raises:
            DataError: It has not learnt.
        """
        memory = self._memory
        if memory is None:
            raise DataError("translate has not learnt; call learn(corpus) and use what it returns")
        return [self._draft(medium, memory) for medium in media]

    def _draft(self, medium: Medium, memory: "_Memory") -> Draft | Failure:
        own = [text for text in medium.texts if text.role in self.roles]
        if any(text.language == self.to for text in own):
            return Failure("nothing-to-say", f"the medium has a text in {self.to!r}")
        foreign = [text for text in own if text.language in memory.sentences and len(text.text) <= MAX_CHARS]
        if not foreign:
            found = ", ".join(sorted({text.language for text in own})) or "none"
            return Failure(
                "nothing-to-say", f"no text in a language the corpus has next to {self.to!r}: {found[:200]}"
            )
        drafts = [memory.looked_up(text, medium.media_id) for text in foreign]
        exact = [draft for draft in drafts if draft]
        tried = [memory.put_together(text, medium.media_id) for text in foreign] if not exact else []
        able = exact or [draft for draft, _ in tried if draft]
        if able:
            return min(able, key=lambda draft: (-draft.statements[0].confidence, draft.parents))
        return Failure(
            "nothing-to-say",
            f"{max(share for _, share in tried):.0%} of the words are in the dictionary; "
            f"{self.coverage:.0%} are asked for",
        )


@dataclass(frozen=True)
class _Sentence:
    """A text and its translation, as both stand under one medium; `line` is the translation as it was written."""

    media_id: str
    said: Words
    means: Words
    line: str
    text_ids: tuple[str, str]


@dataclass(frozen=True)
class _Memory:
    """Sentences by foreign language, and the dictionaries made of them so far, by language and fold left out."""

    sentences: dict[str, list[_Sentence]]
    media: frozenset[str]
    method: Translate
    dictionaries: dict[tuple[str, int], Dictionary] = field(default_factory=dict)
    same: dict[tuple[str, Words], list[_Sentence]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for language, sentences in self.sentences.items():
            for sentence in sentences:
                self.same.setdefault((language, sentence.said), []).append(sentence)

    def looked_up(self, text: Known, media_id: str) -> Draft | None:
        """Return what the same words are translated by under another medium, if they stand there."""
        found = self.same.get((text.language, tuple(words(text.text))), [])
        others = [sentence for sentence in found if sentence.media_id != media_id]
        if not others:
            return None
        count: dict[Words, int] = {}
        for sentence in others:
            count[sentence.means] = count.get(sentence.means, 0) + 1
        means = min(count, key=lambda target: (-count[target], target))
        agreeing = [sentence for sentence in others if sentence.means == means]
        confidence = count[means] / (len(others) + 1)  # as if one more said otherwise
        parents = {i for sentence in agreeing for i in sentence.text_ids}
        line = min(sentence.line for sentence in agreeing)
        return self._said(line, confidence, parents | {text.text_id}, "sentence")

    def put_together(self, text: Known, media_id: str) -> tuple[Draft | None, float]:
        """Return the text translated phrase by phrase, if enough is known, and the share of words that are."""
        said = tuple(words(text.text))
        if not said:
            return None, 0.0
        parts = self.dictionary(text.language, media_id).translated(said, unknown=1e-3)
        known = sum(len(phrase) for phrase, _, chance in parts if chance)
        share = known / len(said)
        means = [word for _, target, _ in parts for word in target]
        if share < self.method.coverage or not means:
            return None, share
        likely = sum(len(phrase) * np.log(chance) for phrase, _, chance in parts if chance) / known
        line = " ".join(means)
        stop = text.text.rstrip()[-1]
        line = line[:1].upper() + line[1:] + ("." if stop in _STOPS else "")
        draft = self._said(line[:MAX_CHARS], float(np.exp(likely)) * share, {text.text_id}, "phrases")
        return draft, share

    def _said(self, line: str, confidence: float, parents: set[str], by: str) -> Draft:
        ids = tuple(sorted(parents))
        statement = Statement(line, "whole", round(confidence, 6), ids)
        return Draft(line, (statement,), self.method.to, ids, {"translated_by": by})

    def dictionary(self, language: str, media_id: str) -> Dictionary:
        """Return the dictionary for a medium: of all sentences, or without its fold if it is in the corpus."""
        folds = self.method.folds
        fold = crc32(media_id.encode()) % folds if media_id in self.media else -1
        if (language, fold) not in self.dictionaries:
            kept = [
                (sentence.said, sentence.means)
                for sentence in self.sentences[language]
                if fold < 0 or crc32(sentence.media_id.encode()) % folds != fold
            ]
            self.dictionaries[language, fold] = dictionary(
                kept,
                iterations=self.method.iterations,
                diagonal=self.method.diagonal,
                longest=self.method.longest,
            )
        return self.dictionaries[language, fold]
