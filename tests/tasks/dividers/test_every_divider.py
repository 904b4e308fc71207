"""What every divider promises."""

import pkgutil
from urllib.parse import urlparse

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import tasks.dividers
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.dividers import DIVIDERS

every_divider = pytest.mark.parametrize("name", DIVIDERS)


def divide(name, scores, mismatched, true, **params):
    """Divide with all a divider may want: 300 verdicts too."""
    verdict = np.full(len(scores), -1, np.int8)
    judged = np.random.default_rng(0).permutation(len(scores))[:300]
    verdict[judged] = true[judged]
    return build(DIVIDERS, MethodRef(name=name, params=params))(
        scores, mismatched=mismatched, verdict=verdict
    )


@every_divider
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4, 0.6, 0.8])
def test_divides_what_is_well_separated(name, rate, make_scores):
    scores, mismatched, true = make_scores(1500, rate=rate, auroc=0.999, seed=0)
    division = divide(name, scores, mismatched, true)
    assert division.separable, division.why
    assert abs(division.noise_rate - rate) < 0.05
    assert division.low <= division.noise_rate <= division.high
    assert ((division.clean > 0.5) == true).mean() > 0.97


@every_divider
def test_probabilities_are_float32_between_0_and_1_and_rise_with_the_score(name, make_scores):
    scores, mismatched, true = make_scores(1500, rate=0.3, auroc=0.995, seed=1)
    division = divide(name, scores, mismatched, true)
    assert division.clean.shape == scores.shape
    assert division.clean.dtype == np.float32
    assert division.clean.min() >= 0
    assert division.clean.max() <= 1
    assert (np.diff(division.clean[np.argsort(scores)]) >= -1e-6).all()
    assert roc_auc_score(true, division.clean) > 0.98
    assert division.noise_rate == pytest.approx(1 - division.clean.mean(dtype=np.float64), abs=1e-5)


@every_divider
def test_gives_the_same_division_again(name, make_scores):
    sample = make_scores(600, rate=0.3, auroc=0.995, seed=2)
    one, again = divide(name, *sample), divide(name, *sample)
    np.testing.assert_array_equal(one.clean, again.clean)
    assert (one.noise_rate, one.low, one.high) == (again.noise_rate, again.low, again.high)


@every_divider
@pytest.mark.parametrize("seed", range(3))
def test_refuses_scores_that_say_nothing(name, seed):
    rng = np.random.default_rng(seed)
    scores, mismatched = rng.random((2, 1000)).astype(np.float32)
    division = divide(name, scores, mismatched, rng.random(1000) < 0.5)
    assert not division.separable
    assert division.noise_rate is None
    assert division.low is None
    assert division.high is None
    assert division.why
    # What is left are weights that follow the rank.
    np.testing.assert_array_equal(np.argsort(division.clean), np.argsort(scores))
    assert division.clean.mean() == pytest.approx(0.5, abs=1e-3)


@every_divider
def test_equal_scores_say_nothing(name):
    same = np.full(200, 0.4, np.float32)
    division = divide(name, same, same, np.arange(200) % 2 == 0)
    assert not division.separable
    np.testing.assert_allclose(division.clean, 0.5, atol=0.01)


@every_divider
@pytest.mark.parametrize("n", [2, 5, 20])
def test_very_few_scores_are_not_believed(name, n):
    scores = np.linspace(0.1, 0.9, n).astype(np.float32)
    division = divide(name, scores, scores, np.arange(n) % 2 == 0)
    assert division.clean.shape == (n,)
    assert not division.separable


@pytest.mark.parametrize("name", sorted(set(DIVIDERS) - {"calibrated"}))  # which has no verdicts to go by
@pytest.mark.parametrize("n", [0, 1])
def test_no_pair_and_one_pair_are_not_divided(name, n, make_scores):
    scores, mismatched, _ = make_scores(100, rate=0.3, auroc=0.9, seed=0)
    division = DIVIDERS[name]()(scores[:n], mismatched=mismatched)
    assert division.clean.shape == (n,)
    assert division.clean.dtype == np.float32
    assert np.isfinite(division.clean).all()
    assert not division.separable


@every_divider
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_refuses_scores_out_of_range(name, value, make_scores):
    scores, mismatched, true = make_scores(100, rate=0.3, auroc=0.9, seed=0)
    broken = scores.copy()
    broken[7] = value
    with pytest.raises(DataError, match="row 7"):
        divide(name, broken, mismatched, true)


@every_divider
def test_refuses_verdicts_that_are_none(name, make_scores):
    scores, mismatched, _ = make_scores(100, rate=0.3, auroc=0.9, seed=0)
    with pytest.raises(DataError, match="verdict 2 in row 3"):
        DIVIDERS[name]()(
            scores, mismatched=mismatched, verdict=np.where(np.arange(100) == 3, 2, 1).astype(np.int8)
        )
    with pytest.raises(DataError, match="verdicts are"):
        DIVIDERS[name]()(scores, mismatched=mismatched, verdict=np.ones(99, np.int8))


@every_divider
def test_cites_a_source(name):
    source = DIVIDERS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.dividers.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract", "classes"}
    assert methods == {name.replace("-", "_") for name in DIVIDERS}


def test_the_list_is_sorted():
    assert list(DIVIDERS) == sorted(DIVIDERS)
