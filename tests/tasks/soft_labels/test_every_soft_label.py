"""What every rule for soft labels promises."""

import pkgutil
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest

import tasks.soft_labels
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.soft_labels import SOFT_LABELS
from tasks.soft_labels.contract import Evidence

every_rule = pytest.mark.parametrize("name", SOFT_LABELS)


@every_rule
@pytest.mark.parametrize("n", [0, 1, 2, 300])
def test_labels_every_pair_in_float32_between_0_and_1(name, n, make_evidence):
    label = build(SOFT_LABELS, MethodRef(name=name))(make_evidence(n, seed=0)[0])
    assert label.shape == (n,)
    assert label.dtype == np.float32
    assert ((label >= 0) & (label <= 1)).all()


@every_rule
def test_gives_the_same_labels_again(name, make_evidence):
    evidence, _ = make_evidence(300, seed=0)
    np.testing.assert_array_equal(SOFT_LABELS[name]()(evidence), SOFT_LABELS[name]()(evidence))


@every_rule
def test_true_pairs_get_higher_labels_than_wrong_ones(name, make_evidence):
    evidence, true = make_evidence(600, seed=1)
    label = SOFT_LABELS[name]()(replace(evidence, previous=None))
    assert label[true].mean() > label[~true].mean() + 0.2


@every_rule
def test_leaves_the_evidence_as_it_is(name, make_evidence):
    evidence, _ = make_evidence(50, seed=0)
    before = replace(evidence, clean=evidence.clean.copy(), previous=evidence.previous.copy())
    SOFT_LABELS[name]()(evidence)
    np.testing.assert_array_equal(evidence.clean, before.clean)
    np.testing.assert_array_equal(evidence.previous, before.previous)


@every_rule
def test_equal_vectors_give_finite_labels(name, make_evidence):
    evidence, _ = make_evidence(40, seed=0)
    same = np.tile(np.float32([0.6, 0.8]), (40, 1))
    assert np.isfinite(SOFT_LABELS[name]()(replace(evidence, media_vec=same, text_vec=same))).all()


@every_rule
@pytest.mark.parametrize("field", ["clean", "previous", "stability"])
@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_refuses_probabilities_out_of_range(name, field, value, make_evidence):
    evidence, _ = make_evidence(20, seed=0)
    broken = getattr(evidence, field).copy()
    broken[7] = value
    with pytest.raises(DataError, match=f"{field} .*row 7"):
        SOFT_LABELS[name]()(replace(evidence, **{field: broken}))


@every_rule
@pytest.mark.parametrize("side", ["media_vec", "text_vec"])
def test_refuses_vectors_that_are_not_finite(name, side, make_evidence):
    evidence, _ = make_evidence(20, seed=0)
    broken = getattr(evidence, side).copy()
    broken[7, 0] = np.inf
    with pytest.raises(DataError, match="row 7"):
        SOFT_LABELS[name]()(replace(evidence, **{side: broken}))


@every_rule
def test_refuses_sides_of_other_pairs(name, make_evidence):
    evidence, _ = make_evidence(20, seed=0)
    with pytest.raises(DataError, match="same pairs"):
        SOFT_LABELS[name]()(replace(evidence, text_vec=evidence.text_vec[:19]))
    with pytest.raises(DataError, match="previous is"):
        SOFT_LABELS[name]()(replace(evidence, previous=evidence.previous[:19]))


@every_rule
def test_cites_a_source(name):
    source = SOFT_LABELS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.soft_labels.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in SOFT_LABELS}


def test_the_list_is_sorted():
    assert list(SOFT_LABELS) == sorted(SOFT_LABELS)


def test_evidence_needs_no_rounds_before():
    vectors = np.eye(2, dtype=np.float32)
    assert Evidence(np.float32([0.5, 0.5]), vectors, vectors).previous is None
