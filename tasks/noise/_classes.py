"""Linear classifiers in closed form that never judge what they were fitted on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.batch import PairBatch

_CHUNK = 4096  # rows read at once
_LEAST = 1e-6  # probability no class falls below, so that logarithms and quotients exist


@dataclass(frozen=True)
class LinearClassifier:
    """Regularised least squares onto one-hot classes, an estimate of P(class | vector).

    Args:
        mean: (D,) mean of the vectors it was fitted on.
        weights: (D, C).
        prior: (C,) share of each class.
    """

    mean: NDArray[np.float32]
    weights: NDArray[np.float32]
    prior: NDArray[np.float32]

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities of each class. Shape (N, C), rows sum to 1, none is 0."""
        fitted = np.maximum((vectors - self.mean) @ self.weights + self.prior, 0) + np.float32(_LEAST)
        return np.asarray(fitted / fitted.sum(axis=1, keepdims=True), dtype=np.float32)


def fit_classifier(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    classes: NDArray[np.int64],
    *,
    count: int,
    ridge: float,
) -> LinearClassifier:
    """Fit a classifier on some rows.

    Args:
        vectors: (N, D).
        rows: (M,) rows to fit on, at least one; no other is read.
        classes: (M,) their classes, 0 to count - 1.
        count: C, number of classes.
        ridge: Added to the diagonal of the correlation matrix.
    """
    dim = vectors.shape[1]
    mean, products, members = np.zeros(dim), np.zeros((dim, dim)), np.zeros((dim, count))
    for start in range(0, len(rows), _CHUNK):
        x, y = vectors[rows[start : start + _CHUNK]], classes[start : start + _CHUNK]
        mean += x.sum(axis=0, dtype=np.float64) / len(rows)
        products += x.T @ x / len(rows)
        members += x.T @ np.eye(count, dtype=np.float32)[y] / len(rows)
    prior = np.bincount(classes, minlength=count) / len(rows)
    covariance = products - np.outer(mean, mean)
    variance = np.clip(np.diag(covariance), 0, None)
    # Standardised, so that no direction is spared the ridge for being large; the floors keep those in which
    # nothing varies but rounding from being blown up.
    scale = 1 / np.sqrt(variance + 0.01 * variance.mean() + 1e-6)
    correlation = covariance * np.outer(scale, scale) + ridge * np.eye(dim)
    target = (members - np.outer(mean, prior)) * scale[:, None]
    weights = (
        scipy.linalg.cho_solve(scipy.linalg.cho_factor(correlation, lower=True), target) * scale[:, None]
    )
    return LinearClassifier(mean.astype(np.float32), weights.astype(np.float32), prior.astype(np.float32))


def held_out_probabilities(
    pairs: PairBatch,
    classes: NDArray[np.int64],
    fold: NDArray[np.integer],
    *,
    count: int,
    ridge: float,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]]:
    """Yield rows with their class probabilities by media and by text, from classifiers of the other folds.

    Args:
        pairs: The pairs.
        classes: (N,) classes from 0; -1 for pairs that are judged and taught nothing from.
        fold: (N,) fold of each pair; -1 for pairs that are not judged, and taught from if they have a class.
        count: C, number of classes.
        ridge: Regularisation of the classifiers.

    Yields:
        (B,) rows; (B, C) by their media; (B, C) by their texts. A fold outside which no class is known is
        left out.
    """
    known = classes >= 0
    for held_out in range(int(fold.max(initial=-1)) + 1):
        training = np.flatnonzero(known & (fold != held_out))
        if not len(training):
            continue
        by_media, by_text = (
            fit_classifier(vectors, training, classes[training], count=count, ridge=ridge)
            for vectors in (pairs.media_vec, pairs.text_vec)
        )
        judged = np.flatnonzero(fold == held_out)
        for start in range(0, len(judged), _CHUNK):
            rows = judged[start : start + _CHUNK]
            yield rows, by_media(pairs.media_vec[rows]), by_text(pairs.text_vec[rows])


def frequent_classes(label: NDArray[np.int64], min_count: int) -> tuple[NDArray[np.int64], int]:
    """Return classes renumbered from 0, -1 for none and for those rarer than `min_count`, and their number."""
    values, place, size = np.unique(label, return_inverse=True, return_counts=True)
    stays = (values >= 0) & (size >= min_count)
    number = np.where(stays, np.cumsum(stays) - 1, -1)
    return number[place].astype(np.int64), int(np.count_nonzero(stays))


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy of each row of (N, C) probabilities, none of them 0. Shape (N,), in nats."""
    return np.asarray(-(probabilities * np.log(probabilities)).sum(axis=1), dtype=np.float32)
