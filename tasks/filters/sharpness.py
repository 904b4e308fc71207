"""Sharpness of a picture: blurred ones have little fine detail."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.source import Source
from tasks.filters._columns import blobs, scored
from tasks.filters._pictures import pixels


def laplacian(grey: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the sum of the four neighbours less four times the pixel, edges repeated. Shape (H, W)."""
    framed = np.pad(grey, 1, mode="edge")
    return np.asarray(framed[:-2, 1:-1] + framed[2:, 1:-1] + framed[1:-1, :-2] + framed[1:-1, 2:] - 4 * grey)


@dataclass(frozen=True)
class Sharpness:
    """Variance of the Laplacian of the grey thumbnail, grey values in [0, 1].

    0 is a flat picture; a checkerboard of single pixels, the sharpest there is, has about 16. The thumbnail's
    longer side is the same for all larger pictures, so their scores compare; a picture smaller than its
    thumbnail size is measured as it is. A drawing of few flat areas is sharp at its edges only and scores
    low: look at the corpus before setting a threshold.
    """

    name: ClassVar[str] = "sharpness"
    source: ClassVar[Source] = Source(
        title="Diatom autofocusing in brightfield microscopy: a comparative study",
        authors="Pech-Pacheco et al.",
        year=2000,
        url="https://doi.org/10.1109/ICPR.2000.903548",
        departs="on the thumbnail, grey values in [0, 1], edges repeated",
    )
    subject: ClassVar[Literal["media", "text"]] = "media"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("thumbnail",)

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the variance of the Laplacian. Shape (N,), float32, in [0, 16]; NaN without a thumbnail.

        Raises:
            DataError: A thumbnail is no picture.
        """
        return scored(blobs(rows, "thumbnail"), self._score)

    def _score(self, thumbnail: bytes) -> float:
        grey = pixels(thumbnail, "L") / np.float32(255)
        return float(laplacian(grey).var(dtype=np.float64))
