"""A language model and the linear map that lets it read vectors of media: learnt, stored, put to use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.captioners._beams import Written, write
from tasks.captioners._byte_pairs import END, from_array, learn_byte_pairs, to_array, to_text, token_rows
from tasks.captioners._decoder import (
    Arrays,
    Descent,
    Shape,
    descend,
    fresh_weights,
    open_decoder,
    token_logits,
    token_losses,
    weights_of,
)
from tasks.filters._words import words

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from transformers import GPT2LMHeadModel

NUMBERS = ("trained_on", "parameters", "trained", "held_out_loss", "unconditional_loss", "temperature")
_DECODER = "decoder/"
_TOGETHER = 32  # prefixes decoded at once; always as many, so that none depends on how many were asked for
_JUDGED = 128  # held-out media that are captioned after each epoch
_SPREAD = 0.02  # standard deviation of the map's first weights
_TEMPERATURES = np.geomspace(0.5, 16, 101)


@dataclass(frozen=True)
class Plan:
    """How large the parts are, and how they are trained.

    Args:
        vocabulary: Tokens, at most.
        layers: Of the decoder.
        width: Of the decoder.
        heads: Of the decoder.
        longest: Tokens of a text, at most.
        prefix_tokens: Vectors the decoder reads before the text.
        directions: Directions of the vectors that are read.
        alone: How the decoder is trained on texts alone.
        reading: How decoder and map are trained on texts behind their own vectors.
        bridge: How the map is trained on texts behind the vectors of their media.
        tune: How both are then trained together; None: the decoder stays frozen.
    """

    vocabulary: int
    layers: int
    width: int
    heads: int
    longest: int
    prefix_tokens: int
    directions: int
    alone: Descent
    reading: Descent
    bridge: Descent
    tune: Descent | None


@dataclass(frozen=True)
class Lesson:
    """What is learnt from.

    Args:
        media_vec: (M, D).
        text_vec: (T, D), of the same space.
        lines: The T texts.
        pairs: (P, 2) row of a medium, row of a text.
        loose: (L,) rows of further texts.
        held_out: (H, 2) pairs that no weight is trained on; they say when to stop.
    """

    media_vec: NDArray[np.float32]
    text_vec: NDArray[np.float32]
    lines: Sequence[str]
    pairs: NDArray[np.int64]
    loose: NDArray[np.int64]
    held_out: NDArray[np.int64]


@dataclass(frozen=True)
class Said:
    """What was said of one medium.

    Args:
        text: The words.
        probability: Geometric mean of the probabilities of its tokens, at the learnt temperature, in [0, 1].
        tokens: How many, the end among them.
    """

    text: str
    probability: float
    tokens: int


@dataclass(frozen=True)
class Bridged:
    """What was learnt, as plain arrays: it can be pickled, saved, and sent to a worker.

    Args:
        arrays: `tokenizer` (bytes of its JSON), `mean` (D,) and `basis` (D, R) that vectors are brought to
            scale by, `weight` (R, K * W) and `bias` (K * W,) of the map, `numbers` by `NUMBERS`, and the
            decoder's weights under `decoder/`.
    """

    arrays: Mapping[str, NDArray[Any]]

    @classmethod
    def checked(cls, arrays: Mapping[str, NDArray[Any]], plan: Plan) -> Self:
        """Return what these arrays hold.

        Raises:
            ValueError: They are not those of such a plan.
        """
        needed = (
            "tokenizer",
            "mean",
            "basis",
            "weight",
            "bias",
            "numbers",
            f"{_DECODER}transformer.wte.weight",
        )
        if missing := [name for name in needed if name not in arrays]:
            raise ValueError(f"the stored state lacks {', '.join(missing)}; learn again")
        found = cls(dict(arrays))
        wide = plan.prefix_tokens * plan.width
        fits = arrays["weight"].shape[1:] == arrays["bias"].shape == (wide,)
        if not fits or arrays["weight"].shape[0] != arrays["basis"].shape[1]:
            raise ValueError(
                f"the stored map is {arrays['weight'].shape} but {plan.prefix_tokens} prefix tokens of width "
                f"{plan.width} need {wide} columns; build the captioner with the parameters it learnt by"
            )
        decoder, tokenizer = found.open(plan)
        if tokenizer.get_vocab_size() != decoder.config.vocab_size:
            raise ValueError(
                f"the stored tokenizer has {tokenizer.get_vocab_size()} tokens but the decoder "
                f"{decoder.config.vocab_size}; learn again"
            )
        return found

    @property
    def dim(self) -> int:
        """Return D, the width of the vectors it reads."""
        return len(self.arrays["mean"])

    @property
    def numbers(self) -> dict[str, float]:
        """Return how large it is and how well it does, by `NUMBERS`."""
        return dict(zip(NUMBERS, self.arrays["numbers"].tolist(), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was opened: arrays are all there is to send."""
        return {"arrays": self.arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "arrays", state["arrays"])

    def open(self, plan: Plan) -> "tuple[GPT2LMHeadModel, Tokenizer]":
        """Return decoder and tokenizer, opened once."""
        if self.__dict__.get("_opened", (None,))[0] != plan:
            object.__setattr__(self, "_opened", (plan, self._open(plan)))
        opened: tuple[GPT2LMHeadModel, Tokenizer] = self.__dict__["_opened"][1]
        return opened

    def _open(self, plan: Plan) -> "tuple[GPT2LMHeadModel, Tokenizer]":
        weights = {
            name.removeprefix(_DECODER): array
            for name, array in self.arrays.items()
            if name.startswith(_DECODER)
        }
        shape = _shape(plan, len(weights["transformer.wte.weight"]))
        return open_decoder(shape, weights), from_array(self.arrays["tokenizer"])

    def say(self, vectors: NDArray[np.float32], plan: Plan, *, beams: int) -> list[Said]:
        """Return what each medium is said to show.

        Args:
            vectors: (N, D) of the media, finite.
            plan: What it was learnt by.
            beams: Texts kept side by side.
        """
        _, tokenizer = self.open(plan)
        said: list[Said] = []
        for start in range(0, len(vectors), _TOGETHER):
            block = np.zeros((_TOGETHER, self.dim), np.float32)
            rows = vectors[start : start + _TOGETHER]
            block[: len(rows)] = rows
            said += [
                Said(
                    to_text(tokenizer, text.tokens, ended=text.ended),
                    text.share,
                    len(text.tokens) + text.ended,
                )
                for text in self.write(block, plan, beams=beams)[: len(rows)]
            ]
        return said

    def write(self, block: NDArray[np.float32], plan: Plan, *, beams: int) -> list[Written]:
        """Return what map and decoder write behind each vector; takes what `say` takes."""
        import torch

        decoder, _ = self.open(plan)
        weight, bias = (torch.from_numpy(self.arrays[name]) for name in ("weight", "bias"))
        temperature = self.numbers["temperature"]
        with torch.inference_mode():
            scaled = torch.from_numpy((block - self.arrays["mean"]) @ self.arrays["basis"])
            prefix = (scaled @ weight + bias).view(len(block), plan.prefix_tokens, plan.width)
        written = write(decoder, prefix, beams=beams, longest=plan.longest, temperature=temperature)
        if beams == 1:
            return written
        tokens = _as_rows(
            written, plan.longest
        )  # what is kept of each beam on the way is not its own probability
        logits = _logits(decoder, tokens, prefix, plan)
        sure = _probabilities(logits, tokens, np.array([temperature]))[0]
        return [text._replace(share=float(one)) for text, one in zip(written, sure, strict=True)]


