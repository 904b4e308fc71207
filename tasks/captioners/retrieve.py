"""A medium is said to show what texts of its nearest neighbours agree on."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from schemas.errors import DataError
from schemas.source import Source
from tasks.captioners import _votes
from tasks.captioners._memory import Memory
from tasks.captioners._neighbours import cosines_to, nearest, reciprocal_ranks, require_corpus
from tasks.captioners._votes import Fact, Read
from tasks.captioners.contract import Corpus, Draft, Failure, Medium, Statement
from tasks.factual.read import factual

_BLOCK = 256  # media whose neighbours exist at once
_STEPS = 25  # of Newton's method
_PRIOR = np.array([-10.5, 6.0, 4.0, 8.0])  # 1, vote, cosine, closest: emoji and stamps under the lite encoder
_TRUST = 1.0  # precision of that prior


@dataclass(frozen=True)
class Retrieve:
    """Says what the nearest media of the corpus are said to show, as far as they agree.

    Neighbours are pairs of the corpus. Three rankings are fused by reciprocal ranks: media by cosine to the
    medium, texts by cosine to the medium, and media by BM25 of all their texts for the medium's own texts; where
    those are missing, or share no word with the corpus, for the texts of its nearest media. What they rank first
    is ordered anew by cosine of medium to medium, of text to medium and of text to the other texts found.

    The best `neighbours` of them vote. Each votes for the heads, attributes and other words ("race" of a race
    car) of its text's phrases, with weight 1 / log2(rank + 1). The support of a fact is a logistic function of
    its share of the votes, of its cosine to the medium, and of how close the closest medium is that is said to
    show it. It is fitted on media of the corpus whose own texts are set aside, and is P(the medium's own texts
    would say it): less than P(it is true), since no text says all. The draft is the text of the best neighbour
    without what is supported less than `support`, with words of other neighbours where these are clearly better
    supported; if nothing of that text is left, the next neighbour's is taken. No word is put in that no
    neighbour says, but for "a" and "an".

    A medium's own pairs are passed over by its id; all they move is the fit, by one medium in many. A copy of
    the medium under another id is a neighbour like any other: merge near-duplicates first, or keep them out of
    the corpus. Words between phrases ("holding", "in front of") are those of the neighbour and are not voted
    on. Facts are read in English only; in another language a text is one fact, kept or not as a whole.

    Args:
        language: Of texts that may be said; texts of unknown language count as such.
        roles: Of texts that may be said. Others only help to find neighbours.
        depth: How many of each ranking are fused.
        rrf_k: Constant of reciprocal rank fusion.
        k1: Of BM25.
        b: Of BM25.
        feedback: Nearest media whose words are asked for where the medium has none.
        candidates: Pairs that are ordered anew.
        agreement: Weight of the cosine of a text to the other texts found.
        neighbours: Pairs that vote.
        support: Support from which on something is said.
        margin: How much better supported another neighbour's words must be to be put in.
        calibrate: Media of the corpus that the support is fitted on; 0: none, constants are used.
        seed: Which media those are.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "retrieve"
    source: ClassVar[Source] = Source(
        title="Large Language Models are In-Context Molecule Learners",
        authors="Li et al.",
        year=2024,
        url="https://arxiv.org/abs/2403.04197",
        departs="edits the best example by vote instead of prompting a language model; hybrid first stage fused as "
        "in Cormack et al. (2009), agreement as in Devlin et al. (2015), phrases filtered by support as in "
        "retrieval of similar cases by Liu et al. (2024)",
    )
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = True
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    _memory: ClassVar[Memory | None] = (
        None  # this and the weights are set on the instance that `learn` returns
    )
    _weights: ClassVar[NDArray[np.float64]] = _PRIOR

    language: str = "en"
    roles: tuple[str, ...] = ("caption", "title", "description", "alt")
    depth: int = 50
    rrf_k: int = 60
    k1: float = 1.5
    b: float = 0.75
    feedback: int = 5
    candidates: int = 30
    agreement: float = 0.3
    neighbours: int = 10
    support: float = 0.2
    margin: float = 0.2
    calibrate: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.depth, self.rrf_k, self.feedback, self.candidates, self.neighbours)
        if min(counts) < 1 or self.calibrate < 0:
            raise ValueError(
                "depth, rrf_k, feedback, candidates and neighbours must be at least 1 and calibrate not negative: "
                f"{self}"
            )
        if not self.k1 > 0 or not 0 <= self.b <= 1 or not self.agreement >= 0:
            raise ValueError(f"k1 must be positive, b in [0, 1] and agreement not negative: {self}")
        if not 0 <= self.support <= 1 or not 0 < self.margin <= 1:
            raise ValueError(
                f"support must be in [0, 1] and margin in (0, 1], found {self.support} and {self.margin}"
            )
        if not self.roles or not self.language:
            raise ValueError("language and roles must not be empty")

    def learn(self, corpus: Corpus) -> Self:
        """Return a captioner that retrieves from the corpus.

        Raises:
            DataError: Fewer than two media have a text that may be said, or the corpus does not fit together.
        """
        require_corpus(corpus)
        learnt = copy(self)
        memory = Memory.of(corpus, language=self.language, roles=self.roles, k1=self.k1, b=self.b)
        object.__setattr__(learnt, "_memory", memory)
        object.__setattr__(learnt, "_weights", self._calibrated(memory))
        return learnt

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return a draft, or why there is none, for each medium in order.

        Failures are no-vector, and nothing-to-say where nothing neighbours say has the support.

        Raises:
            DataError: It has not learnt.
        """
        memory = self._memory
        if memory is None:
            raise DataError("retrieve has not learnt; call learn(corpus) and use what it returns")
        answers: list[Draft | Failure] = [self._no_vector(medium, memory.width) for medium in media]
        able = [n for n, medium in enumerate(media) if not _lacks(medium, memory.width)]
        for start in range(0, len(able), _BLOCK):
            rows = able[start : start + _BLOCK]
            found = self._found([media[row] for row in rows], memory)
            for row, neighbours in zip(rows, found, strict=True):
                answers[row] = self._draft(neighbours, memory)
        return answers

    def _no_vector(self, medium: Medium, width: int) -> Failure:
        found = "none" if medium.vector is None else f"one of shape {medium.vector.shape}"
        return Failure(
            "no-vector", f"retrieve needs a finite vector of width {width}; the medium has {found}"
        )

    def _found(self, media: Sequence[Medium], memory: Memory) -> list["_Found"]:
        """Return the voting pairs of each medium, with the votes and cosines of what they say."""
        queries = np.stack([np.asarray(medium.vector, np.float32) for medium in media])
        own = [memory.own(medium.media_id) for medium in media]
        own_texts = [memory.said_only_of(rows) for rows in own]
        near_media, _ = nearest(queries, memory.media_vec, self.depth, own)
        near_texts, _ = nearest(queries, memory.text_vec, self.depth, own_texts)
        ranked = [
            self._ranked(medium, query, memory, *lists)
            for medium, query, *lists in zip(media, queries, own, near_media, near_texts, strict=True)
        ]
        spoken = [[memory.read(int(memory.pairs[pair, 1])) for pair in pairs] for pairs in ranked]
        facts = [_votes.votes(texts, _weights(len(texts))) if texts else {} for texts in spoken]
        cosines = memory.cosines_of(queries, facts)
        closest = [
            memory.closest(query, pairs, mine)
            for query, pairs, mine in zip(queries, ranked, facts, strict=True)
        ]
        return [_Found(*row) for row in zip(ranked, spoken, facts, cosines, closest, strict=True)]

    def _ranked(
        self,
        medium: Medium,
        query: NDArray[np.float32],
        memory: Memory,
        own: NDArray[np.int64],
        near_media: NDArray[np.int64],
        near_texts: NDArray[np.int64],
    ) -> list[int]:
        """Return the pairs that vote, best first."""
        own_words = " ".join(known.text for known in medium.texts)
        by_words = memory.index(own_words, self.depth, own)
        if not len(by_words):
            feedback = " ".join(memory.documents[row] for row in near_media[: self.feedback])
            by_words = memory.index(feedback, self.depth, own)
        by_media = [memory.of_media.pairs(row).tolist() for row in near_media]
        by_words_too = [memory.of_media.pairs(row).tolist() for row in by_words]
        there = {pair for pairs in (*by_media, *by_words_too) for pair in pairs}
        by_text = [memory.stands_for(row, there, own) for row in near_texts]
        fused = reciprocal_ranks((by_media, by_text, by_words_too), self.rrf_k)
        pairs = sorted(fused, key=lambda pair: (-fused[pair], pair))[: self.candidates]
        if not pairs:
            return []
        side = memory.pairs[pairs]
        weight = np.array([fused[pair] for pair in pairs])
        text = memory.text_vec[side[:, 1]].astype(np.float64)
        alike = text @ text.T
        agreement = (alike @ weight - np.diag(alike) * weight) / np.maximum(weight.sum() - weight, 1e-12)
        score = (
            cosines_to(query, memory.media_vec[side[:, 0]])
            + cosines_to(query, memory.text_vec[side[:, 1]])
            + self.agreement * agreement
        ).round(9)
        order = sorted(range(len(pairs)), key=lambda n: (-score[n], -weight[n], pairs[n]))
        return [pairs[n] for n in order[: self.neighbours]]

    def _draft(self, found: "_Found", memory: Memory) -> Draft | Failure:
        supports = dict(zip(found.votes, found.support(self._weights).tolist(), strict=True))
        said_by: dict[Fact, set[str]] = {}
        for pair, text in zip(found.pairs, found.texts, strict=True):
            for phrase in text.phrases:
                for fact in _votes.facts_of(phrase):
                    said_by.setdefault(fact, set()).add(memory.text_ids[memory.pairs[pair, 1]])
        for pair, base in zip(found.pairs, found.texts, strict=True):
            edited = _votes.edit(base, found.texts, supports, least=self.support, margin=self.margin)
            if not edited.text or not _still_says(edited, memory.reads_facts):
                continue
            statements = tuple(
                Statement(
                    text=phrase.text,
                    kind="object" if memory.reads_facts else "whole",
                    confidence=min(supports.get(fact, 0.0) for fact in phrase.facts),
                    parents=tuple(sorted(set.union(*(said_by[fact] for fact in phrase.facts)))),
                )
                for phrase in edited.phrases
            )
            base_id = memory.text_ids[memory.pairs[pair, 1]]
            return Draft(
                text=edited.text,
                statements=statements,
                language=self.language,
                parents=tuple(sorted({base_id, *(i for s in statements for i in s.parents)})),
                facts={
                    "base": base_id,
                    "removed": list(edited.removed),
                    "swapped": [list(words) for words in edited.swapped],
                },
            )
        best = max(supports.values(), default=0.0)
        return Failure(
            "nothing-to-say",
            f"nothing that {len(found.pairs)} neighbours say has a support of {self.support:g}; "
            f"the highest is {best:.2f}",
        )

    def _calibrated(self, memory: Memory) -> NDArray[np.float64]:
        """Return intercept and weights of vote and cosine, fitted on media whose own texts are set aside."""
        rows = np.random.default_rng(self.seed).permutation(len(memory.media_ids))[: self.calibrate]
        features: list[NDArray[np.float64]] = []
        truth: list[bool] = []
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            picture = np.zeros((1, 1, 3), np.uint8)
            media = [Medium(memory.media_ids[row], picture, memory.media_vec[row]) for row in block]
            for row, found in zip(block, self._found(media, memory), strict=True):
                own = {
                    fact
                    for text in memory.of_media[row]
                    for phrase in memory.read(int(text)).phrases
                    for fact in _votes.facts_of(phrase)
                }
                features.append(found.features())
                truth += [fact in own for fact in found.votes]
        if not truth:
            return _PRIOR
        return _logistic(np.concatenate(features), np.array(truth, np.float64))


@dataclass(frozen=True)
class _Found:
    """Neighbours of a medium: their pairs and texts, best first, and for each fact its vote and its cosine."""

    pairs: list[int]
    texts: list[Read]
    votes: dict[Fact, float]
    cosines: NDArray[np.float64]
    closest: NDArray[np.float64]

    def features(self) -> NDArray[np.float64]:
        """Return a row of 1, vote, cosine and closest for each fact. Shape (F, 4)."""
        vote = np.fromiter(self.votes.values(), np.float64, len(self.votes))
        return np.stack([np.ones_like(vote), vote, self.cosines, self.closest], axis=1)

    def support(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P(the medium's own texts would say it) of each fact. Shape (F,)."""
        return np.asarray(expit(self.features() @ weights).round(6))


