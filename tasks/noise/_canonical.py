"""A linear head in closed form: regularised canonical correlation of media and text vectors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, solve_triangular

_CHUNK = 8192  # rows read at once


@dataclass(frozen=True)
class CanonicalHead:
    """Projections of both sides into the directions in which they vary together.

    Args:
        media_mean: (D,) mean of the media vectors it was fitted on.
        text_mean: (D,) mean of the text vectors.
        media_map: (D, K), columns scaled by the square root of their canonical correlation.
        text_map: (D, K).
    """

    media_mean: NDArray[np.float32]
    text_mean: NDArray[np.float32]
    media_map: NDArray[np.float32]
    text_map: NDArray[np.float32]

    def media(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project (N, D) media vectors to (N, K), unit length."""
        return _unit((vectors - self.media_mean) @ self.media_map)

    def text(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project (N, D) text vectors to (N, K), unit length."""
        return _unit((vectors - self.text_mean) @ self.text_map)


def fit_canonical(
    media: NDArray[np.float32],
    text: NDArray[np.float32],
    rows: NDArray[np.int64],
    weight: NDArray[np.float32],
    *,
    width: int,
    ridge: float,
) -> CanonicalHead:
    """Fit a head on some rows.

    Args:
        media: (N, D) media vectors.
        text: (N, D) text vectors.
        rows: (M,) rows to fit on; no other row is read.
        weight: (M,) weight of each of them, not negative.
        width: K, directions kept, at most D.
        ridge: Added to the diagonal of both covariances, in units of their mean variance.
    """
    total = max(float(weight.sum(dtype=np.float64)), 1e-12)
    dim = media.shape[1]
    media_mean, text_mean = np.zeros(dim), np.zeros(dim)
    within_media, within_text, across = np.zeros((dim, dim)), np.zeros((dim, dim)), np.zeros((dim, dim))
    for start in range(0, len(rows), _CHUNK):
        x, y = media[rows[start : start + _CHUNK]], text[rows[start : start + _CHUNK]]
        w = weight[start : start + _CHUNK, None] / np.float32(total)
        media_mean += (w * x).sum(axis=0)
        text_mean += (w * y).sum(axis=0)
        within_media += (w * x).T @ x
        within_text += (w * y).T @ y
        across += (w * x).T @ y
    across -= np.outer(media_mean, text_mean)
    media_root = _root(within_media - np.outer(media_mean, media_mean), ridge)
    text_root = _root(within_text - np.outer(text_mean, text_mean), ridge)

    # The whitened cross-covariance; its singular vectors are the canonical directions.
    half = solve_triangular(media_root, across, lower=True)
    coupled = solve_triangular(text_root, half.T, lower=True).T  # (D, D)
    squared, left = eigh(coupled @ coupled.T, subset_by_index=(dim - min(width, dim), dim - 1))
    correlation = np.sqrt(np.clip(squared, 1e-12, None))
    right = coupled.T @ left / correlation
    scale = np.sqrt(correlation)
    return CanonicalHead(
        media_mean.astype(np.float32),
        text_mean.astype(np.float32),
        solve_triangular(media_root, left * scale, lower=True, trans="T").astype(np.float32),
        solve_triangular(text_root, right * scale, lower=True, trans="T").astype(np.float32),
    )


def _root(covariance: NDArray[np.float64], ridge: float) -> NDArray[np.floating]:
    """Return the lower Cholesky factor of the regularised covariance."""
    dim = len(covariance)
    # Sums of float32 products leave noise of about 1e-7 on unit vectors; the floor keeps constant sides
    # factorable.
    variance = max(float(np.trace(covariance)) / dim, 1e-6)
    root: NDArray[np.floating] = np.linalg.cholesky(
        (covariance + covariance.T) / 2 + ridge * variance * np.eye(dim)
    )
    return root


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
