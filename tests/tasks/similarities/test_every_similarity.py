"""What every similarity promises."""

import io
import pkgutil
import subprocess
import sys
from urllib.parse import urlparse

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.similarities
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.similarities import SIMILARITIES
from tests.tasks.similarities.conftest import as_candidates, unit

SETTINGS = [
    ("bank-norm", {}),
    ("bank-norm", {"banks": "gallery"}),
    ("bank-norm", {"banks": "both", "dynamic": True}),
    ("csls", {}),
    ("csls", {"k": 1}),
    ("inverse-convolution", {}),
    ("inverse-convolution", {"local": 0.2, "rate_gallery": 0.3}),
    ("raw", {}),
    ("sinkhorn", {}),
    ("sinkhorn", {"iterations": 0, "beta": 100.0}),
]
READS_NO_QUERIES = [("raw", {}), ("bank-norm", {"banks": "gallery"})]

every_similarity = pytest.mark.parametrize("name", SIMILARITIES)
every_setting = pytest.mark.parametrize(
    ("name", "params"), SETTINGS, ids=[f"{name}-{'-'.join(map(str, p.values()))}" for name, p in SETTINGS]
)


def made(name, params):
    return build(SIMILARITIES, MethodRef(name=name, params=params))


def scores_of(fitted, queries, gallery):
    return fitted(*as_candidates(queries, fitted.gallery(gallery)))


def test_every_method_is_tried_below():
    assert {name for name, _ in SETTINGS} == set(SIMILARITIES)


@every_setting
@pytest.mark.parametrize("own", [True, False])
def test_gives_finite_float32_scores_and_unit_vectors(name, params, own, space):
    gallery, queries, bank = space
    fitted = made(name, params).fit(gallery, queries, None if own else bank)
    moved = fitted.gallery(gallery)
    assert moved.shape == gallery.shape
    assert moved.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-6)
    scores = scores_of(fitted, queries[:7], gallery)
    assert scores.shape == (7, 40)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@every_setting
def test_gives_the_same_scores_again(name, params, space):
    gallery, queries, bank = space
    once, again = (
        scores_of(made(name, params).fit(gallery, queries, bank), queries, gallery) for _ in range(2)
    )
    np.testing.assert_array_equal(once, again)


