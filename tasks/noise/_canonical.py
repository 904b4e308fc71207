"""A linear head in closed form: regularised canonical correlation of media and text vectors."""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

_CHUNK = 8192  # rows read at once


@dataclass(frozen=True)
class CanonicalHead:
    """Projections of both sides into the directions in which they vary together.

    Args:
        media_mean: (Dm,) mean of the media vectors it was fitted on.
        text_mean: (Dt,) mean of the text vectors.
        media_map: (Dm, K), columns scaled by the square root of their canonical correlation.
        text_map: (Dt, K).
    """

    media_mean: NDArray[np.float32]
    text_mean: NDArray[np.float32]
    media_map: NDArray[np.float32]
    text_map: NDArray[np.float32]

    def media(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project (N, Dm) media vectors to (N, K), unit length."""
        return _unit((vectors - self.media_mean) @ self.media_map)

    def text(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project (N, Dt) text vectors to (N, K), unit length."""
        return _unit((vectors - self.text_mean) @ self.text_map)


def fit_canonical(
    media: NDArray[np.float32],
    text: NDArray[np.float32],
    rows: NDArray[np.integer],
    weight: NDArray[np.float32],
    *,
    width: int,
    ridge: float,
) -> CanonicalHead:
    """Fit a head on some rows.

    Args:
        media: (N, Dm) media vectors.
        text: (N, Dt) text vectors; the widths may differ.
        rows: (M,) rows to fit on; no other row is read.
        weight: (M,) weight of each of them, not negative.
        width: K, directions kept, at most the smaller of Dm and Dt.
        ridge: Added to the diagonal of both covariances, in units of their mean variance.
    """
    total = max(float(weight.sum(dtype=np.float64)), 1e-12)
    media_dim, text_dim = media.shape[1], text.shape[1]
    media_mean, text_mean = np.zeros(media_dim), np.zeros(text_dim)
    within_media, within_text = np.zeros((media_dim, media_dim)), np.zeros((text_dim, text_dim))
    across = np.zeros((media_dim, text_dim))
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
    half = scipy.linalg.solve_triangular(media_root, across, lower=True)
    coupled = scipy.linalg.solve_triangular(text_root, half.T, lower=True).T  # (Dm, Dt)
    if media_dim <= text_dim:  # the products of the narrower side are the smaller matrix
        correlation, left = _largest(coupled @ coupled.T, width)
        right = coupled.T @ left / correlation
    else:
        correlation, right = _largest(coupled.T @ coupled, width)
        left = coupled @ right / correlation
    scale = np.sqrt(correlation)
    return CanonicalHead(
        media_mean.astype(np.float32),
        text_mean.astype(np.float32),
        scipy.linalg.solve_triangular(media_root, left * scale, lower=True, trans="T").astype(np.float32),
        scipy.linalg.solve_triangular(text_root, right * scale, lower=True, trans="T").astype(np.float32),
    )


def _largest(squared: NDArray[np.float64], width: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the largest singular values, and the vectors of one side, from the products of that side."""
    dim = len(squared)
    values, vectors = scipy.linalg.eigh(squared, subset_by_index=(dim - min(width, dim), dim - 1))
    return np.sqrt(np.clip(values, 1e-12, None)), vectors


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
