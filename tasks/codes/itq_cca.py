"""Codes from pairs alone: canonical directions, rotated until rounding to signs costs least."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schemas.errors import DataError
from schemas.source import Source
from tasks.codes._rotation import Floats, orientation, quantised
from tasks.codes.contract import Codes, SemiPaired


@dataclass(frozen=True)
class ITQCCA:
    """Finds directions in which paired rows correlate, and a rotation of them that fits the corners of a cube.

    Rows without a partner are not read. With fewer canonical directions than bits, which P pairs limit to P - 1,
    the rotation spreads them over all bits.

    Args:
        bits: Length of a code; a multiple of 8.
        ridge: Added to each side's covariance, as a share of its mean variance.
        rounds: Of the rotation.
        seed: Seed of the rotation's start.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "itq-cca"
    source: ClassVar[Source] = Source(
        title="Iterative Quantization: A Procrustean Approach to Learning Binary Codes for Large-Scale Image Retrieval",
        authors="Gong et al.",
        year=2013,
        url="https://doi.org/10.1109/TPAMI.2012.193",
        departs="the second view is the other modality and is coded too; directions are scaled by their correlation; "
        "one rotation for both sides",
    )

    bits: int = 64
    ridge: float = 30.0
    rounds: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bits < 8 or self.bits % 8:
            raise ValueError(f"bits must be a multiple of 8: {self}")
        if self.ridge <= 0 or self.rounds < 1:
            raise ValueError(f"ridge must be positive and rounds at least 1: {self}")

    def __call__(self, rows: SemiPaired) -> Codes:
        """Return maps of both sides to `bits` bits, fitted to the pairs.

        Raises:
            DataError: There are fewer than two pairs.
        """
        if len(rows) < 2:
            raise DataError(f"canonical directions need at least 2 pairs; found {len(rows)}")
        media, text = rows.media_vec.astype(np.float64), rows.text_vec.astype(np.float64)
        media_mean, text_mean = media.mean(axis=0), text.mean(axis=0)
        media_map, text_map = self._canonical(media - media_mean, text - text_mean)
        both = np.concatenate([(media - media_mean) @ media_map, (text - text_mean) @ text_map])
        turn = quantised(both, self.bits, self.rounds, np.random.default_rng(self.seed))
        state = media_mean, media_map @ turn, text_mean, text_map @ turn
        return Codes(*(part.astype(np.float32) for part in state))

    def _canonical(self, media: Floats, text: Floats) -> tuple[Floats, Floats]:
        """Return the directions of both sides, (D_m, W) and (D_t, W), scaled by how far they correlate."""
        whiten = [_inverse_root(side, self.ridge) for side in (media, text)]
        left, correlation, right = np.linalg.svd(
            whiten[0] @ (media.T @ text / len(media)) @ whiten[1], full_matrices=False
        )
        width = min(self.bits, len(media) - 1, len(correlation))
        scale = np.sqrt(correlation[:width]) * orientation(left[:, :width])
        return (
            np.asarray(whiten[0] @ left[:, :width] * scale),
            np.asarray(whiten[1] @ right[:width].T * scale),
        )


def _inverse_root(side: Floats, ridge: float) -> Floats:
    """Return the inverse square root of the side's covariance plus a ridge. (D, D)."""
    covariance = side.T @ side / len(side)
    floor = ridge * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors / np.sqrt(np.maximum(values, 0) + floor)) @ vectors.T)
