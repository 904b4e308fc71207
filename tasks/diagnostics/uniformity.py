"""How evenly each side fills the sphere."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.diagnostics._sides import drawn, require_sides
from tasks.similarities._bank import blocks


@dataclass(frozen=True)
class Uniformity:
    """Logarithm of the mean over pairs of rows of exp(-t distance²): 0 where all are one point, lower is more even.

    Args:
        t: Sharpness, above 0.
        most: Rows a side, drawn at random where there are more, at least 2; the cost is its square.
        seed: Of the draw.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "uniformity"
    source: ClassVar[Source] = Source(
        title="Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere",
        authors="Wang and Isola",
        year=2020,
        url="https://arxiv.org/abs/2005.10242",
        departs="each side by itself; a sample of large corpora",
    )
    paired: ClassVar[bool] = False

    t: float = 2.0
    most: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.t > 0 or self.most < 2:
            raise ValueError(f"t must be positive and most at least 2: {self}")

    def __call__(self, media: NDArray[np.float32], text: NDArray[np.float32]) -> dict[str, float]:
        """Return `media` and `text`, in [-4 t, 0]."""
        sides = require_sides(media, text, least=2)
        return {name: self._of(side) for name, side in zip(("media", "text"), sides, strict=True)}

    def _of(self, vectors: NDArray[np.float32]) -> float:
        rows = vectors[drawn(len(vectors), self.most, self.seed)]
        total = 0.0
        for block in blocks(rows, rows, own=True):  # its own row has similarity -inf, which adds nothing
            distance = np.maximum(2 - 2 * block.astype(np.float64), 0)
            total += float(np.exp(-self.t * distance).sum())
        return float(np.log(total / (len(rows) * (len(rows) - 1)))) if total else -4.0 * self.t
