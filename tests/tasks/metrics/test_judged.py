"""Metrics of runs: equal to ranx and to ir-measures (trec_eval) on random runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from tasks.metrics import (
    NDCG,
    NOWHERE,
    AveragePrecision,
    BestRank,
    NDCGBurges,
    Precision,
    Ranking,
    Recall,
    RecallShare,
    ReciprocalRank,
    Retrieval,
    RPrecision,
    in_order,
    judged,
)

# Ours -> (ranx, ir-measures); None: it has no such metric.
PEERS = {
    Recall(1): ("hit_rate@1", "Success@1"),
    Recall(5): ("hit_rate@5", "Success@5"),
    RecallShare(5): ("recall@5", "R@5"),
    RecallShare(10): ("recall@10", "R@10"),
    Precision(5): ("precision@5", "P@5"),
    Precision(10): ("precision@10", "P@10"),
    ReciprocalRank(): ("mrr", "RR"),
    ReciprocalRank(3): ("mrr@3", None),
    AveragePrecision(): ("map", "AP"),
    AveragePrecision(5): ("map@5", "AP@5"),
    RPrecision(): ("r-precision", "Rprec"),
    NDCG(None): ("ndcg", "nDCG"),
    NDCG(5): ("ndcg@5", "nDCG@5"),
    NDCGBurges(None): ("ndcg_burges", None),
    NDCGBurges(5): ("ndcg_burges@5", None),
}


@st.composite
def cases(draw):
    """Graded truth and a run with ties, unjudged items, missing ones, empty answers and queries without truth."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    queries, items, levels = draw(st.integers(1, 6)), draw(st.integers(1, 25)), draw(st.integers(1, 8))
    judged_share, found_share = draw(st.sampled_from([0.2, 0.6])), draw(st.sampled_from([0.0, 0.3, 0.9]))
    qrels, run = {}, {}
    for q in range(queries):
        qrels[f"q{q}"] = {
            f"d{i:02}": int(rng.integers(0, 4)) for i in range(items) if rng.random() < judged_share
        }
        run[f"q{q}"] = {
            f"d{i:02}": float(rng.integers(0, levels)) / 4 for i in range(items) if rng.random() < found_share
        }
        if rng.random() < 0.1:
            del run[f"q{q}"]
    return qrels, run


def without_ties(run):
    """The same order as a run that every program reads alike: scores fall by one from place to place."""
    ordered = {q: sorted(sorted(found), key=found.get, reverse=True) for q, found in run.items()}
    return {q: {item: float(len(items) - i) for i, item in enumerate(items)} for q, items in ordered.items()}


@pytest.fixture(scope="module")
def ranx():
    return pytest.importorskip("ranx")


def by_ranx(ranx, qrels, run, query_ids, name):
    from ranx.meta.evaluate import metric_switch
    from ranx.utils import python_dict_to_typed_list

    measure, _, k = name.partition("@")
    truth, found = (
        python_dict_to_typed_list({q: side.get(q) or {"nothing": 0} for q in query_ids})
        for side in (qrels, run)
    )
    return metric_switch(measure)(truth, found, int(k or 0), 1)


def by_ir_measures(qrels, run, query_ids, name):
    import ir_measures

    measure = ir_measures.parse_measure(name)
    truth = {q: qrels[q] for q in query_ids}
    found = {q: run[q] for q in query_ids if run.get(q)}
    values = {one.query_id: one.value for one in ir_measures.iter_calc([measure], truth, found)}
    return np.array([values.get(q, 0.0) for q in query_ids])


