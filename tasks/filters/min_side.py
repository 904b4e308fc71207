"""Shorter side of a picture: very small ones show too little."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import numbers


@dataclass(frozen=True)
class MinSide:
    """Shorter side in pixels, after EXIF orientation. ALIGN keeps pictures above 200."""

    name: ClassVar[str] = "min-side"
    source: ClassVar[Source] = Source(
        title="Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
        authors="Jia et al.",
        year=2021,
        url="https://arxiv.org/abs/2102.05918",
        departs="the threshold is the recipe's",
    )
    subject: ClassVar[Literal["media", "text"]] = "media"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("width_px", "height_px")

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the shorter side in pixels. Shape (N,), float32; NaN without a picture."""
        return np.minimum(numbers(rows, "width_px"), numbers(rows, "height_px")).astype(np.float32)
