"""What a trained reranker reads of a query and its candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.rerankers._vectors import cosines
from tasks.rerankers.contract import Asked, Found

NUMBERS = 3  # cosine, rank, gap; facts come after


@dataclass(frozen=True)
class Glasses:
    """What is read of vectors: where they lie along some directions, seen from the mean of their side.

    Queries and candidates have means of their own, so that it does not matter how far texts lie from media.

    Args:
        directions: (D, W) orthonormal; W is 0 where vectors are not read.
        query_mean: (D,) of queries.
        item_mean: (D,) of candidates.
    """

    directions: NDArray[np.float32]
    query_mean: NDArray[np.float32]
    item_mean: NDArray[np.float32]

    @classmethod
    def fitted(cls, asked: Sequence[Asked], found: Sequence[Found], width: int) -> "Glasses":
        """Return the leading principal directions of queries and candidates, each side about its mean and as heavy."""
        sides = [
            np.stack([one.vector for one in asked]).astype(np.float64),
            np.concatenate([one.vectors for one in found]).astype(np.float64),
        ]
        means = [side.mean(axis=0) for side in sides]
        covariance = sum(
            (side - mean).T @ (side - mean) / len(side) for side, mean in zip(sides, means, strict=True)
        )
        basis = np.linalg.eigh(np.asarray(covariance))[1][:, ::-1][:, :width]
        largest = basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])]
        basis = basis * np.where(largest < 0, -1.0, 1.0)  # a direction has no sign; this settles it
        return cls(*(np.ascontiguousarray(part, np.float32) for part in (basis, *means)))

    def query(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where a query lies. (D,) -> (W,)."""
        return np.asarray(np.einsum("d,dw->w", vector - self.query_mean, self.directions))

    def items(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where candidates lie, each the same whatever stands beside it. (K, D) -> (K, W)."""
        return np.asarray(np.einsum("kd,dw->kw", vectors - self.item_mean, self.directions))


def look(query: Asked, candidates: Found, glasses: Glasses, facts: tuple[str, ...]) -> NDArray[np.float32]:
    """Return candidates as numbers: q, x, q * x, |q - x|, cosine, log2 of the rank, gap to the best cosine, facts.

    Shape (K, 4 W + 3 + F).

    Raises:
        DataError: A fact is missing or not finite.
    """
    own = cosines(query.vector, candidates.vectors)
    columns = [own, np.log2(np.arange(1.0, len(own) + 1)), own.max(initial=-1.0) - own]
    for name in facts:
        if name not in candidates.facts:
            known = ", ".join(candidates.facts) or "none"
            raise DataError(f"candidates lack the fact {name!r}; they have {known}")
        if not np.isfinite(candidates.facts[name]).all():
            raise DataError(f"the fact {name!r} is not finite for every candidate; compute it again")
        columns.append(candidates.facts[name].astype(np.float64))
    numbers = np.stack(columns, axis=1).astype(np.float32)
    if len(candidates) == 0:
        return np.zeros((0, 4 * glasses.directions.shape[1] + numbers.shape[1]), np.float32)
    x = glasses.items(candidates.vectors)
    q = np.broadcast_to(glasses.query(query.vector), x.shape)
    return np.concatenate([q, x, q * x, np.abs(q - x), numbers], axis=1)
