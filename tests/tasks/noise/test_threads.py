"""Rows worked on side by side, beside one after another."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tasks.noise import _threads
from tasks.noise.geometry import Geometry
from tasks.noise.out_of_fold import OutOfFold


def test_every_row_is_worked_on_once_whatever_the_threads():
    for threads in (1, 3):
        seen = np.zeros(1001, dtype=int)

        def work(span, seen=seen):
            assert span.stop - span.start <= 100
            seen[span] += 1

        with threadpool_limits(threads, user_api="blas"):
            _threads.side_by_side(work, len(seen), 100)
        assert (seen == 1).all()


def test_no_rows_are_no_work():
    worked = []
    _threads.side_by_side(worked.append, 0, 100)
    assert worked == []


def test_spans_stand_side_by_side_where_products_may_have_threads():
    met = threading.Barrier(2, timeout=30)  # two must be there at once

    def work(span):
        met.wait()
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}

    with threadpool_limits(2, user_api="blas"):
        _threads.side_by_side(work, 4, 1)
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}


def test_one_thread_is_this_one():
    ran = set()
    with threadpool_limits(1, user_api="blas"):
        _threads.side_by_side(lambda span: ran.add(threading.get_ident()), 4, 1)
    assert ran == {threading.get_ident()}


def test_what_goes_wrong_in_a_span_is_said_and_the_rest_is_left():
    done = []

    def work(span):
        if span.start == 0:
            raise ValueError("the first rows are wrong")
        done.append(span.start)

    with threadpool_limits(2, user_api="blas"), pytest.raises(ValueError, match="first rows"):
        _threads.side_by_side(work, 100_000, 1)
    assert len(done) < 99_999


@pytest.mark.parametrize("scorer", [Geometry(), Geometry(relation="nearest"), OutOfFold()])
def test_scores_are_the_same_to_the_bit(scorer, make_noisy_pairs, monkeypatch):
    monkeypatch.setattr("tasks.noise.geometry._SPAN", 512)
    monkeypatch.setattr("tasks.noise.out_of_fold._PROJECTED", 512)
    pairs = make_noisy_pairs(3000, rate=0.3, seed=1)[0]
    told = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads, user_api="blas"):
            told.append(scorer(pairs))
    np.testing.assert_array_equal(told[0], told[1])
    np.testing.assert_array_equal(told[0], told[2])
