"""What every reranker promises: a closer look at what was found, a score an item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source


@dataclass(frozen=True)
class Asked:
    """A query as a reranker sees it.

    Args:
        vector: (D,) float32, unit length, in the space the candidates were found in.
        text: The words, where it has some.
        liked: (L, D) vectors of items that the asker says are right.
        disliked: (M, D) vectors of items that the asker says are wrong.
    """

    vector: NDArray[np.float32]
    text: str | None = None
    liked: NDArray[np.float32] | None = None
    disliked: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.vector.ndim != 1:
            raise ValueError(f"the query's vector must be (D,), found {self.vector.shape}")
        for name, given in (("liked", self.liked), ("disliked", self.disliked)):
            if given is not None and (given.ndim != 2 or given.shape[1] != len(self.vector)):
                raise ValueError(f"{name} must be (number, {len(self.vector)}), found {given.shape}")


@dataclass(frozen=True)
class Found:
    """What the first stage found for one query, best first.

    Args:
        item_ids: (K,) ids, each once.
        vectors: (K, D) float32, unit length.
        scores: (K,) float32 of the first stage, higher is better; falling.
        texts: (K,) what the items say; none, or one each.
        facts: What else is known of each, (K,) numbers by name: cosines of tags, age ...
    """

    item_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    scores: NDArray[np.float32]
    texts: tuple[str, ...] = ()
    facts: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.item_ids)
        if self.vectors.ndim != 2 or len(self.vectors) != count or self.scores.shape != (count,):
            raise ValueError(
                f"{count} candidates need vectors ({count}, D) and scores ({count},); "
                f"found {self.vectors.shape} and {self.scores.shape}"
            )
        if self.texts and len(self.texts) != count:
            raise ValueError(f"{count} candidates need as many texts or none; found {len(self.texts)}")
        if wrong := [name for name, values in self.facts.items() if values.shape != (count,)]:
            raise ValueError(f"fact {wrong[0]!r} must be ({count},), found {self.facts[wrong[0]].shape}")

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True)
class Lesson:
    """A query, what was found for it, and which of that is right.

    Args:
        query: The query.
        candidates: What the first stage found: as it will be when the reranker is used, so that it learns from the
            mistakes it is to mend.
        relevant: (K,) bool; none may be, and such queries teach when to say nothing.
        group: Queries of one group are learnt from or calibrated on together, such as several texts of one medium.
            Empty: the query is a group by itself.
    """

    query: Asked
    candidates: Found
    relevant: NDArray[np.bool_]
    group: str = ""

    def __post_init__(self) -> None:
        if self.relevant.shape != (len(self.candidates),):
            raise ValueError(
                f"{len(self.candidates)} candidates need as many verdicts; found {self.relevant.shape}"
            )


class Reranker(Protocol):
    """Scores candidates on a closer look.

    Attributes:
        name: Name recipes use.
        source: Where the method comes from.
        learns: Whether it is a `Learner`, whose `learn` or `with_state` comes first.
        calibrated: Whether scores are P(relevant), in [0, 1], so that a threshold means the same for all queries.
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    learns: ClassVar[bool]
    calibrated: ClassVar[bool]

    def __call__(self, query: Asked, candidates: Found) -> NDArray[np.float32]:
        """Return a score per candidate, higher is better. Shape (K,), float32, in the candidates' order.

        Raises:
            DataError: A vector or score is not finite, widths differ, or it has not learnt.
        """
        ...


@runtime_checkable
class Learner(Reranker, Protocol):
    """A reranker that learns from queries whose answers are known."""

    def learn(self, lessons: Sequence[Lesson]) -> Self:
        """Return a reranker that has learnt.

        Raises:
            DataError: There is too little to learn from.
        """
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was learnt, as arrays by name: what a checkpoint holds.

        Raises:
            DataError: It has not learnt.
        """
        ...

    def with_state(self, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return a reranker that has learnt what `state` says.

        Raises:
            ValueError: The state is not one of a reranker with these parameters.
        """
        ...
