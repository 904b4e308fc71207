"""How far apart media and texts lie as a whole."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.diagnostics._sides import require_sides


@dataclass(frozen=True)
class ModalityGap:
    """Distance between the mean medium and the mean text: 0 where both fill one region, at most 2."""

    name: ClassVar[str] = "modality-gap"
    source: ClassVar[Source] = Source(
        title="Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation Learning",
        authors="Liang et al.",
        year=2022,
        url="https://arxiv.org/abs/2203.02053",
    )
    paired: ClassVar[bool] = False

    def __call__(self, media: NDArray[np.float32], text: NDArray[np.float32]) -> dict[str, float]:
        """Return `gap`, in [0, 2]."""
        media, text = require_sides(media, text)
        apart = media.mean(axis=0, dtype=np.float64) - text.mean(axis=0, dtype=np.float64)
        return {"gap": float(np.linalg.norm(apart))}
