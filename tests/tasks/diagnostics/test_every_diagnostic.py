"""What every diagnostic promises."""

import pkgutil
from urllib.parse import urlparse

import numpy as np
import pytest

import tasks.diagnostics
from schemas.errors import DataError
from tasks.diagnostics import DIAGNOSTICS
from tests.tasks.similarities.conftest import unit

NEEDS_TWO = {"degeneration", "uniformity"}

every_diagnostic = pytest.mark.parametrize("name", DIAGNOSTICS)


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    return unit(rng.normal(size=(30, 8)) + 1), unit(rng.normal(size=(30, 8)))


@every_diagnostic
def test_gives_finite_numbers_and_always_of_the_same_names(name, sides):
    media, text = sides
    found = DIAGNOSTICS[name]()(media, text)
    assert found
    assert all(type(value) is float and np.isfinite(value) for value in found.values())
    other = DIAGNOSTICS[name]()(text[:5], media[:5])
    assert list(other) == list(found)


@every_diagnostic
def test_gives_the_same_again_and_leaves_vectors_as_they_were(name, sides):
    media, text = (side.copy() for side in sides)
    once = DIAGNOSTICS[name]()(media, text)
    assert DIAGNOSTICS[name]()(media, text) == once
    np.testing.assert_array_equal(media, sides[0])
    np.testing.assert_array_equal(text, sides[1])


@every_diagnostic
def test_a_turn_of_the_whole_space_changes_nothing(name, sides):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0].astype(np.float32)
    turned = DIAGNOSTICS[name]()(*(side @ turn for side in sides))
    assert turned == pytest.approx(DIAGNOSTICS[name]()(*sides), abs=1e-5)


@every_diagnostic
def test_takes_vectors_that_are_all_equal(name):
    one = unit(np.ones((12, 4)))
    assert all(np.isfinite(value) for value in DIAGNOSTICS[name]()(one, one).values())


@every_diagnostic
def test_takes_very_few_vectors_or_says_how_many_it_needs(name, sides):
    media, text = sides
    if name in NEEDS_TWO:
        with pytest.raises(DataError, match="1 vectors but 2 are needed"):
            DIAGNOSTICS[name]()(media[:1], text[:1])
        return
    assert all(np.isfinite(value) for value in DIAGNOSTICS[name]()(media[:1], text[:1]).values())


@every_diagnostic
def test_refuses_vectors_it_cannot_read(name, sides):
    media, text = sides
    diagnostic = DIAGNOSTICS[name]()
    with pytest.raises(DataError, match="has 0 vectors"):
        diagnostic(media[:0], text[:0])
    broken = text.copy()
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="text vector of row 3 is not finite"):
        diagnostic(media, broken)
    with pytest.raises(DataError, match="media vector of row 0 has length 3"):
        diagnostic(3 * media, text)
    with pytest.raises(ValueError, match=r"\(N, 8\)"):
        diagnostic(media, text[:, :5])


@every_diagnostic
def test_says_whether_rows_are_pairs(name, sides):
    media, text = sides
    if DIAGNOSTICS[name].paired:
        with pytest.raises(ValueError, match="30 media and 20 texts"):
            DIAGNOSTICS[name]()(media, text[:20])
        return
    order = np.random.default_rng(2).permutation(30)
    apart = DIAGNOSTICS[name]()(media, text[order])
    assert apart == pytest.approx(DIAGNOSTICS[name]()(media, text), abs=1e-6)
    DIAGNOSTICS[name]()(media, text[:20])


@every_diagnostic
def test_cites_a_source(name):
    source = DIAGNOSTICS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.diagnostics.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in DIAGNOSTICS}


def test_the_list_is_sorted():
    assert list(DIAGNOSTICS) == sorted(DIAGNOSTICS)
