"""Matching anew: against exact transport, assignment, and planted partners."""

from dataclasses import replace

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment

from tasks.repairs import Rematch
from tasks.repairs.rematch import partial_plan


def run(method, case):
    return method(case.pairs, case.clean, case.pairs.media_vec, case.pairs.text_vec)


def test_finds_the_partners_of_exchanged_pairs(make_exchanged):
    case = make_exchanged(200, rate=0.5, seed=0)
    proposals = run(Rematch(mass=1.0, regularisation=0.01), case)
    assert len(proposals.row) > 90  # of 100
    assert (case.home[proposals.row] == proposals.text_from).mean() > 0.9


def test_a_share_of_mass_gives_that_share_of_proposals_the_surest_ones(make_exchanged):
    case = make_exchanged(400, rate=0.5, seed=1, noise=0.6)
    some, every = (run(Rematch(mass=mass, regularisation=0.02), case) for mass in (0.2, 1.0))
    assert len(some.row) == 40  # of 200
    right = [(case.home[found.row] == found.text_from).mean() for found in (some, every)]
    assert right[0] >= right[1]


def some_costs(seed):
    rng = np.random.default_rng(seed)
    allowed = rng.random((30, 30)) > 0.2
    np.fill_diagonal(allowed, False)
    return rng.random((30, 30)), allowed


def test_the_plan_is_sinkhorns_with_one_point_more_on_either_side():
    cost, allowed = some_costs(0)
    for mass in (0.1, 0.5, 0.9):
        enlarged = np.zeros((31, 31))
        enlarged[:30, :30] = np.where(allowed, cost, 1e3)
        enlarged[30, 30] = 1e3
        weight = np.append(np.full(30, 1 / 30), 1 - mass)
        reference = ot.sinkhorn(
            weight, weight, enlarged, 0.07, method="sinkhorn_log", numItermax=20_000, stopThr=1e-10
        )
        found = partial_plan(cost, allowed, mass, 0.07)
        np.testing.assert_allclose(found, reference[:30, :30], atol=1e-6)
        assert found.sum() == pytest.approx(mass, abs=1e-5)


def test_with_little_entropy_the_plan_is_the_exact_partial_one():
    cost, allowed = some_costs(1)
    weight = np.full(30, 1 / 30)
    exact = ot.partial.partial_wasserstein(weight, weight, np.where(allowed, cost, 1e3), m=0.5)
    found = partial_plan(cost, allowed, 0.5, 0.01)
    assert found.sum() == pytest.approx(0.5, abs=1e-4)
    assert (found.sum(axis=0) <= weight + 1e-6).all()
    assert (found.sum(axis=1) <= weight + 1e-6).all()
    assert (found[~allowed] == 0).all()
    # Entropy is worth at most about its weight in cost, for each unit of mass.
    assert 0 <= (found * cost).sum() - (exact * cost).sum() < 0.01 * 0.5
    used = (exact > 0.5 / 30).any(axis=1)
    assert found[used].sum() > 0.7 * 0.5  # it moves the same media


def test_more_mass_than_can_be_moved_moves_what_can_be():
    allowed = np.zeros((6, 6), bool)
    allowed[:3, :2] = True  # three media for two texts, and three for none
    found = partial_plan(np.full((6, 6), 0.5), allowed, 1.0, 0.05)
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(2 / 6, rel=0.01)


def test_with_all_mass_moved_the_best_texts_are_those_of_the_assignment(make_exchanged):
    case = make_exchanged(60, rate=1.0, seed=2, noise=0.5)
    proposals = run(Rematch(mass=1.0, regularisation=0.01), case)
    cost = 1 - case.pairs.media_vec @ case.pairs.text_vec.T
    np.fill_diagonal(cost, 1e3)
    assigned = linear_sum_assignment(cost)[1]
    assert (assigned[proposals.row] == proposals.text_from).mean() > 0.9


def test_blocks_are_matched_apart_and_together_hold_all(make_exchanged):
    case = make_exchanged(300, rate=1.0, seed=3)
    proposals = run(Rematch(mass=0.5, block=64), case)
    assert abs(len(proposals.row) - 150) <= 3
    assert len(set(proposals.row.tolist())) == len(proposals.row)


def test_confidence_is_lower_where_many_texts_fit(make_exchanged):
    apart = make_exchanged(60, rate=1.0, seed=4, noise=0.05)
    # Twenty copies of every text: which of them does not matter, but none is sure.
    rows = np.repeat(np.arange(20), 3)
    alike = replace(
        apart,
        pairs=replace(
            apart.pairs, media_vec=apart.pairs.media_vec[rows], text_vec=apart.pairs.text_vec[rows]
        ),
    )
    method = Rematch(mass=0.5, regularisation=0.02)
    assert run(method, alike).confidence.mean() < run(method, apart).confidence.mean() - 0.2


@pytest.mark.parametrize("wrong", [{"mass": 0.0}, {"mass": 1.5}, {"regularisation": 0.0}, {"block": 1}])
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Rematch(**wrong)
