"""Cosine scores, by arithmetic."""

import numpy as np
import pytest

from schemas.batch import PairBatch
from schemas.errors import DataError
from tasks.noise import CosineScore


def test_maps_the_cosine_from_minus_one_and_one_to_zero_and_one():
    media = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], np.float32)
    text = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(CosineScore()(PairBatch(media, text)), [1, 0.5, 0, 0.8], rtol=1e-6)


def test_rounding_does_not_leave_the_range():
    vectors = np.full((3, 7), np.float32(7**-0.5) * np.float32(1.000001))
    assert CosineScore()(PairBatch(vectors, vectors)).max() == 1


def test_means_nothing_between_different_spaces():
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(DataError, match="share no space; use a joint encoder"):
        CosineScore()(PairBatch(vectors, vectors, common=False))
