"""A similarity is chosen where it helps and refused where it does not, however many are tried."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from schemas.errors import DataError
from tasks.metrics import BestRank, Recall, same_group
from tasks.similarities import Validation, tune
from tasks.similarities._choice import largest_deviation, measured
from tasks.similarities.bank_norm import BankNorm
from tasks.similarities.csls import CSLS
from tasks.similarities.inverse_convolution import InverseConvolution
from tasks.similarities.raw import Raw
from tests.tasks.similarities.conftest import unit

GRID = [BankNorm(beta_queries=beta) for beta in (1.0, 10.0, 50.0)] + [CSLS(k) for k in (1, 10)]


def asking(hubby):
    gallery, bank, asked = hubby
    rows = np.arange(len(gallery))
    return Validation(gallery, bank, asked, same_group(rows, rows))


def even(seed, count=150):
    """A space without hubs, where similarities that correct them can only err."""
    rng = np.random.default_rng(seed)
    gallery = unit(rng.normal(size=(count, 16)))
    asked = unit(gallery + 0.25 * rng.normal(size=gallery.shape))
    rows = np.arange(count)
    return Validation(gallery, unit(rng.normal(size=(80, 16))), asked, same_group(rows, rows))


def test_where_there_are_hubs_the_best_setting_is_chosen(hubby):
    choice = tune(GRID, asking(hubby), metric=Recall(1))
    assert isinstance(choice.method, BankNorm)
    assert choice.method == max(choice.tried, key=lambda one: one.mean).method
    assert "bank-norm(banks=queries" in choice.why
    assert "in recall(k=1) over the cosine" in choice.why
    raw = measured(Raw(), asking(hubby), Recall(1))
    assert choice.raw == pytest.approx(raw.mean())
    for one in choice.tried:
        values = measured(one.method, asking(hubby), Recall(1))
        assert one.mean == pytest.approx(values.mean())
        assert one.gain == pytest.approx(values.mean() - raw.mean())
        assert one.low < one.gain


def test_where_there_are_none_the_cosine_stays():
    choice = tune(GRID, even(0))
    assert choice.method == Raw()
    assert "the cosine stays" in choice.why


def test_a_gain_on_few_queries_may_be_chance_and_the_cosine_stays(hubby):
    gallery, bank, asked = hubby
    rows = np.arange(100, 105)
    few = Validation(gallery, bank, asked[rows], same_group(rows, np.arange(300)))
    choice = tune(GRID, few, metric=Recall(1))
    assert max(one.gain for one in choice.tried) > 0
    assert choice.method == Raw()
    assert "that may be chance, the cosine stays" in choice.why


def test_a_gain_of_chance_is_refused_as_often_as_promised():
    # Settings as good as the cosine in truth: noise added to what a query scores, the same for all settings or not.
    rng = np.random.default_rng(0)
    chosen = 0
    for run in range(300):
        noise = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=(12, 200))
        chosen += noise.mean(axis=1).max() > largest_deviation(noise, 0.05, run)
    assert 2 <= chosen <= 30  # 15 expected


def test_the_bound_of_one_setting_is_its_one_sided_interval():
    gains = np.random.default_rng(1).normal(size=(1, 400))
    assert largest_deviation(gains, 0.05, 0) == pytest.approx(1.65 * gains.std() / 20, rel=0.1)


def test_many_settings_that_move_together_cost_no_more_than_one():
    gains = np.random.default_rng(1).normal(size=(1, 400))
    together = largest_deviation(np.repeat(gains, 50, axis=0), 0.05, 0)
    assert together == pytest.approx(largest_deviation(gains, 0.05, 0))
    independent = np.random.default_rng(2).normal(size=(50, 400))
    assert largest_deviation(independent, 0.05, 0) > 1.5 * largest_deviation(gains, 0.05, 0)


def test_of_equal_settings_the_first_is_taken(hubby):
    twice = [BankNorm(beta_queries=10.0, beta_gallery=1.0), BankNorm(beta_queries=10.0, beta_gallery=2.0)]
    assert tune(twice, asking(hubby)).method == twice[0]


def test_chooses_the_same_again(hubby):
    assert tune(GRID, asking(hubby), seed=3) == tune(GRID, asking(hubby), seed=3)


def test_moved_vectors_are_measured_too(hubby):
    gallery, bank, asked = hubby
    method = InverseConvolution(rate_gallery=3.0, rate_queries=3.0)
    moved = method.fit(gallery, bank).gallery(gallery)
    expected = [np.argmax(moved @ query) == row for row, query in enumerate(asked)]
    np.testing.assert_array_equal(measured(method, asking(hubby), Recall(1)), expected)


def test_refuses_what_cannot_be_decided(hubby):
    known = asking(hubby)
    with pytest.raises(ValueError, match="a method or more"):
        tune([], known)
    with pytest.raises(ValueError, match="alpha"):
        tune(GRID, known, alpha=0)
    if not BestRank.higher_is_better:
        with pytest.raises(ValueError, match="metric to raise"):
            tune(GRID, known, metric=BestRank())
    one = Validation(known.gallery, known.bank_queries, known.asked[:1], csr_array(known.relevant[:1]))
    with pytest.raises(DataError, match="two at least"):
        tune(GRID, one)
    nobody = Validation(known.gallery, known.bank_queries, known.asked, csr_array((300, 300)))
    with pytest.raises(DataError, match="no relevant item"):
        tune(GRID, nobody)
