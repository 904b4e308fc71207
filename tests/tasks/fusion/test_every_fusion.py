"""What every fusion promises."""

import pkgutil
from urllib.parse import urlparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.fusion
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.fusion import FUSIONS

every_fusion = pytest.mark.parametrize("name", FUSIONS)
scores = st.floats(-100, 100).map(lambda x: round(x, 1))  # some tie
answers = st.dictionaries(st.sampled_from("abcdefgh"), scores, max_size=8)
runs = st.lists(st.dictionaries(st.sampled_from(["p", "q", "r"]), answers, max_size=3), max_size=4)


def fusion(name):
    return build(FUSIONS, MethodRef(name=name))


@every_fusion
@given(runs)
@settings(max_examples=25, deadline=None)
def test_has_every_query_and_item_of_any_run_in_order(name, several):
    fused = fusion(name)(several)
    assert set(fused) == {query for run in several for query in run}
    for query, found in fused.items():
        assert set(found) == {item for run in several for item in run.get(query, {})}
        assert list(found) == sorted(found, key=lambda item: (-found[item], item))
        assert all(isinstance(score, float) for score in found.values())


@every_fusion
@given(runs)
@settings(max_examples=25, deadline=None)
def test_gives_the_same_run_again_and_leaves_the_runs_as_they_are(name, several):
    before = [{query: dict(found) for query, found in run.items()} for run in several]
    assert fusion(name)(several) == fusion(name)(before)
    assert several == before


@every_fusion
@given(answers)
@settings(max_examples=25, deadline=None)
def test_one_run_keeps_its_order(name, found):
    fused = fusion(name)([{"q": found}])["q"]
    ordered = sorted(found, key=lambda item: (-found[item], item))
    assert [fused[item] for item in ordered] == sorted(fused.values(), reverse=True)


@every_fusion
def test_agreeing_runs_keep_their_order_and_what_both_found_beats_what_one_did(name):
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    assert list(fusion(name)([run, run])["q"]) == ["a", "b", "c"]
    both = fusion(name)([{"q": {"a": 2.0, "z": 1.0}}, {"q": {"a": 9.0, "y": 8.0}}])
    assert next(iter(both["q"])) == "a"


@every_fusion
def test_of_equal_scores_the_smaller_id_stands_first(name):
    run = {"q": {"c": 1.0, "a": 1.0, "b": 1.0}}
    assert list(fusion(name)([run, {"q": {}}])["q"]) == ["a", "b", "c"]


@every_fusion
def test_takes_no_run_and_no_answer(name):
    assert fusion(name)([]) == {}
    assert fusion(name)([{"q": {}}, {}]) == {"q": {}}


@every_fusion
@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_refuses_scores_that_are_not_finite(name, score):
    with pytest.raises(DataError, match="run 1 scores item 'b' of query 'q'"):
        fusion(name)([{"q": {"a": 1.0}}, {"q": {"b": score}}])


@every_fusion
def test_cites_a_source(name):
    source = FUSIONS[name].source
    assert source.title and source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {module.name for module in pkgutil.iter_modules(tasks.fusion.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in FUSIONS}


def test_the_list_is_sorted():
    assert list(FUSIONS) == sorted(FUSIONS)
