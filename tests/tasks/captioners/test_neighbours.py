"""Rankings of a corpus: against double loops, the textbook formula of BM25 and arithmetic by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.captioners import _neighbours
from tasks.captioners._neighbours import WordIndex, links, nearest, reciprocal_ranks

DOCUMENTS = (
    "a red apple and a green apple",
    "a green car",
    "",
    "the red car of a farmer",
    "apple apple apple",
    "a boat",
)


def unit(rng, n, width=6):
    vectors = rng.normal(size=(n, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def bm25_by_loops(documents, query, k1, b):
    """The formula in its Lucene variant: idf = ln(1 + (N - n + 0.5) / (n + 0.5))."""
    tokens = [document.split() for document in documents]
    mean = sum(map(len, tokens)) / len(tokens)
    scores = []
    for document in tokens:
        count, score = Counter(document), 0.0
        for word in query.split():
            holding = sum(word in other for other in tokens)
            if not count[word]:
                continue
            idf = math.log(1 + (len(tokens) - holding + 0.5) / (holding + 0.5))
            length = k1 * (1 - b + b * len(document) / mean)
            score += idf * count[word] / (count[word] + length)
        scores.append(score)
    return np.array(scores)


def test_reciprocal_ranks_by_hand():
    fused = reciprocal_ranks(([[7], [8], [9]], [[9], [7]], [[8]]), 60)
    assert fused == {
        7: pytest.approx(1 / 61 + 1 / 62),
        8: pytest.approx(1 / 62 + 1 / 61),
        9: pytest.approx(1 / 63 + 1 / 61),
    }


def test_those_that_stand_together_share_a_rank_and_count_once_in_a_ranking():
    fused = reciprocal_ranks(([[1, 2], [3, 1]],), 1)
    assert fused == {1: 1 / 2, 2: 1 / 2, 3: 1 / 3}
    assert reciprocal_ranks(([], [[]]), 60) == {}


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.5, 0.0), (2.0, 1.0)])
@pytest.mark.parametrize("query", ["apple", "red car", "apple apple boat", "red zebra a"])
def test_bm25_agrees_with_the_formula(query, k1, b):
    index = WordIndex(DOCUMENTS, k1=k1, b=b)
    expected = bm25_by_loops(DOCUMENTS, query, k1, b)
    np.testing.assert_allclose(index.scores(query), expected, atol=1e-6)
    ranked = [n for n in np.argsort(-expected, kind="stable") if expected[n] > 0]
    assert index(query, 9, np.array([], int)).tolist() == ranked
    assert index(query, 2, np.array([], int)).tolist() == ranked[:2]


def test_bm25_passes_over_documents_and_orders_equal_ones_by_row():
    index = WordIndex(["red car"] * 5 + ["red"], k1=1.5, b=0.75)
    assert index("car", 2, np.array([0])).tolist() == [1, 2]


def test_bm25_of_no_words_finds_nothing():
    none = np.array([], int)
    assert WordIndex(["", "..."], k1=1.5, b=0.75)("red", 3, none).tolist() == []
    assert WordIndex(DOCUMENTS, k1=1.5, b=0.75)("zebra !", 3, none).tolist() == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), count=st.integers(1, 12))
def test_nearest_agrees_with_a_double_loop(seed, rows, count):
    rng = np.random.default_rng(seed)
    gallery, queries = unit(rng, rows), unit(rng, 5)
    passed_over = [rng.choice(rows, rng.integers(0, rows + 1), replace=False) for _ in queries]
    found, cosines = nearest(queries, gallery, count, passed_over)
    for n, query in enumerate(queries):
        there = [row for row in range(rows) if row not in passed_over[n]]
        cosine = {row: float(np.dot(query.astype(float), gallery[row].astype(float))) for row in there}
        expected = sorted(there, key=lambda row: -cosine[row])[:count]  # noqa: B023 - used at once
        assert found[n].tolist() == expected
        np.testing.assert_allclose(cosines[n], [cosine[row] for row in expected], atol=1e-8)


def test_nearest_finds_the_same_in_chunks_and_alone(monkeypatch):
    rng = np.random.default_rng(3)
    gallery, queries = unit(rng, 500), unit(rng, 40)
    gallery[100:200] = gallery[0]  # equal cosines, more than candidates
    nothing = [np.array([], np.int64)] * 40
    together = nearest(queries, gallery, 20, nothing)
    alone = [nearest(queries[n : n + 1], gallery, 20, nothing[:1]) for n in range(40)]
    monkeypatch.setattr(_neighbours, "_GALLERY", 37)
    monkeypatch.setattr(_neighbours, "_QUERIES", 7)
    in_chunks = nearest(queries, gallery, 20, nothing)
    for n in range(40):
        for rows, cosines in (alone[n], (in_chunks[0][n : n + 1], in_chunks[1][n : n + 1])):
            np.testing.assert_array_equal(rows[0], together[0][n])
            np.testing.assert_array_equal(cosines[0], together[1][n])


def test_equal_vectors_are_ordered_by_row():
    gallery = np.tile(np.float32([0.6, 0.8]), (300, 1))
    found, _ = nearest(gallery[:1], gallery, 4, [np.array([1])])
    assert found[0].tolist() == [0, 2, 3, 4]


def test_links_hold_what_a_loop_finds():
    pairs = np.array([[2, 0], [0, 1], [2, 1], [0, 3]])
    found = links(pairs[:, 0], pairs[:, 1], 4)
    assert [found[row].tolist() for row in range(4)] == [[1, 3], [], [0, 1], []]
    assert [found.pairs(row).tolist() for row in range(4)] == [[1, 3], [], [0, 2], []]
