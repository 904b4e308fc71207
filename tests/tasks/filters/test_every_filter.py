"""What every filter promises."""

import pkgutil
from urllib.parse import urlparse

import numpy as np
import pyarrow as pa
import pytest

import tasks.filters
from schemas.errors import DataError
from schemas.recipes import MethodRef
from schemas.tables import MEDIA, TEXTS
from tasks.catalog import build
from tasks.filters import FILTERS

COUNTED = {"media": {"text_count"}, "text": {"media_count"}}

every_filter = pytest.mark.parametrize("name", FILTERS)


@every_filter
def test_scores_every_row_in_float32(name, rows_of):
    rows = rows_of[FILTERS[name].subject]
    scores = build(FILTERS, MethodRef(name=name))(rows)
    assert scores.shape == (len(rows),)
    assert scores.dtype == np.float32


@every_filter
def test_is_nan_only_where_a_column_it_needs_is_null(name, rows_of):
    method = FILTERS[name]
    rows = rows_of[method.subject]
    lacks = np.zeros(len(rows), bool)
    for column in method.columns:
        lacks |= rows[column].is_null().to_numpy()
    np.testing.assert_array_equal(np.isnan(method()(rows)), lacks)


@every_filter
def test_gives_the_same_scores_again(name, rows_of):
    rows = rows_of[FILTERS[name].subject]
    np.testing.assert_array_equal(FILTERS[name]()(rows), FILTERS[name]()(rows))


@every_filter
def test_takes_an_empty_table(name, rows_of):
    scores = FILTERS[name]()(rows_of[FILTERS[name].subject].slice(0, 0))
    assert scores.shape == (0,)
    assert scores.dtype == np.float32


@every_filter
def test_reads_no_column_but_those_it_names(name, rows_of):
    method = FILTERS[name]
    rows = rows_of[method.subject]
    np.testing.assert_array_equal(method()(rows.select(method.columns)), method()(rows))


@every_filter
def test_a_shard_filter_scores_a_row_alone_as_among_others(name, rows_of):
    method = FILTERS[name]
    if method.scope == "table":
        pytest.skip("sees the whole table")
    rows = rows_of[method.subject]
    alone = np.concatenate([method()(rows.slice(i, 1)) for i in range(len(rows))])
    np.testing.assert_array_equal(alone, method()(rows))


@every_filter
def test_takes_rows_in_several_chunks(name, rows_of):
    rows = rows_of[FILTERS[name].subject]
    chunked = pa.concat_tables([rows.slice(0, 1), rows.slice(1)])
    np.testing.assert_array_equal(FILTERS[name]()(chunked), FILTERS[name]()(rows))


@every_filter
def test_says_which_column_is_missing(name):
    with pytest.raises(DataError, match="no column"):
        FILTERS[name]()(pa.table({"other": [1]}))


@every_filter
def test_needs_only_columns_of_the_lake_or_counts(name):
    method = FILTERS[name]
    known = {"media": MEDIA, "text": TEXTS}[method.subject].schema.names
    assert set(method.columns) <= set(known) | COUNTED[method.subject]
    assert method.scope in ("shard", "table")


@every_filter
def test_cites_a_source(name):
    source = FILTERS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.filters.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in FILTERS}
    assert all(method.__module__.endswith(name.replace("-", "_")) for name, method in FILTERS.items())


def test_the_list_is_sorted():
    assert list(FILTERS) == sorted(FILTERS)
