"""The rotation that brings the new space nearest to the old."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schemas.source import Source
from tasks.bridges.contract import Crossing, Rows


@dataclass(frozen=True)
class Procrustes:
    """R = U V^T of the singular value decomposition of X^T Y: maximises the sum of cosines of x R and y.

    Between spaces of different widths R has orthonormal columns or rows. Angles within the new space stay as they
    are, so what the texts do not show is carried over too.

    Args:
        centre: Subtract the means first, and add that of the old vectors again.
    """

    name: ClassVar[str] = "procrustes"
    source: ClassVar[Source] = Source(
        title="A generalized solution of the orthogonal Procrustes problem",
        authors="Schönemann",
        year=1966,
        url="https://doi.org/10.1007/BF02289451",
        departs="rectangular for spaces of different widths",
    )

    centre: bool = False

    def fit(self, rows: Rows, *, seed: int = 0) -> Crossing:
        """Return the crossing; the seed changes nothing."""
        weight = rows.weights[:, None]
        new, old = rows.new.astype(np.float64), rows.old.astype(np.float64)
        middle = (weight * new).sum(axis=0), (weight * old).sum(axis=0)
        from_, to = middle if self.centre else (np.zeros_like(middle[0]), np.zeros_like(middle[1]))
        left, _, right = np.linalg.svd((new - from_).T @ (weight * (old - to)), full_matrices=False)
        return Crossing(*(array.astype(np.float32) for array in (left @ right, from_, to)))
