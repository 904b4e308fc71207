"""P(relevant) of a candidate, from a small network on frozen vectors: the closer look, and a number to cut by."""

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from schemas.errors import DataError
from schemas.source import Source
from tasks.rerankers._closer_look import NUMBERS, Glasses, look
from tasks.rerankers._network import Network, train
from tasks.rerankers._vectors import require_finite
from tasks.rerankers.contract import Asked, Found, Lesson

LEAST_LESSONS = 8  # with a right and a wrong candidate, to train on; and to calibrate on
_STATE = {"directions", "query_mean", "item_mean", "curve_at", "curve"}
_BIN = 20  # candidates that a probability is read off, at least
_ORDER = 1e-3  # share of the probability that only keeps the network's order where the calibration is flat


@dataclass(frozen=True)
class Relevance:
    """A two-layer network over query and candidate, calibrated.

    It reads the query's vector q, the candidate's x, q * x and |q - x| along some directions, their cosine, the
    candidate's rank and how far its cosine lies under the best. It starts as the cosine and is trained so that a right
    candidate gets more than wrong ones, one near it in rank and one at random, and that each gets the side of 0 it
    belongs on. Of all epochs the one counts that ranks best what was found for queries held out. Then isotonic
    regression on those turns its numbers into P(relevant), over all their candidates: as common as right ones are there.

    Whatever shall carry over must be held out: give lessons of one kind of thing one group, if things of new kinds will
    be asked for. Then it learns little more than the cosine where little carries over; without groups it would trust
    what it knows of the old kinds.

    The probabilities hold for queries like those of the lessons, and a first stage like theirs: as deep, over a
    gallery of like size. Lessons without a right candidate teach it to say so.

    Args:
        hidden: Width of the hidden layer.
        directions: Leading principal directions in which q and x are read; 0: it reads numbers only.
        facts: Names of the candidates' facts that it reads too.
        near: A hard wrong candidate is one of so many nearest in rank to the right one.
        per_query: Right candidates of a query that an epoch takes, at random where there are more.
        epochs: Passes over the right candidates, at most.
        batch_size: Right candidates a step.
        learning_rate: Of Adam.
        weight_decay: Of Adam, decoupled.
        dropout: Share of the hidden layer dropped while training.
        held_out: Share of the groups of lessons by which it stops and is calibrated.
        seed: Of the split, first weights, order and draws.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "relevance"
    source: ClassVar[Source] = Source(
        title="Re-ranking the Context for Multimodal Retrieval Augmented Generation",
        authors="Mortaheb et al.",
        year=2025,
        url="https://arxiv.org/abs/2501.04695",
        departs="a small network on frozen vectors in place of a fine-tuned vision-language model; pairwise and "
        "pointwise logistic loss; isotonic calibration on held-out queries, in bins",
    )
    learns: ClassVar[bool] = True
    calibrated: ClassVar[bool] = True
    _learnt: ClassVar["Learnt | None"] = None  # set on the instance that `learn` returns

    hidden: int = 128
    directions: int = 64
    facts: tuple[str, ...] = ()
    near: int = 3
    per_query: int = 4
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.2
    held_out: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.hidden, self.near, self.per_query, self.epochs, self.batch_size) < 1:
            raise ValueError(f"hidden, near, per_query, epochs and batch_size must be at least 1: {self}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"learning_rate must be positive, weight_decay not negative and dropout in [0, 1): {self}"
            )
        if self.directions < 0:
            raise ValueError(f"directions must not be negative, found {self.directions}")
        if not 0 < self.held_out <= 0.5 or self.seed < 0:
            raise ValueError(f"held_out must lie in (0, 0.5] and seed must not be negative: {self}")
        if len(set(self.facts)) != len(self.facts):
            raise ValueError(f"facts must be named once each, found {self.facts}")

    def learn(self, lessons: Sequence[Lesson]) -> Self:
        """Return a reranker that has learnt from the lessons: the same ones and seed, the same result.

        Bit for bit on one machine and number of threads.

        Raises:
            DataError: Too few lessons have both a right and a wrong candidate, a vector is not finite, or a candidate
                lacks a fact.
        """
        held = self._held_out(lessons)
        for lesson in lessons:
            require_finite(lesson.query, lesson.candidates)
        parts = []
        for name, wanted in (("train", False), ("calibrate", True)):
            rows = [row for row, apart in enumerate(held) if apart == wanted]
            both = sum(bool(0 < lessons[row].relevant.sum() < len(lessons[row].relevant)) for row in rows)
            if both < LEAST_LESSONS:
                raise DataError(
                    f"relevance needs {LEAST_LESSONS} lessons with right and wrong candidates to {name} on, but found "
                    f"{both} of {len(rows)}; judge more queries, or use 'cosine' with a threshold"
                )
            parts.append(rows)
        training, calibration = parts
        glasses = Glasses.fitted(
            [lessons[row].query for row in training],
            [lessons[row].candidates for row in training],
            self.directions,
        )
        looked = [look(lesson.query, lesson.candidates, glasses, self.facts) for lesson in lessons]
        apart = np.concatenate([looked[row] for row in calibration])
        right = np.concatenate([lessons[row].relevant for row in calibration])
        network = train(
            [looked[row] for row in training],
            [lessons[row].relevant for row in training],
            (apart, right),
            numbers=NUMBERS + len(self.facts),
            hidden=self.hidden,
            near=self.near,
            per_query=self.per_query,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            seed=self.seed,
        )
        return self._with(Learnt(glasses, network, *calibration_curve(network(apart), right)))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was learnt, as arrays by name; `with_state` takes it.

        Raises:
            DataError: It has not learnt.
        """
        learnt = self._require_learnt()
        curve = {"curve_at": learnt.curve_at, "curve": learnt.curve}
        return {**asdict(learnt.glasses), **learnt.network.arrays, **curve}

    def with_state(self, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return a reranker that has learnt what `state` says.

        Raises:
            ValueError: The state is not one of a reranker with these parameters.
        """
        if missing := sorted(_STATE - state.keys()):
            raise ValueError(f"the state lacks {', '.join(missing)}; it has {', '.join(state)}")
        dim, width = state["directions"].shape
        if width != min(self.directions, dim):
            raise ValueError(
                f"the state reads {width} directions but this reranker {self.directions}; "
                "build it with the parameters it learnt by"
            )
        numbers = NUMBERS + len(self.facts)
        network = Network.of_state(state, inputs=4 * width + numbers, numbers=numbers, hidden=self.hidden)
        glasses = Glasses(state["directions"], state["query_mean"], state["item_mean"])
        return self._with(Learnt(glasses, network, state["curve_at"], state["curve"]))

    def __call__(self, query: Asked, candidates: Found) -> NDArray[np.float32]:
        """Return P(relevant). Shape (K,), float32, in [0, 1].

        Raises:
            DataError: It has not learnt, a vector or score is not finite, widths differ, or a fact is missing.
        """
        learnt = self._require_learnt()
        require_finite(query, candidates)
        if len(query.vector) != len(learnt.glasses.query_mean):
            raise DataError(
                f"relevance learnt on vectors {len(learnt.glasses.query_mean)} wide but the query's is "
                f"{len(query.vector)}; learn again"
            )
        value = learnt.network(look(query, candidates, learnt.glasses, self.facts))
        probability = np.interp(value, learnt.curve_at, learnt.curve)
        return ((1 - _ORDER) * probability + _ORDER * expit(value)).astype(np.float32)

    def _held_out(self, lessons: Sequence[Lesson]) -> list[bool]:
        """Return whether each lesson is calibrated on: whole groups, spread evenly by a hash of the seed."""
        groups = [lesson.group or f"\0{row}" for row, lesson in enumerate(lessons)]

        def place(group: str) -> bytes:
            return hashlib.blake2b(
                f"{self.seed}:{group}".encode("utf-8", "surrogatepass"), digest_size=8
            ).digest()

        ordered = sorted(set(groups), key=place)
        apart = set(ordered[: round(self.held_out * len(ordered))])
        return [group in apart for group in groups]

    def _with(self, learnt: "Learnt") -> Self:
        taught = copy(self)
        object.__setattr__(taught, "_learnt", learnt)
        return taught

    def _require_learnt(self) -> "Learnt":
        if self._learnt is None:
            raise DataError("relevance has not learnt; call learn(lessons) and use what it returns")
        return self._learnt


@dataclass(frozen=True)
class Learnt:
    """What lessons teach.

    Args:
        glasses: What is read of vectors.
        network: Gives a number a candidate.
        curve_at: (C,) numbers, rising, at which the calibration is known.
        curve: (C,) P(relevant) there, rising; straight in between.
    """

    glasses: Glasses
    network: Network
    curve_at: NDArray[np.float64]
    curve: NDArray[np.float64]


def calibration_curve(
    values: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where P(relevant) is known, rising, and what it is there: isotonic regression over bins of 20 candidates.

    Bins, for isotonic regression alone takes the highest value for certain wherever it happens to be right.

    Args:
        values: (N,) the network's numbers.
        right: (N,) whether each is right.
    """
    bins = np.array_split(np.argsort(values, kind="stable"), max(1, len(values) // _BIN))
    at, share = (np.array([part[rows].mean() for rows in bins]) for part in (values, right))
    sizes = np.array([len(rows) for rows in bins])
    curve = IsotonicRegression(y_min=0.0, y_max=1.0).fit(at, share, sample_weight=sizes)
    return curve.X_thresholds_, curve.y_thresholds_
