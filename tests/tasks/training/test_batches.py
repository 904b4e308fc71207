"""Batches hold every row once, and know what shows the same thing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import PairBatch
from tasks.training._batches import shows_the_same, shuffled_batches


@given(n=st.integers(1, 60), batch_size=st.integers(2, 20), seed=st.integers(0, 9))
def test_batches_hold_every_row_once_and_no_row_is_alone(n, batch_size, seed):
    rows = np.arange(100, 100 + n)
    batches = shuffled_batches(rows, batch_size, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches)) == rows.tolist()
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) <= batch_size + 1
    assert n == 1 or len(batches[-1]) > 1


def test_the_order_comes_from_the_generator():
    rows, rng = np.arange(40), np.random.default_rng(0)
    first, second = shuffled_batches(rows, 10, rng), shuffled_batches(rows, 10, rng)
    again = shuffled_batches(rows, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(np.stack(first), np.stack(again))
    assert not np.array_equal(np.stack(first), np.stack(second))


def test_pairs_of_one_group_medium_or_text_show_the_same():
    vectors = np.eye(6, dtype=np.float32)
    pairs = PairBatch(
        vectors,
        vectors,
        group=np.array([0, 0, 1, 2, 3, 4]),
        media_key=np.array([0, 1, 2, 2, 4, 5]),
        text_key=np.array([0, 1, 2, 3, 4, 0]),
    )
    rows, columns = np.array([5, 0, 3]), np.array([0, 1, 2, 3])
    expected = [
        [
            any(key[i] == key[j] for key in (pairs.group, pairs.media_key, pairs.text_key, range(6)))
            for j in columns
        ]
        for i in rows
    ]
    assert expected == [[True, False, False, False], [True, True, False, False], [False, False, True, True]]
    np.testing.assert_array_equal(shows_the_same(pairs, rows, columns), expected)


def test_without_keys_only_a_row_itself_is_the_same():
    vectors = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(
        shows_the_same(PairBatch(vectors, vectors), np.array([2, 0])), np.eye(2, dtype=bool)
    )
