"""Which texts may be proposed to which media."""

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch, not_finite
from schemas.errors import DataError


def require_aligned(
    pairs: PairBatch, clean: NDArray[np.float32], media: NDArray[np.float32], text: NDArray[np.float32]
) -> None:
    """Refuse arrays that are not of the same pairs.

    Raises:
        DataError: Shapes differ, a vector is not finite, or a probability is not in [0, 1].
    """
    if clean.shape != (len(pairs),) or media.shape != text.shape or media.shape[:1] != clean.shape:
        raise DataError(
            f"clean is {clean.shape}, media {media.shape} and text {text.shape}, but there are {len(pairs)} pairs"
        )
    outside = np.flatnonzero(~((clean >= 0) & (clean <= 1)))  # NaN is in no range
    if len(outside):
        raise DataError(
            f"{len(outside)} values of clean are not in [0, 1], first {clean[outside[0]]} in row {outside[0]}"
        )
    for side, vectors in (("media", media), ("text", text)):
        if len(broken := not_finite(vectors)):
            raise DataError(f"{len(broken)} {side} vectors are not finite, first in row {broken[0]}")


def its_own(pairs: PairBatch, rows: NDArray[np.int64], texts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether a text is one the medium came with. Shape (R, T).

    It is if it is of the same row, or is the same text; if it came with the same medium, or one of its group.

    Args:
        pairs: The pairs.
        rows: (R,) rows of the media.
        texts: (T,) rows of the texts.
    """
    own = rows[:, None] == texts
    for key in (pairs.group, pairs.media_key, pairs.text_key):
        if key is not None:
            own |= key[rows, None] == key[texts]
    return np.asarray(own)