def learn_bridge(lesson: Lesson, plan: Plan, rng: np.random.Generator) -> Bridged:
    """Return a decoder trained on the texts, and the map that lets it read vectors of media."""
    return _Pupil(lesson, plan, rng).learnt()


class _Pupil:
    """A decoder and a map while they learn."""

    def __init__(self, lesson: Lesson, plan: Plan, rng: np.random.Generator) -> None:
        import torch

        self._lesson, self._plan, self._rng = lesson, plan, rng
        self._texts = np.concatenate([lesson.pairs[:, 1], lesson.loose])  # as often as it stands in a pair
        self._tokenizer = learn_byte_pairs([lesson.lines[row] for row in self._texts], plan.vocabulary)
        self._tokens = torch.from_numpy(token_rows(self._tokenizer, lesson.lines, plan.longest))
        self._lengths = (self._tokens >= 0).sum(dim=1).numpy()
        shape = _shape(plan, self._tokenizer.get_vocab_size())
        self._decoder = open_decoder(shape, fresh_weights(shape, rng))
        self._fit_scale()
        wide = plan.prefix_tokens * plan.width
        first = rng.normal(0, _SPREAD, (self._basis.shape[1], wide)).astype(np.float32)
        self._weight = torch.nn.Parameter(torch.from_numpy(first))
        self._bias = torch.nn.Parameter(torch.zeros(wide))
        judged = np.unique(lesson.held_out[:, 0])
        self._judged = judged[np.sort(rng.permutation(len(judged))[:_JUDGED])]
        self._said_of = [lesson.held_out[lesson.held_out[:, 0] == medium, 1] for medium in self._judged]

    def learnt(self) -> Bridged:
        plan, lesson = self._plan, self._lesson
        decoder, bridge = list(self._decoder.parameters()), [self._weight, self._bias]
        pairs, texts = lesson.pairs, np.stack([self._texts, self._texts], axis=1)
        (unconditional,) = descend(
            decoder,
            self._lengths[self._texts],
            lambda rows: self._mean_loss(texts[rows, 1], None),
            lambda: (self._held_out_loss(None),),
            descent=plan.alone,
            rng=self._rng,
        )
        if plan.reading.epochs:
            descend(
                [*bridge, *decoder],
                self._lengths[self._texts],
                lambda rows: self._half_loss(self._texts[rows]),
                None,  # drafts get better for long before they agree with anything held out
                descent=plan.reading,
                rng=self._rng,
            )
        self._decoder.requires_grad_(False)
        for parameters, descent in ((bridge, plan.bridge), ([*bridge, *decoder], plan.tune)):
            if descent is None:
                continue
            for parameter in parameters:
                parameter.requires_grad_(True)
            descend(
                parameters,
                self._lengths[pairs[:, 1]],
                lambda rows: self._mean_loss(pairs[rows, 1], self._media_scaled[pairs[rows, 0]]),
                lambda: self._judgement(self._media_scaled[self._judged], self._said_of),
                descent=descent,
                rng=self._rng,
            )
        trained = sum(p.numel() for p in bridge)
        numbers = {
            "trained_on": len(self._texts),
            "parameters": trained + sum(p.numel() for p in decoder),
            "trained": trained if plan.tune is None else trained + sum(p.numel() for p in decoder),
            "held_out_loss": self._held_out_loss(self._media_scaled),
            "unconditional_loss": unconditional,
            "temperature": self._temperature(),
        }
        arrays: Arrays = {
            "tokenizer": to_array(self._tokenizer),
            "mean": self._mean,
            "basis": self._basis,
            "weight": self._weight.detach().numpy().copy(),
            "bias": self._bias.detach().numpy().copy(),
            "numbers": np.array([numbers[name] for name in NUMBERS], np.float64),
        }
        return Bridged(arrays | {_DECODER + name: array for name, array in weights_of(self._decoder).items()})

    def _fit_scale(self) -> None:
        """Centre each side by itself, and keep the leading directions of both, each of variance 1.

        Media and texts of one encoder lie apart by a constant; what is left is near enough for one map.
        """
        import torch

        lesson = self._lesson
        media, texts = lesson.media_vec[np.unique(lesson.pairs[:, 0])], lesson.text_vec[self._texts]
        self._mean = media.mean(axis=0, dtype=np.float64).astype(np.float32)
        text_mean = texts.mean(axis=0, dtype=np.float64).astype(np.float32)
        both = np.concatenate([media - self._mean, texts - text_mean]).astype(np.float64)
        variance, axes = np.linalg.eigh(both.T @ both / len(both))
        kept = [n for n in range(len(variance))[::-1] if variance[n] > 1e-9 * variance[-1]][
            : self._plan.directions
        ]
        scale = np.sqrt(np.maximum(variance[kept], 1e-12))
        self._basis = np.ascontiguousarray(axes[:, kept] / scale, np.float32)
        self._media_scaled = torch.from_numpy((lesson.media_vec - self._mean) @ self._basis)
        self._text_scaled = torch.from_numpy((lesson.text_vec - text_mean) @ self._basis)

    def _prefix(self, scaled: "Tensor") -> "Tensor":
        return (scaled @ self._weight + self._bias).view(-1, self._plan.prefix_tokens, self._plan.width)

    def _losses(self, texts: NDArray[np.int64], scaled: "Tensor | None") -> tuple["Tensor", int]:
        """Return the sum of the tokens' losses, and how many there are."""
        longest = int(self._lengths[texts].max(initial=1))
        tokens = self._tokens[texts, :longest]
        prefix = None if scaled is None else self._prefix(scaled)
        losses = token_losses(self._decoder, tokens, prefix, prefix_tokens=self._plan.prefix_tokens)
        return losses.sum(), int((self._lengths[texts] - 1).sum())

    def _mean_loss(self, texts: NDArray[np.int64], scaled: "Tensor | None") -> "Tensor":
        total, count = self._losses(texts, scaled)
        return total / count

    def _half_loss(self, texts: NDArray[np.int64]) -> "Tensor":
        """Return the mean loss where every second text stands alone: the decoder must not forget how to."""
        read, alone = texts[::2], texts[1::2]
        total, count = self._losses(read, self._text_scaled[read])
        if len(alone):
            further, more = self._losses(alone, None)
            total, count = total + further, count + more
        return total / count

    def _held_out_loss(self, scaled: "Tensor | None") -> float:
        """Return the mean loss over tokens of held-out pairs, in nats."""
        import torch

        held_out = self._lesson.held_out
        with torch.inference_mode():
            return float(self._mean_loss(held_out[:, 1], None if scaled is None else scaled[held_out[:, 0]]))

    def _judgement(self, scaled: "Tensor", own: Sequence[NDArray[np.int64]]) -> tuple[float, float]:
        """Return how little drafts have in common with held-out texts, then the loss of those texts.

        The loss alone would stop too early: captions are full of words that come once, and a decoder sure of
        what it knows loses more on words it cannot know than it wins on others.
        """
        import torch

        with torch.inference_mode():
            prefix = self._prefix(scaled)
            written = self._written(prefix)
            repeated = np.repeat(np.arange(len(own)), [len(texts) for texts in own])
            texts = np.concatenate(own)
            tokens = self._tokens[texts]
            losses = token_losses(
                self._decoder, tokens, prefix[repeated], prefix_tokens=self._plan.prefix_tokens
            )
        agreement = float(self._agreements(written, own).mean())
        return 1 - agreement, float(losses.sum()) / int((self._lengths[texts] - 1).sum())

    def _written(self, prefix: "Tensor") -> list[Written]:
        return write(self._decoder, prefix, beams=1, longest=self._plan.longest)

    def _agreements(
        self, written: Sequence[Written], own: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float64]:
        """Return for each draft its largest agreement with a text of its own."""
        drafts = [to_text(self._tokenizer, text.tokens, ended=text.ended) for text in written]
        lines = self._lesson.lines
        best = [
            max(agreement(draft, lines[text]) for text in texts)
            for draft, texts in zip(drafts, own, strict=True)
        ]
        return np.array(best)

    def _temperature(self) -> float:
        """Return the temperature at which drafts are as sure as they agree with held-out texts, on average."""
        import torch

        with torch.inference_mode():
            prefix = self._prefix(self._media_scaled[self._judged])
        written = self._written(prefix)
        tokens = _as_rows(written, self._plan.longest)
        logits = _logits(self._decoder, tokens, prefix, self._plan)
        sure = _probabilities(logits, tokens, _TEMPERATURES).mean(axis=1)
        agreed = float(self._agreements(written, self._said_of).mean())
        return float(_TEMPERATURES[np.abs(sure - agreed).argmin()])


