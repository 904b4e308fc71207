"""Cutting: plain top-k where nothing is cut, and curves against a loop over thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from tasks.metrics import in_order
from tasks.rerankers import Cosine, cut, cut_curve, kept, threshold_for, threshold_for_recall
from tasks.rerankers.figure import cut_figure

some_scores = st.lists(st.integers(0, 6), min_size=1, max_size=12)


def curve_by_loops(scores, relevant, k, total, threshold):
    precision_of, recall_of, sizes, spoilt, empty = 0, 0, [], 0, 0
    for values, truth in zip(scores, relevant, strict=True):
        order = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
        chosen = [i for i in order if values[i] >= threshold]
        precision_of += sum(bool(truth[i]) for i in chosen)
        sizes.append(len(chosen))
        spoilt += any(not truth[i] for i in chosen)
        empty += not chosen
    recall_of = precision_of / total
    count = len(scores)
    return precision_of / sum(sizes), recall_of, sum(sizes) / count, spoilt / count, empty / count


@st.composite
def judged_queries(draw):
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    sizes = rng.integers(0, 9, draw(st.integers(1, 6)))
    sizes[0] = max(sizes[0], 1)
    scores = [rng.integers(0, 5, n).astype(np.float32) / 4 for n in sizes]
    return scores, [rng.random(n) < 0.4 for n in sizes]


@given(some_scores, st.integers(1, 14))
@settings(max_examples=40, deadline=None)
def test_without_a_threshold_it_is_plain_top_k(scores, k):
    ids = [f"{(7 * i) % len(scores):02}" for i in range(len(scores))]
    values = np.array(scores, np.float32)
    chosen = kept(ids, values, at_least=-np.inf, k=k)
    plain = in_order({"q": {i: float(s) for i, s in zip(sorted(set(ids)), values, strict=False)}}, "q")
    if len(set(ids)) == len(ids):
        plain = in_order({"q": dict(zip(ids, values.tolist(), strict=True))}, "q")
        assert [ids[i] for i in chosen] == plain[:k]
    assert len(chosen) == min(k, len(scores))


def test_cosine_without_a_threshold_is_what_the_search_found(make_case):
    query, found = make_case(4)
    chosen = kept(found.item_ids, Cosine()(query, found), at_least=-np.inf, k=7)
    assert chosen.tolist() == list(range(7))


@given(some_scores, st.integers(-1, 7), st.integers(1, 14))
@settings(max_examples=40, deadline=None)
def test_keeps_the_longest_prefix_at_the_threshold(scores, at_least, k):
    falling = sorted(scores, reverse=True)
    prefix = 0
    while prefix < min(k, len(falling)) and falling[prefix] >= at_least:
        prefix += 1
    assert cut(np.array(scores, np.float32), at_least=at_least, k=k) == prefix


def test_keeps_nothing_where_nothing_is_likely():
    assert cut(np.array([0.2, 0.1], np.float32), at_least=0.5, k=10) == 0
    assert cut(np.zeros(0, np.float32), at_least=-np.inf, k=10) == 0
    assert kept(["a", "b"], np.array([0.2, 0.1]), at_least=0.5, k=10).tolist() == []


@given(judged_queries(), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_the_curve_is_that_of_a_loop_over_thresholds(case, k):
    scores, relevant = case
    total = [int(truth.sum()) + 1 for truth in relevant]
    curve = cut_curve(scores, relevant, k=k, total=total)
    assert (np.diff(curve.threshold) < 0).all()
    for at, threshold in enumerate(curve.threshold):
        expected = curve_by_loops(scores, relevant, k, sum(total), threshold)
        found = [getattr(curve, name)[at] for name in ("precision", "recall", "size", "spoilt", "empty")]
        np.testing.assert_allclose(found, expected, atol=1e-12)


@given(judged_queries(), st.floats(0.05, 1))
@settings(max_examples=40, deadline=None)
def test_the_threshold_is_the_lowest_that_reaches_the_precision(case, precision):
    curve = cut_curve(*case, k=5)
    good = [t for t, p in zip(curve.threshold, curve.precision, strict=True) if p >= precision]
    if not good:
        with pytest.raises(DataError, match="no threshold keeps"):
            threshold_for(curve, precision=precision)
    else:
        assert threshold_for(curve, precision=precision) == min(good)


def test_the_threshold_of_a_recall_is_the_highest_that_reaches_it():
    curve = cut_curve([np.array([0.9, 0.6, 0.3])], [np.array([True, False, True])], k=3, total=[2])
    assert threshold_for_recall(curve, recall=0.5) == 0.9
    assert threshold_for_recall(curve, recall=0.6) == 0.3
    short = cut_curve([np.array([0.9, 0.6, 0.3])], [np.array([True, False, True])], k=1, total=[2])
    with pytest.raises(DataError, match=r"up to k keep 0\.500"):
        threshold_for_recall(short, recall=0.6)


def test_refuses_what_cannot_be_cut():
    one, yes = [np.array([0.5])], [np.array([True])]
    with pytest.raises(ValueError, match="k must be at least 1"):
        cut(one[0], at_least=0, k=0)
    with pytest.raises(ValueError, match="k must be at least 1"):
        cut_curve(one, yes, k=0)
    with pytest.raises(ValueError, match="at_least a number"):
        cut(one[0], at_least=float("nan"), k=1)
    with pytest.raises(DataError, match="score 0 is not a number"):
        cut(np.array([np.nan]), at_least=0, k=1)
    with pytest.raises(DataError, match="score of query 0"):
        cut_curve([np.array([np.nan])], yes, k=1)
    with pytest.raises(DataError, match="no candidates"):
        cut_curve([], [], k=1)
    with pytest.raises(DataError, match="no candidates"):
        cut_curve([np.zeros(0)], [np.zeros(0, bool)], k=1)
    with pytest.raises(ValueError, match="as many verdicts and totals"):
        cut_curve(one, yes, k=1, total=[1, 1])
    with pytest.raises(ValueError, match="query 0 has scores"):
        cut_curve(one, [np.array([True, False])], k=1)
    with pytest.raises(ValueError, match="2 ids need as many scores"):
        kept(["a", "b"], np.array([1.0]), at_least=0, k=1)
    for value in (0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="must lie in"):
            threshold_for(cut_curve(one, yes, k=1), precision=value)
        with pytest.raises(ValueError, match="must lie in"):
            threshold_for_recall(cut_curve(one, yes, k=1), recall=value)


def test_the_figure_is_a_picture_and_the_same_again(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    curves = {
        name: cut_curve([rng.random(20) for _ in range(5)], [rng.random(20) < 0.3 for _ in range(5)], k=10)
        for name in ("cosine", "relevance")
    }
    for name in ("one.png", "two.png"):
        cut_figure(curves, tmp_path / name)
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size == (900, 560)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with pytest.raises(DataError, match="nothing to draw"):
        cut_figure({})
