"""What every metric of a ranking promises."""

import pkgutil
from dataclasses import fields
from urllib.parse import urlparse

import numpy as np
import pytest
from scipy.sparse import csr_array

import tasks.metrics
from schemas.errors import InvalidParameter
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.metrics import METRICS, NOWHERE, Ranking, ranking

every_metric = pytest.mark.parametrize("name", METRICS)
NOT_METHODS = {
    "contract",
    "detection",
    "judged",
    "rank_variance",
    "ranking",
    "relevance_bias",
    "significance",
}
ONE_PLACE = {"precision": {"k": 1}}  # further down a query runs out of relevant items


def metric(name, **params):
    return build(METRICS, MethodRef(name=name, params=params))


def some_ranking(seed=0, shift=0.0):
    """30 queries, 40 items, one to four relevant; `shift` raises the relevant ones."""
    rng = np.random.default_rng(seed)
    relevant = rng.random((30, 40)) < 0.05
    relevant[np.arange(30), np.arange(30)] = True
    return ranking(rng.normal(size=(30, 40)) + shift * relevant, csr_array(relevant))


@every_metric
def test_gives_one_float64_a_query(name):
    values = metric(name)(some_ranking())
    assert values.shape == (30,)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()


@every_metric
def test_gives_the_same_values_again(name):
    np.testing.assert_array_equal(metric(name)(some_ranking()), metric(name)(some_ranking()))


@every_metric
def test_prefers_the_better_ranking(name):
    better, worse = metric(name)(some_ranking(shift=3)).mean(), metric(name)(some_ranking()).mean()
    assert better > worse if METRICS[name].higher_is_better else better < worse


@every_metric
def test_is_1_where_all_relevant_items_stand_on_top(name):
    perfect = Ranking(np.array([1, 1, 2, 1, 2, 3]), np.array([0, 1, 3, 6]))
    np.testing.assert_array_equal(metric(name, **ONE_PLACE.get(name, {}))(perfect), [1, 1, 1])


@every_metric
def test_is_worst_where_nothing_was_found(name):
    lost = Ranking(np.array([NOWHERE, NOWHERE, NOWHERE]), np.array([0, 1, 3]))
    worst = 0 if METRICS[name].higher_is_better else np.inf
    np.testing.assert_array_equal(metric(name)(lost), [worst, worst])


@every_metric
def test_refuses_k_under_1_where_it_has_one(name):
    if "k" in {field.name for field in fields(METRICS[name])}:
        with pytest.raises(InvalidParameter, match="k must be at least 1"):
            metric(name, k=0)


@every_metric
def test_takes_no_queries_at_all(name):
    assert metric(name)(Ranking(np.zeros(0, np.int64), np.zeros(1, np.int64))).shape == (0,)


@every_metric
def test_cites_a_source(name):
    source = METRICS[name].source
    assert source.title and source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {module.name for module in pkgutil.iter_modules(tasks.metrics.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - NOT_METHODS
    assert methods == {name.replace("-", "_") for name in METRICS}


def test_the_list_is_sorted():
    assert list(METRICS) == sorted(METRICS)
