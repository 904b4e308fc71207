"""Pieces that coders share: principal directions, and the rotation that turns numbers into signs."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def principal(vectors: Floats, width: int) -> tuple[Floats, Floats]:
    """Return the mean, (D,), and up to `width` directions of most variance, (D, W), the largest first.

    Each direction's largest entry is positive, so that the same rows give the same directions anywhere.
    Directions without variance are left out; W may be 0.
    """
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    values, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(-values, kind="stable")[:width]
    order = order[values[order] > 1e-10 * max(values.max(initial=0.0), 1e-300)]
    return mean, directions[:, order] * orientation(directions[:, order])


def orientation(directions: Floats) -> Floats:
    """Return the sign, (W,), of each column's largest entry; a column times its sign is the same on any machine."""
    if not directions.size:
        return np.ones(directions.shape[1])
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)[0]
    return signs(largest)


def signs(values: Floats) -> Floats:
    """Return -1 and +1; zero counts as positive, as in a code."""
    return np.where(values >= 0, 1.0, -1.0)


def rotation(values: Floats, bits: Floats) -> Floats:
    """Return the R with orthonormal rows or columns that takes values (N, W) closest to bits (N, B), in least squares.

    Where W = B this is the orthogonal Procrustes problem.
    """
    left, _, right = np.linalg.svd(values.T @ bits, full_matrices=False)
    return np.asarray(left @ right)


def random_rotation(rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """Return a random (rows, columns) matrix with orthonormal rows, or columns where those are fewer."""
    drawn, upper = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    drawn = drawn * signs(np.diag(upper))  # uniform over rotations, whatever sign the factoring chose
    return drawn if rows >= columns else drawn.T


def quantised(values: Floats, width: int, rounds: int, rng: np.random.Generator) -> Floats:
    """Return the rotation, (W, width), under which rounding values to signs costs least: iterative quantisation."""
    turned = random_rotation(values.shape[1], width, rng)
    for _ in range(rounds):
        turned = rotation(values, signs(values @ turned))
    return turned
