"""How close the two sides of a pair lie."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.diagnostics._sides import require_sides


@dataclass(frozen=True)
class Alignment:
    """Mean distance of the two sides of a pair, to a power: 0 is best, and worth nothing without `uniformity`.

    Args:
        power: Of the distance, above 0.

    Raises:
        ValueError: `power` is not positive.
    """

    name: ClassVar[str] = "alignment"
    source: ClassVar[Source] = Source(
        title="Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere",
        authors="Wang and Isola",
        year=2020,
        url="https://arxiv.org/abs/2005.10242",
        departs="the two sides of a pair in place of two views of a picture",
    )
    paired: ClassVar[bool] = True

    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise ValueError(f"power must be positive, found {self.power}")

    def __call__(self, media: NDArray[np.float32], text: NDArray[np.float32]) -> dict[str, float]:
        """Return `alignment`, in [0, 2 ** power]."""
        media, text = require_sides(media, text, paired=True)
        distance = np.linalg.norm((media - text).astype(np.float64), axis=1)
        return {"alignment": float((distance**self.power).mean())}
