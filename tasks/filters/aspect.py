"""Longer over shorter side: banners and rules are rarely pictures of something."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.errors import DataError
from schemas.source import Source
from tasks.filters._columns import numbers


@dataclass(frozen=True)
class Aspect:
    """Longer over shorter side, at least 1. ALIGN keeps pictures below 3."""

    name: ClassVar[str] = "aspect"
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
        """Return longer over shorter side. Shape (N,), float32, at least 1; NaN without a picture.

        Raises:
            DataError: A side is under one pixel.
        """
        width, height = numbers(rows, "width_px"), numbers(rows, "height_px")
        shorter = np.minimum(width, height)
        if (shorter < 1).any():
            raise DataError(
                f"a picture has a side of {np.nanmin(shorter):g} px; every side must be at least 1"
            )
        return (np.maximum(width, height) / shorter).astype(np.float32)
