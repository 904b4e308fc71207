"""Linear regression from the new space to the old, as if the new vectors had been seen with noise."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schemas.source import Source
from tasks.bridges.contract import Crossing, Rows


@dataclass(frozen=True)
class Ridge:
    """Minimises the mean of |(x + e - x0) W - (y - y0)|^2, e being Gaussian noise, plus ridge |W|^2.

    Noise on the input stands for queries that lie beside the texts, as pictures do. Its expectation is taken in
    closed form: noise of variance s^2 an entry adds s^2 |W|^2 (Bishop 1995), so nothing is drawn.

    Args:
        noise: s, standard deviation of the noise in each of the D' entries of a unit vector.
        ridge: Added in any case; keeps the fit finite where the texts leave directions unseen.
        centre: Subtract the means x0 and y0, and add y0 again; otherwise both are 0.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "ridge"
    source: ClassVar[Source] = Source(
        title="Training with Noise is Equivalent to Tikhonov Regularization",
        authors="Bishop",
        year=1995,
        url="https://doi.org/10.1162/neco.1995.7.1.108",
        departs="a linear map, for which the equivalence is exact; texts only and noise after XBT (Jang et al., 2024)",
    )

    noise: float = 0.05
    ridge: float = 1e-6
    centre: bool = True

    def __post_init__(self) -> None:
        if not self.noise >= 0 or not self.ridge > 0:
            raise ValueError(f"noise must be at least 0 and ridge positive: {self}")

    def fit(self, rows: Rows, *, seed: int = 0) -> Crossing:
        """Return the crossing; the seed changes nothing."""
        weight = rows.weights[:, None]
        new, old = rows.new.astype(np.float64), rows.old.astype(np.float64)
        middle = (weight * new).sum(axis=0), (weight * old).sum(axis=0)
        from_, to = middle if self.centre else (np.zeros_like(middle[0]), np.zeros_like(middle[1]))
        x, y = new - from_, old - to
        penalty = (self.noise**2 + self.ridge) * np.eye(x.shape[1])
        matrix = np.linalg.solve(x.T @ (weight * x) + penalty, x.T @ (weight * y))
        return Crossing(*(array.astype(np.float32) for array in (matrix, from_, to)))
