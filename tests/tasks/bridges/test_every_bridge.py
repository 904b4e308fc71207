"""What every bridge promises."""

import pkgutil
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.bridges
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.bridges import BRIDGES, Crossing, Rows
from tasks.catalog import build

every_bridge = pytest.mark.parametrize("name", BRIDGES)
QUICK = {"mlp": {"epochs": 3, "hidden": 32}}


def bridge(name):
    return build(BRIDGES, MethodRef(name=name, params=QUICK.get(name, {})))


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def two_spaces(n, wide, narrow, seed, noise=0.05):
    """The same things seen by two encoders: few hidden causes, another random view of them each, and noise."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, 6))
    views = (causes @ np.random.default_rng(9).normal(size=(6, width)) for width in (wide, narrow))
    new, old = (unit(view + noise * rng.normal(size=view.shape)) for view in views)
    return Rows(new, old)


@every_bridge
@pytest.mark.parametrize(("wide", "narrow"), [(12, 8), (8, 8), (8, 12), (1, 3)])
def test_leads_to_unit_vectors_of_the_old_width(name, wide, narrow):
    rows = two_spaces(60, wide, narrow, seed=0)
    for n in (0, 1, 60):
        found = bridge(name).fit(rows)(rows.new[:n])
        assert found.shape == (n, narrow) and found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@every_bridge
def test_brings_what_it_did_not_learn_from_to_its_place(name):
    learnt, fresh = (two_spaces(300, 16, 10, seed=seed) for seed in (1, 2))
    found = bridge(name).fit(learnt)(fresh.new)
    nearest = (found @ fresh.old.T).argmax(axis=1)
    assert (nearest == np.arange(300)).mean() > 0.5  # by chance 1 in 300
    assert (found * fresh.old).sum(axis=1).mean() > 0.9


@every_bridge
def test_is_the_identity_where_both_encoders_are_one(name):
    same, fresh = np.split(unit(np.random.default_rng(3).normal(size=(450, 6))), [400])
    np.testing.assert_allclose(bridge(name).fit(Rows(same, same))(fresh), fresh, atol=0.02)


@every_bridge
@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_a_turned_space_is_turned_back(name, seed):
    rng = np.random.default_rng(seed)
    old = unit(rng.normal(size=(200, 5)))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    found = bridge(name).fit(Rows(unit(old @ turn), old))(unit(old[:20] @ turn))
    np.testing.assert_allclose(found, old[:20], atol=0.05)


@every_bridge
def test_one_seed_gives_one_crossing_bit_for_bit(name):
    rows = two_spaces(80, 9, 7, seed=4)
    first, again = (bridge(name).fit(rows, seed=5).state() for _ in range(2))
    assert first.keys() == again.keys()
    for array in first:
        np.testing.assert_array_equal(first[array], again[array])


@every_bridge
def test_what_is_stored_leads_to_the_same_place(name):
    rows = two_spaces(80, 9, 7, seed=4)
    crossing = bridge(name).fit(rows)
    assert all(array.dtype == np.float32 for array in crossing.state().values())
    np.testing.assert_array_equal(Crossing.from_state(crossing.state())(rows.new), crossing(rows.new))


@every_bridge
def test_rows_of_no_weight_teach_nothing(name):
    rows, wrong = two_spaces(80, 9, 7, seed=4), two_spaces(80, 9, 7, seed=5)
    spoilt = Rows(
        np.concatenate([rows.new, wrong.new]),
        np.concatenate([rows.old, wrong.old[::-1]]),
        weight=np.repeat(np.float32([1, 0]), 80),
    )
    aligned = [(bridge(name).fit(one)(rows.new) * rows.old).sum(axis=1).mean() for one in (rows, spoilt)]
    assert aligned[1] == pytest.approx(aligned[0], abs=0.02)


@pytest.mark.parametrize("name", ["procrustes", "ridge"])  # the steps of a network see rows one by one
def test_a_row_of_weight_two_counts_as_two(name):
    rows = two_spaces(40, 9, 7, seed=4)
    twice = Rows(np.concatenate([rows.new, rows.new[:9]]), np.concatenate([rows.old, rows.old[:9]]))
    weight = np.where(np.arange(40) < 9, 2, 1).astype(np.float32)
    found = bridge(name).fit(replace(rows, weight=weight))(rows.new)
    np.testing.assert_allclose(found, bridge(name).fit(twice)(rows.new), atol=1e-5)


@every_bridge
def test_leaves_the_rows_as_they_are(name):
    rows = two_spaces(40, 9, 7, seed=4)
    before = rows.new.copy(), rows.old.copy()
    bridge(name).fit(rows)
    np.testing.assert_array_equal(rows.new, before[0])
    np.testing.assert_array_equal(rows.old, before[1])


@every_bridge
def test_one_row_and_rows_all_alike_give_a_crossing(name):
    rows = two_spaces(5, 9, 7, seed=4)
    for one in (Rows(rows.new[:1], rows.old[:1]), Rows(rows.new[[0] * 8], rows.old[[0] * 8])):
        found = bridge(name).fit(one)(rows.new[:1])
        assert float((found[0] * rows.old[0]).sum()) > 0.99


@every_bridge
def test_refuses_vectors_of_another_width_and_what_is_not_finite(name):
    rows = two_spaces(40, 9, 7, seed=4)
    crossing = bridge(name).fit(rows)
    with pytest.raises(ValueError, match=r"\(2, 8\).*\(N, 9\)"):
        crossing(rows.new[:2, :8])
    with pytest.raises(ValueError, match="fitted on"):
        crossing(rows.new[0])
    broken = rows.new[:3].copy()
    broken[1, 0] = np.nan
    with pytest.raises(DataError, match="row 1 has no direction"):
        crossing(broken)


@every_bridge
def test_cites_a_source(name):
    source = BRIDGES[name].source
    assert source.title and source.authors and source.departs
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.bridges.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in BRIDGES}


def test_the_list_is_sorted():
    assert list(BRIDGES) == sorted(BRIDGES)


def test_the_list_does_not_bring_torch():
    import subprocess
    import sys

    code = "import sys, tasks.bridges; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("new", "old", "weight", "error", "match"),
    [
        (np.ones((2, 3)), np.ones((3, 3)), None, ValueError, r"\(2, 3\).*\(3, 3\)"),
        (np.ones(3), np.ones((3, 3)), None, ValueError, r"both must be \(N, D\)"),
        (np.ones((0, 3)), np.ones((0, 3)), None, DataError, "found none"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), None, DataError, "2 new vectors .*row 0"),
        (np.ones((2, 3)), np.array([[1, 1], [np.inf, 1]]), None, DataError, "1 old vectors .*row 1"),
        (np.ones((2, 3)), np.ones((2, 3)), [1, 1, 1], ValueError, "weight is"),
        (np.ones((2, 3)), np.ones((2, 3)), [1, -1], DataError, "weights must be"),
        (np.ones((2, 3)), np.ones((2, 3)), [0, 0], DataError, "weights must be"),
        (np.ones((2, 3)), np.ones((2, 3)), [1, np.nan], DataError, "weights must be"),
    ],
)
def test_rows_that_are_none_are_refused(new, old, weight, error, match):
    with pytest.raises(error, match=match):
        Rows(np.float32(new), np.float32(old), None if weight is None else np.float32(weight))


def test_joined_rows_count_together_as_often_as_is_said():
    few, many = two_spaces(2, 3, 3, seed=0), two_spaces(8, 3, 3, seed=1)
    joined = many.joined(few, weight=0.5)
    assert len(joined) == 10
    np.testing.assert_allclose(joined.weights[:8], 2 / 3 / 8)
    np.testing.assert_allclose(joined.weights[8:], 1 / 3 / 2)


@pytest.mark.parametrize(
    "state", [{}, {"matrix": np.eye(2)}, {"matrix": np.eye(2), "centre": np.ones(2), "offset": np.ones(3)},
              {"matrix": np.eye(2), "centre": np.ones(2), "offset": np.ones(2), "sail": np.ones(2)}],
)  # fmt: skip
def test_arrays_of_something_else_are_no_crossing(state):
    with pytest.raises(DataError, match="no bridge"):
        Crossing.from_state({name: np.float32(array) for name, array in state.items()})