def _lacks(medium: Medium, width: int) -> bool:
    vector = medium.vector
    return vector is None or vector.shape != (width,) or not bool(np.isfinite(vector).all())


def _weights(count: int) -> NDArray[np.float64]:
    """Return the weight of each rank's vote: 1 / log2(rank + 1)."""
    return np.asarray(1 / np.log2(np.arange(count) + 2))


def _still_says(edited: _votes.Edited, reads_facts: bool) -> bool:
    """Tell whether a text says after the edit what it is meant to say, and nothing else is there."""
    if not reads_facts or not (edited.removed or edited.swapped):
        return True
    meant = {fact for phrase in edited.phrases for fact in phrase.facts if not fact[1]}
    heads = {
        fact for phrase in factual(edited.text).phrases for fact in _votes.facts_of(phrase) if not fact[1]
    }
    return heads <= meant or not heads


def _logistic(features: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of highest posterior probability, by Newton's method."""
    weights = _PRIOR.copy()
    for _ in range(_STEPS):
        chance = expit(features @ weights)
        slope = features.T @ (truth - chance) - _TRUST * (weights - _PRIOR)
        curve = (features * (chance * (1 - chance))[:, None]).T @ features + _TRUST * np.eye(len(weights))
        weights = weights + np.linalg.solve(curve, slope)
    return weights
