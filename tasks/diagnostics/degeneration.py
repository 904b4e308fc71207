"""How close each item lies to its nearest neighbour of the same side."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.diagnostics._sides import drawn, require_sides
from tasks.similarities._bank import blocks


@dataclass(frozen=True)
class Degeneration:
    """Mean cosine of an item with its nearest neighbour: near 1 where vectors share a narrow cone.

    Exact duplicates push it up as well; count them out before comparing corpora.

    Args:
        most: Items a side whose neighbour is looked for, drawn at random where there are more, at least 1; it is looked
            for among all.
        seed: Of the draw.

    Raises:
        ValueError: `most` is under 1.
    """

    name: ClassVar[str] = "degeneration"
    source: ClassVar[Source] = Source(
        title="InvGC: Robust Cross-Modal Retrieval by Inverse Graph Convolution",
        authors="Jian and Wang",
        year=2023,
        url="https://arxiv.org/abs/2310.13276",
        departs="each side by itself; a sample of large corpora",
    )
    paired: ClassVar[bool] = False

    most: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most must be at least 1, found {self.most}")

    def __call__(self, media: NDArray[np.float32], text: NDArray[np.float32]) -> dict[str, float]:
        """Return `media` and `text`, in [-1, 1]."""
        sides = require_sides(media, text, least=2)
        return {name: self._of(side) for name, side in zip(("media", "text"), sides, strict=True)}

    def _of(self, vectors: NDArray[np.float32]) -> float:
        places = drawn(len(vectors), self.most, self.seed)
        nearest, start = [], 0
        for block in blocks(vectors[places], vectors):
            block[np.arange(len(block)), places[start : start + len(block)]] = -np.inf
            nearest.append(block.max(axis=1))
            start += len(block)
        return float(np.clip(np.concatenate(nearest).mean(dtype=np.float64), -1, 1))
