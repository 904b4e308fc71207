"""Vectors as assessors need them: finite, of one space, and texts encoded in one call."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.assessors.contract import Drafts, Encode

TIE = 1e-6  # cosines closer than this differ by rounding only
_CHUNK = 8192  # rows checked at once


def require_finite(drafts: Drafts) -> None:
    """Refuse media with NaN or infinity, which would spread into every score.

    Raises:
        DataError: A vector of a medium is not finite.
    """
    for side, vectors in (("media_vec", drafts.media_vec), ("gallery_vec", drafts.gallery_vec)):
        for start in range(0, len(vectors), _CHUNK):  # a gallery may lie on disk
            rows = np.flatnonzero(~np.isfinite(vectors[start : start + _CHUNK]).all(axis=1))
            if len(rows):
                raise DataError(
                    f"{side} is not finite in row {start + int(rows[0])}; embed that medium again"
                )


def encoded(
    encode: Encode, lists: Sequence[Sequence[str]], *, dim: int | None = None
) -> tuple[NDArray[np.float32], list[NDArray[np.int64]]]:
    """Encode lists of texts in one call, each text once.

    Args:
        encode: What encodes.
        lists: For each row, its texts; may be empty.
        dim: Width the vectors must have to be compared with media; None: any.

    Returns:
        vectors: (U, D) of the distinct texts.
        at: For each row, where its texts are in `vectors`.

    Raises:
        DataError: A vector is not finite, or of another width or number than asked for.
    """
    place: dict[str, int] = {}
    at = [np.array([place.setdefault(text, len(place)) for text in texts], dtype=np.int64) for texts in lists]
    if not place:
        return np.empty((0, dim or 0), dtype=np.float32), at
    vectors = np.asarray(encode(list(place)), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(place):
        raise DataError(f"the encoder was given {len(place)} texts and returned an array of {vectors.shape}")
    if dim is not None and vectors.shape[1] != dim:
        raise DataError(
            f"texts are {vectors.shape[1]} wide and media {dim}, so they share no space; use a joint encoder"
        )
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        row = next(i for i, found in enumerate(at) if int(broken[0]) in found)
        text = list(place)[int(broken[0])]
        raise DataError(f"the vector of {text[:80]!r}, of row {row}, is not finite; check the encoder")
    return vectors, at
