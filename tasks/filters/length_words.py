"""Length of a text in words."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import each
from tasks.filters._words import words


@dataclass(frozen=True)
class LengthWords:
    """Words of the text; a Han or kana character is one. ALIGN keeps texts of 3 to 20."""

    name: ClassVar[str] = "length-words"
    source: ClassVar[Source] = Source(
        title="Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
        authors="Jia et al.",
        year=2021,
        url="https://arxiv.org/abs/2102.05918",
        departs="words are found by a rule for all scripts; the thresholds are the recipe's",
    )
    subject: ClassVar[Literal["media", "text"]] = "text"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("text",)

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the number of words. Shape (N,), float32; NaN where there is no text."""
        return each(rows, "text", lambda text: len(words(text)))
