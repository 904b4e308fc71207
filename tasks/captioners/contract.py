"""What every captioner promises: media in, a draft or nothing for each out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source

MAX_CHARS = 2_000  # a longer draft is cut at the last whole sentence or word before


@dataclass(frozen=True)
class Known:
    """A text that is already there.

    Args:
        text_id: Its id in the lake.
        text: What it says. Hostile until checked.
        language: BCP 47 primary subtag, "und" if unknown.
        role: What it is to the medium: title, caption, keywords, folder ...
    """

    text_id: str
    text: str
    language: str = "und"
    role: str = "caption"


@dataclass(frozen=True)
class Medium:
    """A medium as a captioner sees it.

    Args:
        media_id: Its id in the lake; never part of a caption.
        picture: (H, W, 3) uint8, RGB, its longer side at most 320 px unless the recipe says otherwise.
        vector: (D,) unit, float32, of the recipe's encoder; None where the recipe names none.
        texts: Its own texts that the recipe lets a captioner read; often empty or wrong.
    """

    media_id: str
    picture: NDArray[np.uint8]
    vector: NDArray[np.float32] | None = None
    texts: tuple[Known, ...] = ()


@dataclass(frozen=True)
class Statement:
    """One thing a draft says, so that it can be checked by itself.

    Args:
        text: The words, as they stand in the draft.
        kind: object, colour, count, size, orientation, style, writing (text found in the medium), or whole
            (the draft as one, where a captioner cannot say more).
        confidence: The captioner's own probability that it is true, in [0, 1].
        parents: Ids of texts or media it was taken from; empty where it was read off the medium itself.
    """

    text: str
    kind: str
    confidence: float
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """What a captioner would say.

    Args:
        text: The caption, NFC, one line, at most `MAX_CHARS`.
        statements: What it says, in order; at least one.
        language: BCP 47 primary subtag.
        parents: Ids of texts and media it was made from, sorted; empty where it was read off the medium.
        facts: What was measured on the way and may be useful later, JSON types only ({"colours": ["red"]}).
        cost: What it cost, by unit ({"prompt_tokens": 812, "completion_tokens": 20, "usd": 0.0004}).
    """

    text: str
    statements: tuple[Statement, ...]
    language: str = "en"
    parents: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why there is no draft for a medium.

    Args:
        reason: Short and from a fixed set, for counting: nothing-to-say, no-vector, endpoint-down, too-slow,
            refused-by-endpoint, not-text, too-long, empty ...
        message: What happened, for a person; at most 500 characters, nothing secret in it.
        cost: What it cost all the same, by unit as in `Draft`; empty where nobody knows.
    """

    reason: str
    message: str = ""
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """Pairs to learn from: those the recipe trusts (kept, clean, not held out).

    Args:
        media_ids: The M media.
        media_vec: (M, D) unit, float32, of the recipe's encoder.
        texts: The T texts.
        text_vec: (T, D) unit, float32, of the same encoder.
        pairs: (P, 2) int64; row of `media_ids`, row of `texts`. A medium may have several texts, and a text
            several media.
        encode: Encodes texts into the same space. (N texts) -> (N, D) unit.
    """

    media_ids: tuple[str, ...]
    media_vec: NDArray[np.float32]
    texts: tuple[Known, ...]
    text_vec: NDArray[np.float32]
    pairs: NDArray[np.int64]
    encode: Callable[[Sequence[str]], NDArray[np.float32]]


class Captioner(Protocol):
    """Says what a medium shows.

    Attributes:
        name: Name recipes use.
        source: Where the method comes from.
        version: Moves whenever the same medium and parameters would give another text.
        learns: Whether `learn` must be called first.
        modalities: Modalities it can look at ("image").
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    version: ClassVar[str]
    learns: ClassVar[bool]
    modalities: ClassVar[frozenset[str]]

    def learn(self, corpus: Corpus) -> Self:
        """Return a captioner that has learnt from the corpus; itself where `learns` is false.

        A medium's own pair never decides what is said of that medium: media of the corpus are passed over as
        neighbours of themselves.

        Raises:
            DataError: The corpus is too small, or lacks what the method needs.
        """
        ...

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return a draft, or why there is none, for each medium in order.

        What is said of a medium does not depend on the others in the call. One bad medium never fails the rest.
        """
        ...