def agreement(text: str, other: str) -> float:
    """Return the share of words two texts have in common: 2 * common / words of both, in [0, 1]."""
    mine, theirs = Counter(words(text)), Counter(words(other))
    both = mine.total() + theirs.total()
    return 2 * (mine & theirs).total() / both if both else 0.0


def _shape(plan: Plan, vocabulary: int) -> Shape:
    return Shape(
        vocabulary=vocabulary,
        positions=plan.prefix_tokens + plan.longest + 2,
        layers=plan.layers,
        width=plan.width,
        heads=plan.heads,
    )


def _as_rows(written: Sequence[Written], longest: int) -> "Tensor":
    """Return what was written as it is trained on: between two `END`s, then -1. Shape (N, longest + 2)."""
    import torch

    rows = torch.full((len(written), longest + 2), -1)
    for row, text in zip(rows, written, strict=True):
        tokens = [END, *text.tokens, *([END] if text.ended else [])]
        row[: len(tokens)] = torch.tensor(tokens)
    return rows


def _logits(decoder: "GPT2LMHeadModel", tokens: "Tensor", prefix: "Tensor", plan: Plan) -> "Tensor":
    import torch

    with torch.inference_mode():
        return token_logits(decoder, tokens, prefix, prefix_tokens=plan.prefix_tokens)


def _probabilities(
    logits: "Tensor", tokens: "Tensor", temperatures: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the geometric mean of the tokens' probabilities at each temperature. Shape (T, N)."""
    import torch

    said = tokens[:, 1:, None]  # (N, L - 1, 1)
    there = (said >= 0).double()
    means = []
    for temperature in temperatures.tolist():
        log = torch.log_softmax(logits.double() / temperature, dim=2).gather(2, said.clamp_min(END))
        means.append(((log * there).sum(dim=1) / there.sum(dim=1)).exp().squeeze(1).numpy())
    return np.stack(means)
