"""How much a text says that the texts its medium came with do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.assessors._vectors import encoded
from tasks.assessors._words import content_words
from tasks.assessors.contract import Assessed, Drafts


@dataclass(frozen=True)
class Novelty:
    """1 less the highest cosine with a raw text, or the share of content words that no raw text has.

    1 where a medium came without texts. Novelty alone is no merit, since an invention is new: it tells which of
    two true texts adds more.

    Args:
        by: "embedding" compares meanings; cosines under 0 count as 0. "words" compares distinct words that
            are no English function words; a text without any adds nothing.

    Raises:
        ValueError: `by` is neither.
    """

    name: ClassVar[str] = "novelty"
    source: ClassVar[Source] = Source(
        title="VeCLIP: Improving CLIP Training via Visual-enriched Captions",
        authors="Lai et al.",
        year=2023,
        url="https://arxiv.org/abs/2310.07699",
        departs="the idea that a caption is worth what it adds to the alt text, as a number",
    )
    scope: ClassVar[Literal["row", "table"]] = "row"

    by: Literal["embedding", "words"] = "embedding"

    def __post_init__(self) -> None:
        if self.by not in ("embedding", "words"):
            raise ValueError(f"by must be 'embedding' or 'words', found {self.by!r}")

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return the novelty of each text. In [0, 1].

        Raises:
            DataError: A text's vector is not finite.
        """
        raw = [[text for text in texts if text.strip()] for texts in drafts.raw]
        score = _new_words(drafts.texts, raw) if self.by == "words" else _new_meaning(drafts, raw)
        return Assessed(score)


def _new_words(texts: Sequence[str], raw: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    score = np.ones(len(texts), dtype=np.float32)
    for row, (text, known) in enumerate(zip(texts, raw, strict=True)):
        if known:
            said = set(content_words(text))
            new = said.difference(*map(content_words, known))
            score[row] = len(new) / max(len(said), 1)
    return score


def _new_meaning(drafts: Drafts, raw: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    # a text without raw ones needs no vector
    lists = [(text, *known) if known else () for text, known in zip(drafts.texts, raw, strict=True)]
    vectors, at = encoded(drafts.encode, lists)
    score = np.ones(len(drafts), dtype=np.float32)
    for row, found in enumerate(at):
        if len(found):
            score[row] = 1 - np.clip((vectors[found[1:]] @ vectors[found[0]]).max(), 0, 1)
    return score
