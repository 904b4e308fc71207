"""The one check on vectors that every scorer makes."""

import numpy as np

from schemas.batch import PairBatch
from schemas.errors import DataError


def require_finite(pairs: PairBatch) -> None:
    """Refuse NaN and infinity, which would spread into every score.

    Raises:
        DataError: A vector is not finite.
    """
    for side, vectors in (("media", pairs.media_vec), ("text", pairs.text_vec)):
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise DataError(
                f"{len(broken)} {side} vectors are not finite, first in row {broken[0]}; embed them again"
            )
