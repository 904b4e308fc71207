"""Fusion formulas, by hand and against ranx."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.fusion import CombMNZ, ReciprocalRank, Weighted


@pytest.fixture(scope="module")
def ranx():
    return pytest.importorskip("ranx")


@st.composite
def some_runs(draw, *, overlap=0.6):
    """Two or three runs over the same queries, no ties, at least two items each, so that min-max has a range."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    runs = []
    for _ in range(draw(st.integers(2, 3))):
        run = {}
        for q in range(3):
            items = np.flatnonzero(rng.random(12) < overlap)
            items = items if len(items) > 1 else np.arange(2)
            run[f"q{q}"] = {
                f"d{i:02}": float(score) for i, score in zip(items, rng.normal(size=len(items)), strict=True)
            }
        runs.append(run)
    return runs


def by_ranx(ranx, runs, **kwargs):
    fused = ranx.fuse([ranx.Run({q: dict(found) for q, found in run.items()}) for run in runs], **kwargs)
    return fused.to_dict()


def require_equal(ours, theirs):
    assert set(ours) == set(theirs)
    for query, found in ours.items():
        assert found == pytest.approx(theirs[query], abs=1e-9)


@given(some_runs(), st.sampled_from([1, 10, 60]))
@settings(max_examples=15, deadline=None)
def test_reciprocal_ranks_are_those_of_ranx(ranx, runs, k):
    theirs = by_ranx(ranx, runs, norm=None, method="rrf", params={"k": k})
    require_equal(ReciprocalRank(k=k)(runs), theirs)


@given(some_runs(), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_weighted_sums_by_min_max_are_those_of_ranx(ranx, runs, seed):
    weights = tuple(np.random.default_rng(seed).random(len(runs)).tolist())
    theirs = by_ranx(ranx, runs, norm="min-max", method="wsum", params={"weights": weights})
    require_equal(Weighted(weights)(runs), theirs)


@given(
    some_runs(overlap=1.1), st.integers(0, 1000)
)  # every run has every item: ranx gives others 0, the mean
@settings(max_examples=15, deadline=None)
def test_weighted_sums_by_z_are_those_of_ranx_where_every_run_has_every_item(ranx, runs, seed):
    weights = tuple(np.random.default_rng(seed).random(len(runs)).tolist())
    theirs = by_ranx(ranx, runs, norm="zmuv", method="wsum", params={"weights": weights})
    require_equal(Weighted(weights, scale="z")(runs), theirs)


@given(some_runs())
@settings(max_examples=15, deadline=None)
def test_comb_mnz_is_that_of_ranx(ranx, runs):
    require_equal(CombMNZ()(runs), by_ranx(ranx, runs, norm="min-max", method="mnz"))


def test_weights_of_reciprocal_ranks_by_hand():
    runs = [{"q": {"a": 9.0, "b": 5.0}}, {"q": {"b": 0.3, "c": 0.2}}]
    found = ReciprocalRank(k=60, weights=(2, 1))(runs)["q"]
    assert found == pytest.approx({"a": 2 / 61, "b": 2 / 62 + 1 / 61, "c": 1 / 62})
    assert list(found) == ["b", "a", "c"]


def test_by_z_a_missing_item_counts_like_the_last_that_was_found():
    runs = [{"q": {"a": 3.0, "b": 1.0}}, {"q": {"a": 5.0, "c": 3.0}}]  # z: 1 and -1 in both
    assert Weighted(scale="z")(runs)["q"] == {"a": 2.0, "b": -2.0, "c": -2.0}


def test_a_single_item_of_a_run_counts_as_its_best():
    runs = [{"q": {"a": 0.2}}, {"q": {"b": 7.0, "c": 3.0}}]
    assert Weighted()(runs)["q"] == {"a": 1.0, "b": 1.0, "c": 0.0}


def test_a_query_that_a_run_lacks_is_answered_by_the_others():
    assert ReciprocalRank()([{"q": {"a": 1.0}}, {}])["q"] == {"a": 1 / 61}


@pytest.mark.parametrize("method", [ReciprocalRank, Weighted])
@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (-1.0, 1.0), (float("nan"), 1.0)])
def test_refuses_weights_that_say_nothing(method, weights):
    with pytest.raises(ValueError, match="weights must be finite"):
        method(weights=weights)


@pytest.mark.parametrize("method", [ReciprocalRank, Weighted])
def test_refuses_more_runs_than_weights(method):
    with pytest.raises(ValueError, match="3 runs need as many weights"):
        method(weights=(1.0, 2.0))([{}, {}, {}])


def test_refuses_parameters_out_of_range():
    with pytest.raises(ValueError, match="k must be finite and not negative"):
        ReciprocalRank(k=-1)
    with pytest.raises(ValueError, match="scale must be one of min-max, z"):
        Weighted(scale="rank")
