"""A whole captioner in one file that learns from the corpus: what a plug-in takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from schemas.errors import DataError
from schemas.source import Source
from tasks.captioners.contract import Corpus, Draft, Failure, Known, Medium, Statement


@dataclass(frozen=True)
class Commonest:
    """Says the commonest text of the corpus of everything: a whole captioner that learns."""

    name: ClassVar[str] = "commonest"
    source: ClassVar[Source] = Source("One text for all", "Nobody", 2000, "https://example.org/commonest")
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = True
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    said: Known | None = None

    def learn(self, corpus: Corpus) -> Self:
        rows = corpus.pairs[:, 1]
        return replace(self, said=corpus.texts[int(np.bincount(rows).argmax())])

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        if not self.said:
            raise DataError("'commonest' has not learnt; call learn first")
        of = (self.said.text_id,)
        draft = Draft(self.said.text, (Statement(self.said.text, "whole", 0.1, of),), self.said.language, of)
        return [draft] * len(media)
