"""Cosine, MMR and feedback, against loops that follow the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from schemas.errors import DataError
from tasks.rerankers import MMR, Asked, Cosine, Feedback, Found, best_first


def mmr_by_loops(query, found, trade):
    """Order of ids: at each step the largest trade * cos(q, x) - (1 - trade) * max cos(x, taken)."""
    relevance = cosine_similarity(found.vectors.astype(float), query.vector[None].astype(float))[:, 0]
    between = cosine_similarity(found.vectors.astype(float))
    taken = []
    while len(taken) < len(found):
        best = None
        for i in sorted(set(range(len(found))) - set(taken), key=lambda i: found.item_ids[i]):
            against = max((between[i, j] for j in taken), default=0.0)
            value = trade * relevance[i] - (1 - trade) * against
            if best is None or value > best[0] + 1e-12:
                best = (value, i)
        taken.append(best[1])
    return taken


@given(st.integers(0, 5000), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), st.integers(1, 15))
@settings(max_examples=40, deadline=None)
def test_mmr_takes_what_the_loop_takes(seed, trade, count):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 4)).astype(np.float32)
    query = Asked(rng.normal(size=4).astype(np.float32))
    found = Found(tuple(f"{i:02}" for i in rng.permutation(count)), vectors, np.zeros(count, np.float32))
    scores = MMR(trade)(query, found)
    assert best_first(found.item_ids, scores).tolist() == mmr_by_loops(query, found, trade)
    assert len(set(scores.tolist())) == count


def test_mmr_with_all_weight_on_relevance_is_cosine_order(make_case):
    query, found = make_case(3)
    assert best_first(found.item_ids, MMR(1)(query, found)).tolist() == list(range(len(found)))


def test_mmr_puts_a_copy_after_something_new():
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0.8, 0.6, 0]], np.float32)
    found = Found(("a", "copy", "new"), vectors, np.array([1, 1, 0.8], np.float32))
    assert best_first(found.item_ids, MMR(0.4)(Asked(vectors[0]), found)).tolist() == [0, 2, 1]


def test_mmr_of_equal_candidates_takes_the_smaller_id_first():
    found = Found(("c", "a", "b"), np.ones((3, 2), np.float32), np.ones(3, np.float32))
    scores = MMR(1)(Asked(np.ones(2, np.float32)), found)
    assert best_first(found.item_ids, scores).tolist() == [1, 2, 0]
    assert len(set(scores.tolist())) == 3


def test_mmr_can_start_from_the_candidates_own_scores():
    vectors = np.eye(3, dtype=np.float32)  # none is like another
    found = Found(("a", "b", "c"), vectors, np.array([0.016, 0.012, 0.015], np.float32))
    query = Asked(vectors[1])
    assert best_first(found.item_ids, MMR(0.5, relevance="score")(query, found)).tolist() == [0, 2, 1]
    assert best_first(found.item_ids, MMR(0.5)(query, found))[0] == 1


def test_cosine_is_scikit_learns_whatever_stands_beside(make_case):
    query, found = make_case(1)
    expected = cosine_similarity(found.vectors, query.vector[None])[:, 0]
    np.testing.assert_allclose(Cosine()(query, found), expected, atol=1e-6)
    alone = Found(found.item_ids[4:5], found.vectors[4:5], found.scores[4:5])
    assert Cosine()(query, alone)[0] == Cosine()(query, found)[4]


def test_feedback_is_rocchios_formula(make_case):
    query, found = make_case(2)
    liked, disliked = found.vectors[[7, 9]], found.vectors[[1]]
    asked = Asked(query.vector, liked=liked, disliked=disliked)
    moved = query.vector + 0.75 * liked.mean(axis=0) - 0.25 * disliked[0]
    expected = cosine_similarity(found.vectors, moved[None])[:, 0]
    np.testing.assert_allclose(Feedback()(asked, found), expected, atol=1e-6)


def test_feedback_of_nobody_is_cosine_unless_the_first_are_trusted(make_case):
    query, found = make_case(2)
    np.testing.assert_array_equal(Feedback()(query, found), Cosine()(query, found))
    asked = Asked(query.vector, liked=found.vectors[:3])
    np.testing.assert_array_equal(Feedback(trusted=3)(query, found), Feedback()(asked, found))


def test_a_disliked_item_falls(make_case):
    query, found = make_case(5)
    asked = Asked(query.vector, disliked=found.vectors[:1])
    assert Feedback(disliked=1.0)(asked, found)[0] < Cosine()(query, found)[0]


def test_feedback_refuses_items_that_are_not_finite(make_case):
    query, found = make_case(0)
    with pytest.raises(DataError, match="liked or disliked"):
        Feedback()(Asked(query.vector, liked=np.full((1, 8), np.nan, np.float32)), found)


@pytest.mark.parametrize(
    "method, params",
    [
        (MMR, {"trade": 1.1}),
        (MMR, {"trade": float("nan")}),
        (MMR, {"relevance": "rank"}),
        (Feedback, {"liked": -1}),
        (Feedback, {"disliked": float("inf")}),
        (Feedback, {"trusted": -1}),
    ],
)
def test_refuses_parameters_out_of_range(method, params):
    with pytest.raises(ValueError):
        method(**params)
