"""Old and aligned query mixed on the sphere, where the old encoder is still at hand for queries."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.bridges.contract import Vectors

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def slerp(old: Vectors, aligned: Vectors, share: float) -> Vectors:
    """Return the points `share` of the way from each old query to its aligned one, along the great circle.

    Args:
        old: (Q, D) unit queries of the old encoder.
        aligned: (Q, D) unit queries of the new one, led over the bridge.
        share: a in [0, 1]; 0 is the old query, 1 the aligned one.

    Raises:
        ValueError: Shapes differ, or the share is not in [0, 1].
    """
    if old.shape != aligned.shape or old.ndim != 2:
        raise ValueError(f"old is {old.shape} but aligned is {aligned.shape}; both must be (Q, D)")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], found {share}")
    cosine = np.clip((old.astype(np.float64) * aligned).sum(axis=1, keepdims=True), -1, 1)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    flat = sine < 1e-6  # the same direction, or opposite ones that no single circle joins
    safe = np.where(flat, 1, sine)
    left = np.where(flat, 1 - share, np.sin((1 - share) * angle) / safe)
    right = np.where(flat, share, np.sin(share * angle) / safe)
    mixed: NDArray[np.float64] = left * old + right * aligned
    length = np.linalg.norm(mixed, axis=1, keepdims=True)
    unit: Vectors = np.where(length > 1e-9, mixed / np.maximum(length, 1e-9), aligned).astype(np.float32)
    return unit


def best_share(
    old: Vectors,
    aligned: Vectors,
    gallery: Vectors,
    relevant: NDArray[np.integer],
    shares: Sequence[float] = SHARES,
) -> float:
    """Return the share at which support queries find their item best, by mean reciprocal rank; the larger of equals.

    Args:
        old: (Q, D) support queries of the old encoder.
        aligned: (Q, D) the same of the new one, led over the bridge.
        gallery: (G, D) old vectors.
        relevant: (Q,) row of each query's item in the gallery.
        shares: What is tried, each in [0, 1].

    Raises:
        ValueError: There is nothing to choose from or by.
    """
    if not len(shares) or not len(old) or len(relevant) != len(old):
        raise ValueError(
            f"{len(shares)} shares, {len(old)} queries and {len(relevant)} items; need some of each"
        )
    found = []
    for share in shares:
        similarity = slerp(old, aligned, share) @ gallery.T
        own = similarity[np.arange(len(old)), relevant]
        found.append((float((1 / (similarity >= own[:, None]).sum(axis=1)).mean()), share))
    return max(found)[1]
