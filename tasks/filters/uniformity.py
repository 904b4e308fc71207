"""Share of a picture that is one colour: blank pictures show nothing."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import blobs, scored
from tasks.filters._pictures import pixels


@dataclass(frozen=True)
class Uniformity:
    """Share of the thumbnail's pixels near its most common colour. 1.0 is one flat colour.

    The most common colour is the mean of the fullest cell when every channel is cut into 32 steps. An icon on
    white reaches 0.9, so a rule against blanks wants at_most 0.99 or more.

    Args:
        tolerance: Largest difference in any channel, of 255, that counts as the same colour. Covers what
            lossy thumbnails do to a flat area.

    Raises:
        ValueError: `tolerance` is not in 0-255.
    """

    name: ClassVar[str] = "uniformity"
    source: ClassVar[Source] = Source(
        title="CleanVision: audit your image data for better computer vision",
        authors="Cleanlab",
        year=2022,
        url="https://github.com/cleanlab/cleanvision",
        departs="share of the most common colour in place of the entropy of the grey histogram",
    )
    subject: ClassVar[Literal["media", "text"]] = "media"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("thumbnail",)

    tolerance: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= 255:
            raise ValueError(f"tolerance must be in 0-255, found {self.tolerance}")

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the share of the most common colour. Shape (N,), float32, in [0, 1]; NaN if no thumbnail.

        Raises:
            DataError: A thumbnail is no picture.
        """
        return scored(blobs(rows, "thumbnail"), self._score)

    def _score(self, thumbnail: bytes) -> float:
        colours = pixels(thumbnail, "RGB").reshape(-1, 3).astype(np.int32)
        cell = (colours >> 3) @ np.array([1024, 32, 1])
        fullest = colours[cell == np.bincount(cell).argmax()].mean(axis=0).round()
        return float((np.abs(colours - fullest).max(axis=1) <= self.tolerance).mean())
