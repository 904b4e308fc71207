"""The cosine, untouched."""

import numpy as np

from tasks.similarities.raw import Raw
from tests.tasks.similarities.conftest import as_candidates


def test_changes_neither_vectors_nor_similarities(space):
    fitted = Raw().fit(*space)
    assert fitted.gallery(space[0]) is space[0]
    similarity, rows = as_candidates(space[1], space[0])
    np.testing.assert_array_equal(fitted(similarity, rows), similarity)
