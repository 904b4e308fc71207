"""Length of a text in characters."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import each


@dataclass(frozen=True)
class LengthChars:
    """Characters of the text, without blanks at either end. LAION-5B keeps texts of 5 and more."""

    name: ClassVar[str] = "length-chars"
    source: ClassVar[Source] = Source(
        title="LAION-5B: An open large-scale dataset for training next generation image-text models",
        authors="Schuhmann et al.",
        year=2022,
        url="https://arxiv.org/abs/2210.08402",
        departs="blanks at either end do not count; the threshold is the recipe's",
    )
    subject: ClassVar[Literal["media", "text"]] = "text"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("text",)

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the length in characters (code points). Shape (N,), float32; NaN where there is no text."""
        return each(rows, "text", lambda text: len(text.strip()))
