"""What every late scorer promises."""

import pkgutil
import subprocess
import sys
from urllib.parse import urlparse

import numpy as np
import pytest

import tasks.late
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.late import LATE_SCORERS, Tokens

every_scorer = pytest.mark.parametrize("name", LATE_SCORERS)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def drawn(seed, items=7, dim=5):
    rng = np.random.default_rng(seed)
    query = unit(rng.normal(size=(4, dim)))
    return query, [unit(rng.normal(size=(rng.integers(1, 6), dim))) for _ in range(items)]


@every_scorer
@pytest.mark.parametrize("items", [0, 1, 300])
def test_scores_every_item_in_float32(name, items):
    query, listed = drawn(0, items)
    scores = build(LATE_SCORERS, MethodRef(name=name))(query, Tokens.of(listed, dim=5))
    assert scores.shape == (items,)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@every_scorer
def test_gives_the_same_scores_again_and_whatever_else_is_asked(name):
    query, listed = drawn(1, 40)
    together = LATE_SCORERS[name]()(query, Tokens.of(listed))
    np.testing.assert_array_equal(together, LATE_SCORERS[name]()(query, Tokens.of(listed)))
    alone = [LATE_SCORERS[name]()(query, Tokens.of([item]))[0] for item in listed]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


@every_scorer
def test_padding_takes_no_part(name):
    query, listed = drawn(2)
    tokens = Tokens.of([-np.abs(item) for item in listed])
    query = np.abs(query)  # every cosine is below zero, so zeros would be the best match
    before = LATE_SCORERS[name]()(query, tokens)
    assert (before < 0).all()
    wider = np.full((len(listed), 9, 5), np.nan, np.float32)
    mask = np.zeros((len(listed), 9), bool)
    wider[:, : tokens.mask.shape[1]][tokens.mask] = tokens.vectors[tokens.mask]
    mask[:, : tokens.mask.shape[1]] = tokens.mask
    np.testing.assert_array_equal(LATE_SCORERS[name]()(query, Tokens(wider, mask)), before)


@every_scorer
def test_an_item_that_holds_the_query_is_first(name):
    query, listed = drawn(3, 20, dim=16)
    scores = LATE_SCORERS[name]()(query, Tokens.of([*listed, query]))
    assert scores.argmax() == 20


@every_scorer
def test_the_order_of_tokens_does_not_matter(name):
    query, listed = drawn(4)
    turned = LATE_SCORERS[name]()(query[::-1], Tokens.of([item[::-1] for item in listed]))
    np.testing.assert_allclose(turned, LATE_SCORERS[name]()(query, Tokens.of(listed)), rtol=1e-6)


@every_scorer
def test_blocks_make_no_difference(name, monkeypatch):
    query, listed = drawn(5, 50)
    before = LATE_SCORERS[name]()(query, Tokens.of(listed))
    monkeypatch.setattr("tasks.late._similarities.BLOCK", 64)
    np.testing.assert_array_equal(LATE_SCORERS[name]()(query, Tokens.of(listed)), before)


@every_scorer
@pytest.mark.parametrize(
    "query", [np.empty((0, 5)), np.ones((2, 4)), np.ones(5), np.full((1, 5), np.nan)],
    ids=["no token", "too narrow", "one vector", "not finite"],
)  # fmt: skip
def test_refuses_a_query_that_cannot_be_compared(name, query):
    with pytest.raises(DataError, match="query"):
        LATE_SCORERS[name]()(query.astype(np.float32), Tokens.of(drawn(0)[1]))


def test_refuses_items_that_cannot_be_compared():
    whole = np.ones((2, 3), np.float32)
    with pytest.raises(DataError, match="item 1 has no token"):
        Tokens.of([whole, whole[:0]])
    with pytest.raises(DataError, match="one d for all"):
        Tokens.of([whole, whole[:, :2]])
    with pytest.raises(DataError, match="item 1 have entries"):
        Tokens.of([whole, whole * np.inf])
    with pytest.raises(DataError, match="a mask"):
        Tokens(np.ones((2, 3, 4), np.float32), np.ones((2, 2), bool))


@every_scorer
def test_cites_a_source(name):
    source = LATE_SCORERS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {module.name for module in pkgutil.iter_modules(tasks.late.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in LATE_SCORERS}


def test_the_list_is_sorted():
    assert list(LATE_SCORERS) == sorted(LATE_SCORERS)


def test_importing_the_family_opens_no_torch():
    code = "import sys, tasks.late, tasks.late._token_heads; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
