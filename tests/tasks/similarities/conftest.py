"""A small space with hubs: media have much in common, texts do not."""

import numpy as np
import pytest


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def space():
    """(gallery (40, 12), queries (25, 12), bank (18, 12)), float32 unit vectors."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=12)
    return tuple(unit(0.7 * common + rng.normal(size=(count, 12))) for count in (40, 25, 18))


@pytest.fixture(scope="session")
def hubby():
    """(gallery (300, 24), bank of queries (600, 24), asked (300, 24)): query i is about item i, five items please all."""
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(300, 24))
    meant = rng.integers(300, size=600)
    common = rng.normal(size=24)
    gallery[:5] += 1.5 * common

    def asks(rows):
        return unit(gallery[rows] + 1.3 * common + 1.2 * rng.normal(size=(len(rows), 24)))

    return unit(gallery), asks(meant), asks(np.arange(300))


def as_candidates(queries, gallery):
    """Similarities with everything, and their rows."""
    similarity = (queries @ gallery.T).astype(np.float32)
    return similarity, np.broadcast_to(np.arange(len(gallery)), similarity.shape)
