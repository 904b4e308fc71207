"""Captions by a small language model that reads the medium's vector as if it were words."""

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source
from tasks.captioners._bridge import Bridged, Lesson, Plan, Said, learn_bridge
from tasks.captioners._byte_pairs import LEAST
from tasks.captioners._decoder import Descent
from tasks.captioners._neighbours import require_corpus
from tasks.captioners._untrusted import drafted, one_line
from tasks.captioners.contract import Corpus, Draft, Failure, Medium

LEAST_MEDIA = 16  # media with a text that a fold is learnt from, at least
_FORM = "form"  # of the stored state: seed and folds, which say what model speaks of a medium


@dataclass(frozen=True)
class Prefix:
    """Writes captions word by word, from a vector that a linear map turns into a few words nobody reads.

    A byte-pair vocabulary and a causal language model are learnt from the corpus's texts alone, so that nothing
    is needed but the corpus. The decoder then goes on with half of the texts standing behind their own vectors:
    one that has never seen anything before a text takes no notice of what a map puts there. Then it is frozen,
    and only the linear map is trained, on media and their texts, with cross-entropy over the text and none over
    the prefix. It starts as the map that read texts, which lie in the same space, and ends with the epoch whose
    drafts have most words in common with texts of held-out media.

    Media are cut into folds by their ids and there is a model a fold, learnt from the other folds: of no medium
    speaks a model that has seen its pairs. A copy under another id is another medium: merge near-duplicates
    first.

    It knows the words of its corpus and no others. A few thousand texts teach it little: it may say what nothing
    in the medium bears out, half of its drafts or more are texts it learnt from, and on small corpora the text
    of the nearest medium is far better ('retrieve'). `facts` say from how many texts a draft was learnt, by how
    many parameters, and the loss a token on held-out pairs beside that of the decoder alone on the same texts,
    in nats. The first is often the higher: drafts get better long after a decoder has become too sure of words
    it cannot know. The confidence is the geometric mean of the tokens' probabilities, at the temperature at
    which it is on average the share of words that drafts have in common with held-out texts.

    Args:
        language: Of texts that are learnt; texts of unknown language count as such.
        roles: Of texts that are learnt.
        prefix_tokens: Vectors the decoder reads before the text.
        directions: Leading principal directions of the vectors that the map reads.
        vocabulary: Tokens, at most.
        layers: Of the decoder.
        width: Of the decoder.
        heads: Attention heads.
        reading: Epochs over texts behind their own vectors; 0: the map starts from chance, before a
            decoder that has never read a vector.
        epochs: Of each other step, at most.
        patience: Epochs without a better one before a step ends.
        batch_size: Texts per step.
        learning_rate: Of decoder and map.
        tune: Whether the decoder is then trained on media too, at a third of the rate.
        held_out: Share of media that weights are not trained on.
        folds: Models; each learns from all folds but one, and costs as much time as that takes.
        beams: Texts kept side by side while writing; 1: greedy.
        max_new_tokens: Tokens of a draft, and of a text that is learnt.
        seed: Of folds, first weights and the order of texts.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "prefix"
    source: ClassVar[Source] = Source(
        title="Large Language Models for Captioning and Retrieving Remote Sensing Images",
        authors="Silva et al.",
        year=2024,
        url="https://arxiv.org/abs/2402.06475",
        departs="captioning only, no retrieval token; a decoder of under a million weights learnt from the corpus, "
        "which first reads texts behind their own vectors as in CapDec (Nukrai et al., 2022); the map reads leading "
        "directions; cross-fitted",
    )
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = True
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    _models: ClassVar[tuple[Bridged, ...] | None] = None  # set on the instance that `learn` returns

    language: str = "en"
    roles: tuple[str, ...] = ("caption", "title", "description", "alt")
    prefix_tokens: int = 2
    directions: int = 64
    vocabulary: int = 2000
    layers: int = 2
    width: int = 96
    heads: int = 4
    reading: int = 30
    epochs: int = 15
    patience: int = 5
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    tune: bool = False
    held_out: float = 0.1
    folds: int = 3
    beams: int = 1
    max_new_tokens: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = (self.prefix_tokens, self.directions, self.layers, self.width, self.heads, self.beams)
        if min(sizes) < 1 or self.width % self.heads:
            raise ValueError(
                "prefix_tokens, directions, layers, width, heads and beams must be at least 1, and width a "
                f"multiple of heads: {self}"
            )
        if min(self.epochs, self.patience, self.batch_size, self.max_new_tokens) < 1 or self.reading < 0:
            raise ValueError(
                "epochs, patience, batch_size and max_new_tokens must be at least 1 and reading not negative: "
                f"{self}"
            )
        if not LEAST <= self.vocabulary <= 65_536:
            raise ValueError(f"vocabulary must be in {LEAST} to 65536, found {self.vocabulary}")
        if not self.learning_rate > 0 or not 0 < self.held_out <= 0.5:
            raise ValueError(
                "learning_rate must be positive and held_out in (0, 0.5], found "
                f"{self.learning_rate} and {self.held_out}"
            )
        if self.folds < 2 or self.seed < 0:
            raise ValueError(
                f"folds must be at least 2 and seed not negative, found {self.folds} and {self.seed}"
            )
        if not self.roles or not self.language:
            raise ValueError("language and roles must not be empty")

    def learn(self, corpus: Corpus) -> Self:
        """Return a captioner that has learnt from the corpus: one corpus and seed, one result.

        Bit for bit on one machine and number of threads.

        Raises:
            DataError: A fold has fewer than 16 media with a text, or the corpus does not fit together.
        """
        require_corpus(corpus)
        return self._with([self._learnt(corpus, fold) for fold in range(self.folds)])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was learnt, as arrays by name; `with_state` takes it.

        Raises:
            DataError: It has not learnt.
        """
        arrays = {
            f"{fold}/{name}": array
            for fold, model in enumerate(self._require_models())
            for name, array in model.arrays.items()
        }
        return {_FORM: np.array([self.seed, self.folds], np.int64), **arrays}

    def with_state(self, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return a captioner that has learnt what `state` says.

        Raises:
            ValueError: The state is not one of a captioner with these parameters.
        """
        form = state[_FORM].tolist() if _FORM in state else None
        if form != [self.seed, self.folds]:
            raise ValueError(
                f"the state has seed and folds {form} but this captioner {[self.seed, self.folds]}; "
                "build it with the parameters it learnt by"
            )
        parts = (
            {
                name.removeprefix(f"{fold}/"): array
                for name, array in state.items()
                if name.startswith(f"{fold}/")
            }
            for fold in range(self.folds)
        )
        return self._with([Bridged.checked(part, self._plan()) for part in parts])

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return a draft, or why there is none, for each medium in order. Costs least with many in one call.

        Failures are no-vector, nothing-to-say, and not-text where what was written has no letter.

        Raises:
            DataError: It has not learnt.
        """
        models = self._require_models()
        answers: list[Draft | Failure | None] = [None] * len(media)
        usable, vectors = _usable(media, models[0].dim)
        of_fold: list[list[int]] = [[] for _ in models]  # places in `usable`
        for place, row in enumerate(usable):
            of_fold[self._fold(media[row].media_id)].append(place)
        for model, places in zip(models, of_fold, strict=True):
            if not places:
                continue
            said = model.say(vectors[places], self._plan(), beams=self.beams)
            facts = _facts(model.numbers)
            for place, one in zip(places, said, strict=True):
                answers[usable[place]] = self._draft(one, facts)
        return [
            _no_vector(medium, models[0].dim) if answer is None else answer
            for medium, answer in zip(media, answers, strict=True)
        ]

    def _draft(self, said: Said, facts: Mapping[str, object]) -> Draft | Failure:
        if not said.text:
            return Failure("nothing-to-say", "the text ended before its first word")
        return drafted(
            said.text,
            confidence=said.probability,
            language=self.language,
            facts=facts,
            cost={"completion_tokens": said.tokens},
        )

    def _learnt(self, corpus: Corpus, fold: int) -> Bridged:
        """Return the model that speaks of a fold's media, learnt from all others."""
        lines = [one_line(known.text) for known in corpus.texts]
        usable = np.array(
            [
                bool(line) and known.role in self.roles and known.language in (self.language, "und")
                for line, known in zip(lines, corpus.texts, strict=True)
            ],
            bool,
        )
        fold_of = np.array([self._fold(media_id) for media_id in corpus.media_ids], np.int64)
        paired = corpus.pairs[usable[corpus.pairs[:, 1]]] if len(corpus.pairs) else corpus.pairs
        pairs = np.unique(paired[fold_of[paired[:, 0]] != fold], axis=0)
        rng = np.random.default_rng((self.seed, fold))
        media = rng.permutation(np.unique(pairs[:, 0]))
        if len(media) < LEAST_MEDIA:
            raise DataError(
                f"prefix learns from {LEAST_MEDIA} media with a text of language {self.language!r} in each fold, "
                f"but found {len(media)}; give more pairs, or use another captioner, such as 'retrieve'"
            )
        apart = np.isin(pairs[:, 0], media[: max(2, round(self.held_out * len(media)))])
        alone = usable.copy()
        alone[corpus.pairs[:, 1]] = False
        lesson = Lesson(
            media_vec=corpus.media_vec,
            text_vec=corpus.text_vec,
            lines=lines,
            pairs=pairs[~apart],
            loose=np.flatnonzero(alone),
            held_out=pairs[apart],
        )
        return learn_bridge(lesson, self._plan(), rng)

    def _plan(self) -> Plan:
        usual = Descent(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            patience=self.patience,
        )
        reading = Descent(self.reading, self.batch_size, self.learning_rate, self.patience)
        tune = Descent(self.epochs, self.batch_size, self.learning_rate / 3, self.patience)
        return Plan(
            vocabulary=self.vocabulary,
            layers=self.layers,
            width=self.width,
            heads=self.heads,
            longest=self.max_new_tokens,
            prefix_tokens=self.prefix_tokens,
            directions=self.directions,
            alone=usual,
            reading=reading,
            bridge=usual,
            tune=tune if self.tune else None,
        )

    def _fold(self, media_id: str) -> int:
        digest = hashlib.blake2b(f"{self.seed}:{media_id}".encode("utf-8", "surrogatepass"), digest_size=8)
        return int.from_bytes(digest.digest(), "little") % self.folds

    def _with(self, models: Sequence[Bridged]) -> Self:
        learnt = copy(self)
        object.__setattr__(learnt, "_models", tuple(models))
        return learnt

    def _require_models(self) -> tuple[Bridged, ...]:
        if self._models is None:
            raise DataError("prefix has not learnt; call learn(corpus) and use what it returns")
        return self._models


def _facts(numbers: Mapping[str, float]) -> dict[str, object]:
    """Return what a draft says of the model that wrote it."""
    return {
        "trained_on": int(numbers["trained_on"]),
        "parameters": int(numbers["parameters"]),
        "held_out_loss": round(numbers["held_out_loss"], 4),
        "unconditional_loss": round(numbers["unconditional_loss"], 4),
    }


def _usable(media: Sequence[Medium], dim: int) -> tuple[list[int], NDArray[np.float32]]:
    """Return the places of media that have a finite vector of the right width, and these vectors, (N, D)."""
    fitting = [
        row for row, medium in enumerate(media) if medium.vector is not None and medium.vector.shape == (dim,)
    ]
    if not fitting:
        return [], np.empty((0, dim), np.float32)
    vectors = np.stack([media[row].vector for row in fitting]).astype(np.float32, copy=False)  # type: ignore[misc]
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    return [row for row, is_finite in zip(fitting, finite, strict=True) if is_finite], vectors[finite]


def _no_vector(medium: Medium, dim: int) -> Failure:
    found = "none" if medium.vector is None else f"one of shape {medium.vector.shape}"
    return Failure("no-vector", f"prefix needs a finite vector of width {dim}; the medium has {found}")
