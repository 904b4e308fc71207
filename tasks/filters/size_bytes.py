"""Size of the medium's file: the smallest are placeholders."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import numbers


@dataclass(frozen=True)
class SizeBytes:
    """Size of the original bytes. LAION-5B keeps images of 5 kB and more; drawings are honestly smaller.

    float32 is exact to 16 MiB and within 1 part in 16 million above.
    """

    name: ClassVar[str] = "size-bytes"
    source: ClassVar[Source] = Source(
        title="LAION-5B: An open large-scale dataset for training next generation image-text models",
        authors="Schuhmann et al.",
        year=2022,
        url="https://arxiv.org/abs/2210.08402",
        departs="the threshold is the recipe's",
    )
    subject: ClassVar[Literal["media", "text"]] = "media"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("size_bytes",)

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the size in bytes. Shape (N,), float32; NaN where unknown."""
        return numbers(rows, "size_bytes").astype(np.float32)
