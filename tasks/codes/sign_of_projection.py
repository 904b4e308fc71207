"""Codes without training: on which side of some hyperplanes a vector lies."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from schemas.errors import DataError
from schemas.source import Source
from tasks.codes._rotation import principal
from tasks.codes.contract import Codes, SemiPaired


@dataclass(frozen=True)
class SignOfProjection:
    """Takes the signs of projections of each side, centred on its own mean.

    Sides of one width share the directions, so codes of a joint encoder's vectors keep its angles: the share of
    differing bits estimates the angle of two vectors over pi. Sides of different widths have directions of their
    own; their codes compare within a side only, and say nothing across.

    Args:
        bits: Length of a code; a multiple of 8.
        directions: "random" directions, or the "principal" ones of all rows, the rest random.
        seed: Seed of the random directions.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "sign-of-projection"
    source: ClassVar[Source] = Source(
        title="Similarity Estimation Techniques from Rounding Algorithms",
        authors="Charikar",
        year=2002,
        url="https://doi.org/10.1145/509907.509965",
        departs="each side is centred first, which takes the gap between sides out",
    )

    bits: int = 64
    directions: Literal["random", "principal"] = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bits < 8 or self.bits % 8:
            raise ValueError(f"bits must be a multiple of 8: {self}")
        if self.directions not in ("random", "principal"):
            raise ValueError(f"directions must be random or principal: {self}")

    def __call__(self, rows: SemiPaired) -> Codes:
        """Return maps of both sides to `bits` bits; they need no pairs.

        Raises:
            DataError: A side has no rows.
        """
        media, text = rows.of("media"), rows.of("text")
        if not len(media) or not len(text):
            raise DataError(
                f"a code needs rows of both sides to centre on; found {len(media)} media and {len(text)} texts"
            )
        rng = np.random.default_rng(self.seed)
        means = media.mean(axis=0), text.mean(axis=0)
        if media.shape[1] == text.shape[1]:
            shared = self._directions(np.concatenate([media - means[0], text - means[1]]), rng)
            maps = shared, shared
        else:
            maps = self._directions(media - means[0], rng), self._directions(text - means[1], rng)
        (media_mean, text_mean), (media_map, text_map) = means, maps
        return Codes(*(part.astype(np.float32) for part in (media_mean, media_map, text_mean, text_map)))

    def _directions(self, centred: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        drawn = rng.standard_normal((centred.shape[1], self.bits))
        if self.directions == "principal":
            _, leading = principal(centred, self.bits)
            drawn[:, : leading.shape[1]] = leading
        return drawn