@every_setting
def test_comes_back_from_its_state_bit_for_bit(name, params, space):
    gallery, queries, bank = space
    method = made(name, params)
    fitted = method.fit(gallery, queries, bank)
    file = io.BytesIO()
    np.savez(file, **fitted.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        restored = method.fitted.restore(dict(stored))
    assert type(restored) is type(fitted)
    assert set(restored.state()) == set(fitted.state())
    for key, array in fitted.state().items():
        np.testing.assert_array_equal(restored.state()[key], array)
        assert restored.state()[key].dtype == array.dtype
    np.testing.assert_array_equal(restored.gallery(gallery), fitted.gallery(gallery))
    np.testing.assert_array_equal(scores_of(restored, queries, gallery), scores_of(fitted, queries, gallery))


@every_setting
def test_a_state_that_lacks_something_is_refused(name, params, space):
    fitted = made(name, params).fit(*space)
    for missing in fitted.state():
        with pytest.raises(DataError, match="fit it again"):
            type(fitted).restore({key: array for key, array in fitted.state().items() if key != missing})


@every_setting
def test_candidates_of_a_first_stage_are_ordered_as_among_all(name, params, space):
    gallery, queries, bank = space
    fitted = made(name, params).fit(gallery, queries, bank)
    similarity, _ = as_candidates(queries[:6], fitted.gallery(gallery))
    everyone = scores_of(fitted, queries[:6], gallery)
    rows = np.argsort(-similarity, axis=1, kind="stable")[:, :15]  # the best are among them
    some = fitted(np.take_along_axis(similarity, rows, axis=1), rows)
    np.testing.assert_array_equal(
        np.argsort(-some, axis=1, kind="stable"),
        np.argsort(-np.take_along_axis(everyone, rows, axis=1), axis=1, kind="stable"),
    )


@every_setting
def test_a_query_is_scored_alone_as_among_others(name, params, space):
    gallery, queries, bank = space
    fitted = made(name, params).fit(gallery, queries, bank)
    similarity, rows = as_candidates(queries, fitted.gallery(gallery))
    np.testing.assert_array_equal(fitted(similarity[3:4], rows[3:4]), fitted(similarity, rows)[3:4])


@every_setting
@settings(max_examples=15, deadline=None)
@given(constant=st.floats(-3, 3), seed=st.integers(0, 100))
def test_a_constant_on_all_similarities_changes_no_order(name, params, constant, seed):
    rng = np.random.default_rng(seed)
    gallery, queries, bank = (unit(rng.normal(size=(n, 6))) for n in (12, 9, 8))
    fitted = made(name, params).fit(gallery, queries, bank)
    similarity, rows = as_candidates(queries, fitted.gallery(gallery))
    before, after = fitted(similarity, rows), fitted(similarity + np.float32(constant), rows)
    np.testing.assert_allclose(
        after - after[:, :1], before - before[:, :1], atol=5e-6
    )  # 2 s for CSLS, where the constant goes off again


@every_setting
def test_leaves_what_it_is_given_as_it_was(name, params, space):
    before = [side.copy() for side in space]
    fitted = made(name, params).fit(*space)
    similarity, rows = as_candidates(space[1], fitted.gallery(space[0]))
    kept = similarity.copy()
    fitted(similarity, rows)
    for side, copy in zip((*space, similarity), (*before, kept), strict=True):
        np.testing.assert_array_equal(side, copy)


@every_setting
def test_items_that_are_all_equal_get_equal_scores(name, params):
    gallery = np.repeat(unit(np.ones((1, 5))), 9, axis=0)
    queries = unit(np.random.default_rng(0).normal(size=(6, 5)))
    scores = scores_of(made(name, params).fit(gallery, queries), queries, gallery)
    np.testing.assert_allclose(np.ptp(scores, axis=1), 0, atol=1e-6)


@every_setting
@pytest.mark.parametrize(("items", "others"), [(1, 1), (1, 5), (5, 1)])
def test_takes_one_item_or_one_query(name, params, items, others, space):
    gallery, queries = space[0][:items], space[1][:others]
    scores = scores_of(made(name, params).fit(gallery, queries), queries, gallery)
    assert scores.shape == (others, items)
    assert np.isfinite(scores).all()


@every_setting
def test_no_candidates_and_no_queries_give_no_scores(name, params, space):
    fitted = made(name, params).fit(*space)
    for shape in ((3, 0), (0, 4), (0, 0)):
        empty = fitted(np.zeros(shape, np.float32), np.zeros(shape, np.int64))
        assert empty.shape == shape
        assert empty.dtype == np.float32


@every_setting
def test_refuses_what_it_cannot_be_fitted_to(name, params, space):
    gallery, queries, bank = space
    method = made(name, params)
    with pytest.raises(DataError, match="gallery has 0 vectors"):
        method.fit(gallery[:0], queries, bank)
    broken = gallery.copy()
    broken[7, 0] = np.nan
    with pytest.raises(DataError, match="gallery vector of row 7 is not finite"):
        method.fit(broken, queries, bank)
    with pytest.raises(DataError, match="row 0 has length 2"):
        method.fit(2 * gallery, queries, bank)
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        method.fit(gallery[0], queries, bank)
    if (name, params) in READS_NO_QUERIES:
        assert method.fit(gallery, queries[:0], bank).gallery(gallery).shape == gallery.shape
        return
    with pytest.raises(DataError, match="queries has 0 vectors"):
        method.fit(gallery, queries[:0], bank)
    with pytest.raises(ValueError, match=r"\(N, 12\)"):
        method.fit(gallery, queries[:, :5], bank)


@every_setting
def test_refuses_candidates_that_are_none(name, params, space):
    fitted = made(name, params).fit(*space)
    similarity, rows = as_candidates(space[1], space[0])
    broken = similarity.copy()
    broken[4, 2] = np.nan
    with pytest.raises(DataError, match="query 4"):
        fitted(broken, rows)
    for wrong in (rows + 1, rows - 1):
        with pytest.raises(ValueError, match="0 to 39"):
            fitted(similarity, wrong)
    with pytest.raises(ValueError, match="must be"):
        fitted(similarity, rows[:, :5])
    with pytest.raises(ValueError, match="integers"):
        fitted(similarity, rows.astype(float))
    with pytest.raises(ValueError, match="fit it to this gallery"):
        fitted.gallery(space[0][:5])


@every_similarity
def test_cites_a_source(name):
    source = SIMILARITIES[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.similarities.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in SIMILARITIES}


def test_the_list_is_sorted():
    assert list(SIMILARITIES) == sorted(SIMILARITIES)


def test_importing_the_families_opens_no_torch():
    code = "import sys, tasks.similarities, tasks.diagnostics; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