@pytest.mark.filterwarnings("ignore:.*unsafe cast")  # numba of its hashes of ids
@given(cases())
@settings(max_examples=40, deadline=None)
def test_equals_ranx(ranx, case):
    qrels, run = case
    ours = judged(qrels, run)
    if not ours.query_ids:
        return
    for metric, (name, _) in PEERS.items():
        expected = by_ranx(ranx, qrels, without_ties(run), ours.query_ids, name)
        np.testing.assert_allclose(metric(ours.ranking), expected, atol=1e-12, err_msg=name)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_equals_ir_measures(case):
    pytest.importorskip("ir_measures")
    qrels, run = case
    ours = judged(qrels, run)
    if not ours.query_ids:
        return
    for metric, (_, name) in PEERS.items():
        if name is not None:
            expected = by_ir_measures(qrels, without_ties(run), ours.query_ids, name)
            np.testing.assert_allclose(metric(ours.ranking), expected, atol=1e-9, err_msg=name)


def test_ndcg_has_two_forms_by_hand():
    ranking = judged({"q": {"a": 1, "b": 3}}, {"q": {"a": 0.9, "x": 0.8, "b": 0.7}}).ranking
    linear = (1 + 3 / np.log2(4)) / (3 + 1 / np.log2(3))
    steep = (1 + 7 / np.log2(4)) / (7 + 1 / np.log2(3))
    np.testing.assert_allclose(NDCG()(ranking), [linear])
    np.testing.assert_allclose(NDCGBurges()(ranking), [steep])


def test_the_two_recalls_differ_where_several_items_are_relevant():
    ranking = judged({"q": {"a": 1, "b": 1, "c": 1}}, {"q": {"a": 3, "x": 2, "b": 1}}).ranking
    assert Recall(2)(ranking).tolist() == [1]
    np.testing.assert_allclose(RecallShare(2)(ranking), [1 / 3])


def test_of_equal_scores_the_smaller_id_stands_first():
    run = {"q": {"c": 1.0, "a": 1.0, "b": 2.0}}
    assert in_order(run, "q") == ["b", "a", "c"]
    assert judged({"q": {"c": 1, "b": 1}}, run).ranking.rank.tolist() == [1, 3]


def test_items_nobody_judged_are_not_relevant():
    assert judged({"q": {"a": 1, "b": 0}}, {"q": {"x": 3, "b": 2, "a": 1}}).ranking.rank.tolist() == [3]


def test_an_item_that_was_not_found_stands_nowhere():
    found = judged({"q": {"a": 1, "z": 2}, "p": {"z": 1}}, {"q": {"a": 1}})
    assert found.ranking.rank.tolist() == [1, NOWHERE, NOWHERE]
    assert found.ranking.gain.tolist() == [1, 2, 1]
    assert BestRank()(found.ranking).tolist() == [1, np.inf]


def test_queries_without_a_relevant_item_are_left_out_and_named():
    found = judged({"q": {"a": 0}, "r": {"a": 1}, "s": {}, "t": {"a": -1}}, {"q": {"a": 1}, "u": {"a": 1}})
    assert found.query_ids == ("r",)
    assert found.without == ("q", "s", "t")


def test_takes_no_queries_at_all():
    assert len(judged({}, {}).ranking) == 0
    assert RecallShare()(judged({}, {}).ranking).shape == (0,)


def test_rsum_takes_both_directions_of_runs():
    there = judged({"m": {"t": 1}, "n": {"u": 1}}, {"m": {"t": 1.0}, "n": {"t": 1.0, "u": 0.5}}).ranking
    back = judged({"t": {"m": 1}}, {"t": {"n": 1.0}}).ranking
    assert Retrieval(there, back).rsum == pytest.approx(50 + 100 + 100)


def test_refuses_a_score_that_is_not_a_number():
    with pytest.raises(DataError, match="item 'b' for query 'q'"):
        judged({"q": {"a": 1}}, {"q": {"a": 1.0, "b": float("nan")}})


def test_refuses_gains_that_do_not_fit():
    with pytest.raises(ValueError, match="gain must be 2 numbers above 0"):
        Ranking(np.array([1, 2]), np.array([0, 2]), np.array([1.0]))
    with pytest.raises(ValueError, match="gain must be"):
        Ranking(np.array([1, 2]), np.array([0, 2]), np.array([1.0, 0.0]))
