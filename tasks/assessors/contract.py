"""What every assessor of texts promises: drafts and what is known of their media in, a number for each out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source

Encode = Callable[
    [Sequence[str]], NDArray[np.float32]
]  # texts -> (N, D) unit vectors; repeated calls are cheap


@dataclass(frozen=True)
class Drafts:
    """N texts about media, row i of everything being text i.

    Args:
        texts: The N texts. Several may be about one medium.
        phrases: What each says, statement by statement; never empty.
        media_vec: (N, D) unit, float32; the medium each is about.
        gallery_vec: (M, D) unit, float32; media of the corpus, against which a text must find its own.
        own: (N,) int64; row of the gallery that holds the text's medium.
        encode: Encodes texts into the space of the media.
        negatives: For each, texts that differ from it in one attribute and are wrong; may be empty.
        evidence: For each, what other generators said of the same medium, a list per generator; may be empty.
        generator: Who wrote each.
        raw: For each, texts the medium came with.
        language: BCP 47 primary subtag each should be in.
    """

    texts: Sequence[str]
    phrases: Sequence[Sequence[str]]
    media_vec: NDArray[np.float32]
    gallery_vec: NDArray[np.float32]
    own: NDArray[np.int64]
    encode: Encode
    negatives: Sequence[Sequence[str]]
    evidence: Sequence[Sequence[Sequence[str]]]
    generator: Sequence[str]
    raw: Sequence[Sequence[str]]
    language: Sequence[str]

    def __post_init__(self) -> None:
        n = len(self.texts)
        for name in ("phrases", "media_vec", "own", "negatives", "evidence", "generator", "raw", "language"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows but there are {n} texts")
        if n and (int(self.own.min()) < 0 or int(self.own.max()) >= len(self.gallery_vec)):
            raise ValueError(f"own names row {int(self.own.max())} of a gallery of {len(self.gallery_vec)}")

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Assessed:
    """What an assessor found.

    Args:
        score: (N,) float32 in [0, 1], higher is better; NaN where it cannot tell.
        per_phrase: For each text a value per phrase, in [0, 1], higher is better; None where the assessor
            looks at whole texts only.
    """

    score: NDArray[np.float32]
    per_phrase: Sequence[NDArray[np.float32]] | None = None


class Assessor(Protocol):
    """Says how good texts are in one respect. It only scores; the recipe decides.

    Attributes:
        name: Name recipes use.
        source: Where the method comes from.
        scope: "row": a text's score depends on that text, its medium and the gallery alone. "table": on the
            other texts too.
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    scope: ClassVar[Literal["row", "table"]]

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return a score for each text.

        Raises:
            DataError: The drafts lack something the method needs, or a vector is not finite.
        """
        ...
