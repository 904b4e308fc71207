"""Whether a text finds its own medium again."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from schemas.source import Source
from tasks.assessors._gallery import rivals
from tasks.assessors._vectors import encoded, require_finite
from tasks.assessors.contract import Assessed, Drafts


@dataclass(frozen=True)
class RoundTrip:
    """1 where a text's medium is among the k media it fits best, k / rank further down.

    Media that the text fits as well as its own stand before it. Only the row `own` counts as found: where the
    gallery holds near-duplicates of it, they are rivals, and k must leave them room.

    Args:
        k: Places that count as found. 1 makes the score the reciprocal of the rank.

    Raises:
        ValueError: k is under 1.
    """

    name: ClassVar[str] = "round-trip"
    source: ClassVar[Source] = Source(
        title="mmE5: Improving Multimodal Multilingual Embeddings via High-quality Synthetic Data",
        authors="Chen et al.",
        year=2025,
        url="https://arxiv.org/abs/2502.08468",
        departs="relevance by retrieval, where a large model judges what it wrote",
    )
    scope: ClassVar[Literal["row", "table"]] = "row"

    k: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, found {self.k}")

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return min(1, k / rank) for each text. In [0, 1].

        Raises:
            DataError: A vector is not finite, or texts and media are of different widths.
        """
        require_finite(drafts)
        vectors, at = encoded(
            drafts.encode, [[text] for text in drafts.texts], dim=drafts.gallery_vec.shape[1]
        )
        texts = vectors[np.concatenate(at)] if at else vectors
        similarity = np.einsum("nd,nd->n", texts, drafts.gallery_vec[drafts.own])
        better, equal = rivals(texts, similarity, drafts.own, drafts.gallery_vec)
        return Assessed(np.minimum(1, self.k / (1 + better + equal)).astype(np.float32))
