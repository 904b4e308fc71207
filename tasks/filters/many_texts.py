"""How many texts a medium has: a picture with a thousand captions is a placeholder or a logo."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import numbers


@dataclass(frozen=True)
class ManyTexts:
    """Number of distinct texts of the medium. ALIGN drops images with more than 1,000 alt-texts.

    The caller counts `text_count` over pairs, after exact duplicates of media are merged.
    """

    name: ClassVar[str] = "many-texts"
    source: ClassVar[Source] = Source(
        title="Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
        authors="Jia et al.",
        year=2021,
        url="https://arxiv.org/abs/2102.05918",
        departs="the threshold is the recipe's, also as a quantile; 1,000 was set for billions of pairs",
    )
    subject: ClassVar[Literal["media", "text"]] = "media"
    scope: ClassVar[Literal["shard", "table"]] = "table"
    columns: ClassVar[tuple[str, ...]] = ("media_id", "text_count")

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the number of texts per medium. Shape (N,), float32; NaN where it was not counted."""
        return numbers(rows, "text_count").astype(np.float32)
