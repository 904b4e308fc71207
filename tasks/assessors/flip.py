"""Whether a text fits its medium better than texts that are wrong in one attribute."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from schemas.source import Source
from tasks.assessors._vectors import TIE, encoded, require_finite
from tasks.assessors.contract import Assessed, Drafts


@dataclass(frozen=True)
class Flip:
    """Share of a text's negatives that fit its medium worse than the text does.

    A negative that fits as well is not beaten. What comes out says as much of the encoder as of the text: an
    encoder that is blind to colour beats half of all flipped colours by chance.
    """

    name: ClassVar[str] = "flip"
    source: ClassVar[Source] = Source(
        title="mmE5: Improving Multimodal Multilingual Embeddings via High-quality Synthetic Data",
        authors="Chen et al.",
        year=2025,
        url="https://arxiv.org/abs/2502.08468",
        departs="hardness is measured by an encoder, where a large model judges what it wrote",
    )
    scope: ClassVar[Literal["row", "table"]] = "row"

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return the share of negatives beaten. In [0, 1]; NaN where a text has none.

        Raises:
            DataError: A vector is not finite, or texts and media are of different widths.
        """
        require_finite(drafts)
        lists = [(text, *wrong) for text, wrong in zip(drafts.texts, drafts.negatives, strict=True)]
        vectors, at = encoded(drafts.encode, lists, dim=drafts.media_vec.shape[1])
        score = np.full(len(drafts), np.nan, dtype=np.float32)
        for row, found in enumerate(at):
            if len(found) > 1:
                similarity = vectors[found] @ drafts.media_vec[row]
                score[row] = (similarity[1:] < similarity[0] - TIE).mean()
        return Assessed(score)
