"""CSLS, against the formula in loops."""

import numpy as np
import pytest

from tasks.similarities import _bank
from tasks.similarities.csls import CSLS
from tests.tasks.similarities.conftest import as_candidates


def by_loops(queries, gallery, bank, k):
    out = np.empty((len(queries), len(gallery)))
    for i, query in enumerate(queries):
        of_query = np.mean(sorted((float(query @ item) for item in gallery), reverse=True)[:k])
        for j, item in enumerate(gallery):
            of_item = np.mean(sorted((float(item @ other) for other in bank), reverse=True)[:k])
            out[i, j] = 2 * float(query @ item) - of_query - of_item
    return out


@pytest.mark.parametrize("k", [1, 4, 13, 100])
@pytest.mark.parametrize("entries", [1, 1 << 22])
def test_is_twice_the_cosine_less_both_neighbourhoods(k, entries, space, monkeypatch):
    monkeypatch.setattr(_bank, "ENTRIES", entries)
    gallery, queries, _ = space
    found = CSLS(k).fit(gallery, queries[:15])(*as_candidates(queries[15:], gallery))
    np.testing.assert_allclose(found, by_loops(queries[15:], gallery, queries[:15], k), atol=1e-5)


def test_a_query_s_neighbourhood_is_that_of_its_candidates(space):
    gallery, queries, _ = space
    fitted = CSLS(k=2).fit(gallery, queries)
    found = fitted(np.array([[0.2, 0.6, 0.4]], np.float32), np.array([[3, 1, 2]]))
    expected = 2 * np.array([0.2, 0.6, 0.4]) - 0.5 - fitted.lowered[[3, 1, 2]]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_refuses_no_neighbours():
    with pytest.raises(ValueError, match="at least 1"):
        CSLS(k=0)
