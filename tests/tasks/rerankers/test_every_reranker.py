"""What every reranker promises."""

import pkgutil
import subprocess
import sys
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest

import tasks.rerankers
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.rerankers import RERANKERS, Asked, Found, Learner

every_reranker = pytest.mark.parametrize("name", RERANKERS)
EPOCHS = {"relevance": {"epochs": 2}}


@pytest.fixture(scope="module")
def ready(lessons):
    """Rerankers by name, those that learn having learnt from lessons with vectors 16 wide."""

    def made(name):
        one = build(RERANKERS, MethodRef(name=name, params=EPOCHS.get(name, {})))
        return one.learn(lessons) if isinstance(one, Learner) else one

    return {name: made(name) for name in RERANKERS}


@every_reranker
def test_scores_every_candidate_in_float32(name, ready, make_case):
    for count in (0, 1, 2, 20):
        scores = ready[name](*make_case(count=count, dim=16))
        assert scores.shape == (count,)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        if RERANKERS[name].calibrated:
            assert ((scores >= 0) & (scores <= 1)).all()


@every_reranker
def test_gives_the_same_scores_again_and_leaves_its_input_as_it_is(name, ready, make_case):
    query, found = make_case(dim=16)
    before = found.vectors.copy(), found.scores.copy(), query.vector.copy()
    np.testing.assert_array_equal(ready[name](query, found), ready[name](query, found))
    for now, then in zip((found.vectors, found.scores, query.vector), before, strict=True):
        np.testing.assert_array_equal(now, then)


@every_reranker
def test_the_best_by_cosine_stays_first_where_all_else_is_alike(name, ready):
    query = np.eye(16, dtype=np.float32)[0]
    vectors = np.stack([query, -query, -query])
    scores = ready[name](Asked(query), Found(("a", "b", "c"), vectors, np.array([1, -1, -1], np.float32)))
    assert scores[0] > max(scores[1:])


@every_reranker
def test_takes_candidates_that_are_all_equal(name, ready):
    one = np.full((5, 16), 0.25, np.float32)
    scores = ready[name](Asked(one[0]), Found(tuple("abcde"), one, np.ones(5, np.float32)))
    assert np.isfinite(scores).all()


@every_reranker
def test_refuses_what_is_not_finite_or_of_another_width(name, ready, make_case):
    query, found = make_case(dim=16)
    broken = found.vectors.copy()
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="candidate 'i03' is not finite"):
        ready[name](query, replace(found, vectors=broken))
    scores = found.scores.copy()
    scores[2] = np.inf
    with pytest.raises(DataError, match="candidate 'i02'"):
        ready[name](query, replace(found, scores=scores))
    with pytest.raises(DataError, match="query's vector is not finite"):
        ready[name](Asked(np.full(16, np.nan, np.float32)), found)
    with pytest.raises(DataError, match=r"wide|widths"):
        ready[name](Asked(np.ones(5, np.float32)), found)


@every_reranker
def test_is_a_learner_if_it_says_so(name):
    assert isinstance(RERANKERS[name](), Learner) == RERANKERS[name].learns


@every_reranker
def test_a_learner_speaks_again_from_its_state_and_not_before_it_has_one(name, ready, make_case, lessons):
    if not RERANKERS[name].learns:
        pytest.skip("learns nothing")
    query, found = make_case(dim=16)
    fresh = build(RERANKERS, MethodRef(name=name, params=EPOCHS.get(name, {})))
    with pytest.raises(DataError, match="has not learnt"):
        fresh(query, found)
    with pytest.raises(DataError, match="has not learnt"):
        fresh.state()
    state = ready[name].state()
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiu" for array in state.values())
    np.testing.assert_array_equal(fresh.with_state(state)(query, found), ready[name](query, found))
    np.testing.assert_array_equal(fresh.learn(lessons)(query, found), ready[name](query, found))
    with pytest.raises(ValueError, match="state"):
        fresh.with_state({})


@every_reranker
def test_cites_a_source(name):
    source = RERANKERS[name].source
    assert source.title and source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {module.name for module in pkgutil.iter_modules(tasks.rerankers.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract", "cut", "figure"}
    assert methods == {name.replace("-", "_") for name in RERANKERS}


def test_the_list_is_sorted():
    assert list(RERANKERS) == sorted(RERANKERS)


def test_importing_the_family_opens_no_torch():
    code = "import sys, tasks.rerankers, tasks.fusion, tasks.retrieval.compose; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_refuses_parts_that_do_not_fit_together():
    ids, two = ("a", "b"), np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="2 candidates need vectors"):
        Found(ids, np.ones((3, 3), np.float32), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="as many texts"):
        Found(ids, two, np.ones(2, np.float32), texts=("x",))
    with pytest.raises(ValueError, match="fact 'age'"):
        Found(ids, two, np.ones(2, np.float32), facts={"age": np.ones(3)})
    with pytest.raises(ValueError, match=r"must be \(D,\)"):
        Asked(two)
    with pytest.raises(ValueError, match="disliked must be"):
        Asked(two[0], disliked=np.ones((1, 4), np.float32))
