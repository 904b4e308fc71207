"""Ranks and recalls, against loops that follow the definition, and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score

from schemas.batch import PairBatch
from schemas.errors import DataError
from tasks.metrics import AveragePrecision, Ranking, Recall, ranking, ranks, recall_at, retrieval, same_group


def ranks_by_loops(similarity, relevant):
    """Best rank: one more than the irrelevant items that are at least as similar as the best relevant one."""
    found = []
    for row, wanted in zip(similarity, relevant, strict=True):
        best = max(value for value, ok in zip(row, wanted, strict=True) if ok)
        found.append(1 + sum(value >= best and not ok for value, ok in zip(row, wanted, strict=True)))
    return found


def retrieval_by_loops(media, text, pairs):
    """Best ranks of both directions, item by item, straight from what counts as the same."""
    n = len(media)
    media_key, text_key, group = (
        list(range(n)) if key is None else key.tolist()
        for key in (pairs.media_key, pairs.text_key, pairs.group)
    )

    def relevant(medium, words):
        stands = [i for i in range(n) if media_key[i] == medium]
        others = [j for j in range(n) if text_key[j] == words]
        return any(i == j or group[i] == group[j] for i in stands for j in others)

    media_items = list(dict.fromkeys(media_key))
    text_items = list(dict.fromkeys(text_key))
    similarity = np.array(
        [[media[media_key.index(m)] @ text[text_key.index(t)] for t in text_items] for m in media_items]
    )
    truth = np.array([[relevant(m, t) for t in text_items] for m in media_items])
    return ranks_by_loops(similarity, truth), ranks_by_loops(similarity.T, truth.T)


def a_case(seed, queries=20, gallery=30, levels=5):
    """Similarities with many ties, and one to several relevant items a query."""
    rng = np.random.default_rng(seed)
    relevant = rng.random((queries, gallery)) < 0.08
    relevant[np.arange(queries), rng.integers(0, gallery, queries)] = True
    return rng.integers(0, levels, (queries, gallery)).astype(np.float32), relevant


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_ranks_are_those_of_a_loop_ties_included(seed, levels):
    similarity, relevant = a_case(seed, levels=levels)
    assert ranks(similarity, csr_array(relevant)).tolist() == ranks_by_loops(similarity, relevant)


def test_average_precision_is_scikit_learns_where_nothing_ties():
    rng = np.random.default_rng(3)
    _, relevant = a_case(3)
    similarity = rng.normal(size=relevant.shape)
    expected = [
        average_precision_score(wanted, row) for wanted, row in zip(relevant, similarity, strict=True)
    ]
    np.testing.assert_allclose(AveragePrecision()(ranking(similarity, csr_array(relevant))), expected)


def test_average_precision_by_hand():
    # Relevant at 1 and 4 of one query, at 3 of another: (1/1 + 2/4) / 2 and 1/3.
    found = AveragePrecision()(Ranking(np.array([1, 4, 3]), np.array([0, 2, 3])))
    np.testing.assert_allclose(found, [0.75, 1 / 3])


def test_ties_go_to_items_that_are_not_relevant():
    alike = np.ones((4, 4), dtype=np.float32)
    assert ranks(alike, csr_array(np.eye(4, dtype=bool))).tolist() == [4, 4, 4, 4]
    assert ranks(alike, csr_array(np.ones((4, 4), dtype=bool))).tolist() == [1, 1, 1, 1]


def test_every_relevant_item_has_its_own_rank():
    similarity = np.array([[0.9, 0.8, 0.7, 0.6]])
    found = ranking(similarity, csr_array(np.array([[0, 1, 0, 1]])))
    assert found.rank.tolist() == [2, 4]


def test_vectors_in_blocks_give_the_ranks_of_the_whole_matrix():
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(1100, 6)), rng.normal(size=(40, 6))  # more than two blocks
    relevant = same_group(rng.integers(0, 9, 1100), np.arange(40) % 9)
    assert ranks((queries, gallery), relevant).tolist() == ranks_by_loops(
        queries @ gallery.T, relevant.toarray()
    )


def test_the_callers_similarities_are_left_as_they_are():
    similarity, relevant = a_case(1)
    before = similarity.copy()
    ranking(similarity, csr_array(relevant))
    np.testing.assert_array_equal(similarity, before)


def test_same_group_is_equality_of_numbers():
    query, gallery = np.array([5, -1, 5]), np.array([7, 5, -1, -1])
    assert (same_group(query, gallery).toarray() == (query[:, None] == gallery)).all()


@pytest.mark.parametrize(("k", "expected"), [(1, [1, 0, 0]), (5, [1, 1, 0]), (10, [1, 1, 1])])
def test_recall_counts_ranks_up_to_k(k, expected):
    assert recall_at(np.array([1, 5, 10]), k).tolist() == expected
    assert Recall(k)(Ranking(np.array([1, 5, 10]), np.arange(4))).tolist() == expected


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_both_directions_are_those_of_a_loop_over_items(seed):
    rng = np.random.default_rng(seed)
    n = 14
    keys = {
        name: rng.integers(0, top, n) if rng.random() < 0.8 else None
        for name, top in (("media_key", 9), ("text_key", 8), ("group", 12))
    }
    # Items of one key have one vector, as in a corpus.
    media, text = rng.normal(size=(2, n, 4))
    for side, key in ((media, keys["media_key"]), (text, keys["text_key"])):
        if key is not None:
            side[:] = side[[key.tolist().index(value) for value in key]]
    pairs = PairBatch(media.astype(np.float32), text.astype(np.float32), **keys)
    found = retrieval(media, text, pairs)
    expected = retrieval_by_loops(media, text, pairs)
    assert found.media_to_text.best.tolist() == expected[0]
    assert found.text_to_media.best.tolist() == expected[1]


def test_a_picture_with_five_captions_fills_one_place():
    media = np.array([[1, 0]] * 5 + [[0, 1]], dtype=np.float32)
    text = np.array([[1, 0]] * 5 + [[1, 0.1]], dtype=np.float32)
    pairs = PairBatch(media, text, media_key=np.array([3, 3, 3, 3, 3, 8]), text_key=np.arange(6))
    found = retrieval(media, text, pairs)
    # The sixth text is nearer to the other picture, which is one item before its own.
    assert found.text_to_media.best.tolist() == [1, 1, 1, 1, 1, 2]
    assert len(found.media_to_text) == 2


def test_an_identical_caption_of_another_picture_is_no_mistake():
    media, text = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[1, 1, 2]]
    pairs = PairBatch(media, text, text_key=np.array([4, 4, 9]))
    assert retrieval(media, text, pairs).text_to_media.best.tolist() == [1, 1]


def test_the_summary_is_in_per_cent_and_rsum_adds_six_recalls():
    rng = np.random.default_rng(0)
    media = rng.normal(size=(60, 5)).astype(np.float32)
    text = (media + 0.7 * rng.normal(size=(60, 5))).astype(np.float32)
    pairs = PairBatch(media, text)
    found = retrieval(media, text, pairs)
    forth, back = retrieval_by_loops(media, text, pairs)
    summary = found.summary()
    recalls = [100 * np.mean(np.array(side) <= k) for side in (forth, back) for k in (1, 5, 10)]
    assert found.rsum == pytest.approx(sum(recalls))
    assert summary["media_to_text_r5"] == pytest.approx(recalls[1])
    assert summary["text_to_media_r1"] == pytest.approx(recalls[3])
    assert summary["text_to_media_median_rank"] == np.median(back)
    assert found.per_query(10).tolist() == [rank <= 10 for rank in forth + back]


def test_takes_one_pair_and_none():
    one = PairBatch(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
    assert retrieval(one.media_vec, one.text_vec, one).rsum == 600
    none = one.take(np.array([], dtype=np.int64))
    assert len(retrieval(none.media_vec, none.text_vec, none).media_to_text) == 0


def test_refuses_similarities_that_are_not_finite_and_names_the_query():
    similarity, relevant = a_case(2, queries=3)
    similarity[1, 4] = np.nan
    with pytest.raises(DataError, match="query 1"):
        ranking(similarity, csr_array(relevant))


def test_refuses_a_query_without_anything_relevant():
    with pytest.raises(DataError, match="first query 1"):
        ranks(np.eye(2), csr_array(np.array([[1, 0], [0, 0]])))


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"relevant is \(2, 2\)"):
        ranks(np.ones((2, 3)), csr_array(np.eye(2)))
    with pytest.raises(ValueError, match="relevant is"):
        ranks((np.ones((2, 3)), np.ones((2, 4))), csr_array(np.eye(2)))
    with pytest.raises(ValueError, match="there are 2 pairs"):
        retrieval(
            np.ones((3, 2)),
            np.ones((3, 2)),
            PairBatch(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)),
        )


@pytest.mark.parametrize("start", [[0, 1, 1], [1, 3], [0, 2], []])
def test_a_ranking_without_ranks_for_every_query_is_none(start):
    with pytest.raises(ValueError):
        Ranking(np.array([1, 2, 3]), np.array(start, dtype=np.int64))


def test_refuses_k_under_1():
    with pytest.raises(ValueError, match="k must be at least 1"):
        recall_at(np.array([1]), 0)
