"""Vectors of a query and its candidates, checked, and the cosines between them."""

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.rerankers.contract import Asked, Found


def require_finite(query: Asked, candidates: Found) -> None:
    """Refuse a query and candidates that cannot be compared.

    Raises:
        DataError: A vector or score is not finite, or vectors are of different widths.
    """
    if len(candidates) and candidates.vectors.shape[1] != len(query.vector):
        raise DataError(
            f"the query's vector is {len(query.vector)} wide and those of its candidates "
            f"{candidates.vectors.shape[1]}; use vectors of one encoder"
        )
    if not np.isfinite(query.vector).all():
        raise DataError("the query's vector is not finite; embed it again")
    finite = np.isfinite(candidates.vectors).all(axis=1) & np.isfinite(candidates.scores)
    if not finite.all():
        wrong = candidates.item_ids[int(np.flatnonzero(~finite)[0])]
        raise DataError(f"the vector or score of candidate {wrong!r} is not finite; embed it again")


def cosines(vector: NDArray[np.floating], vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosines of (K, D) vectors with a (D,) vector. Shape (K,); a vector of zeros has 0."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=1) * np.linalg.norm(vector.astype(np.float64))
    # einsum sums each row alike, however many there are: a candidate's score does not depend on the others
    dot = np.einsum("kd,d->k", vectors.astype(np.float64), vector.astype(np.float64))
    return np.divide(dot, length, out=np.zeros(len(vectors)), where=length > 0)
