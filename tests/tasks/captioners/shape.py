"""A whole captioner in one file that looks at the picture: what a plug-in takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from schemas.source import Source
from tasks.captioners.contract import Corpus, Draft, Failure, Medium, Statement


@dataclass(frozen=True)
class Shape:
    """Says which way round a picture is: a whole captioner."""

    name: ClassVar[str] = "shape"
    source: ClassVar[Source] = Source("Ways to hold a picture", "Nobody", 2000, "https://example.org/shape")
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = False
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})

    def learn(self, corpus: Corpus) -> Self:
        return self

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        words = ["tall" if m.picture.shape[0] > m.picture.shape[1] else "wide" for m in media]
        return [Draft(f"a {word} picture", (Statement(word, "orientation", 1.0),)) for word in words]
