"""How many media carry a text: one text under many pictures describes none of them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import numbers


@dataclass(frozen=True)
class SharedText:
    """Number of distinct media that carry the text. ALIGN drops texts shared by more than 10 images.

    The caller counts `media_count` over pairs, after exact duplicates of media are merged.
    """

    name: ClassVar[str] = "shared-text"
    source: ClassVar[Source] = Source(
        title="Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
        authors="Jia et al.",
        year=2021,
        url="https://arxiv.org/abs/2102.05918",
        departs="the threshold is the recipe's, also as a quantile; 10 was set for billions of pairs",
    )
    subject: ClassVar[Literal["media", "text"]] = "text"
    scope: ClassVar[Literal["shard", "table"]] = "table"
    columns: ClassVar[tuple[str, ...]] = ("text_id", "text", "media_count")

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the number of media per text. Shape (N,), float32; NaN where it was not counted."""
        return numbers(rows, "media_count").astype(np.float32)
