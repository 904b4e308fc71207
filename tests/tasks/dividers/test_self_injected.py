"""The share of noise by comparison: on scores whose share is known."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from schemas.errors import DataError
from tasks.dividers import SelfInjected
from tasks.dividers.self_injected import _WIDTHS, _in_cells, falling_density, level_under_bells, tail_shares

RATES = (0, 0.05, 0.2, 0.4, 0.6, 0.8)


@pytest.mark.parametrize("auroc", [0.97, 0.9])
@pytest.mark.parametrize("n", [500, 2000])
def test_finds_the_share_of_noise(n, auroc, make_scores):
    errors = []
    for rate in RATES:
        found = []
        for seed in range(8):
            scores, mismatched, _ = make_scores(n, rate=rate, auroc=auroc, seed=seed)
            division = SelfInjected(resamples=10)(scores, mismatched=mismatched)
            if division.separable:
                found.append(division.noise_rate)
        assert len(found) >= 6
        assert abs(np.mean(found) - rate) < 0.05
        errors += [abs(one - rate) for one in found]
    assert np.mean(np.array(errors) < 0.1) > 0.9


@pytest.mark.parametrize("auroc", [0.97, 0.9])
def test_drops_almost_nothing_where_all_pairs_are_true(auroc, make_scores):
    for seed in range(5):
        scores, mismatched, _ = make_scores(1000, rate=0, auroc=auroc, seed=seed)
        division = SelfInjected()(scores, mismatched=mismatched)
        assert division.separable
        assert division.noise_rate < 0.05
        assert division.low < 0.01
        assert (division.clean < 0.5).mean() < 0.03


def test_the_interval_holds_the_share_about_as_often_as_it_says(make_scores):
    held = []
    for seed in range(30):
        rate = (0.1, 0.3, 0.5)[seed % 3]
        scores, mismatched, _ = make_scores(1000, rate=rate, auroc=0.9, seed=seed)
        division = SelfInjected(resamples=40)(scores, mismatched=mismatched)
        held.append(division.low <= rate <= division.high)
    assert np.mean(held) >= 0.86  # 27 of 30 and more in 94 % of trials of a true 95 %


@pytest.mark.parametrize("judged", [False, True])
def test_the_interval_is_that_of_pairs_drawn_one_by_one(make_scores, judged):
    scores, mismatched, true = make_scores(300, rate=0.3, auroc=0.95, seed=1)
    scores, mismatched = scores.round(2), mismatched.round(2)  # many are equal
    verdict = np.where(np.arange(300) % 5, -1, true).astype(np.int8) if judged else None
    resamples, cells = 1500, 50
    counts = []
    for number in range(resamples):
        rng = np.random.default_rng((4, number))
        drawn = rng.integers(300, size=300)
        tails = tail_shares(scores[drawn], np.sort(rng.choice(mismatched, len(mismatched))))
        cell = [min(int(tail * cells), cells - 1) for tail in tails]
        said = [-1] * 300 if verdict is None else verdict[drawn].tolist()
        kinds = [[1.0] * 300, [one >= 0 for one in said], [one == 0 for one in said]]
        counts.append([np.bincount(cell, weights=kind, minlength=cells) for kind in kinds])
    method, counts = SelfInjected(resamples=resamples, seed=5), np.array(counts)
    shares = (method._wrong(counts.copy()) * counts[:, 0] / 300).sum(axis=1)
    wanted = level_under_bells(counts[:, 0] / 300)
    low, high, bells = method._interval(scores, mismatched, verdict, cells)
    # Two such quantiles of so many draws differ by a tenth of the spread or so, seldom by a third.
    np.testing.assert_allclose([low, high], np.quantile(shares, [0.025, 0.975]), atol=0.35 * shares.std())
    assert bells.mean() == pytest.approx(wanted.mean(), abs=0.15 * wanted.std())
    assert bells.std() == pytest.approx(wanted.std(), rel=0.1)


@pytest.mark.parametrize(
    ("count", "decimals", "cells"), [(1000, 8, 200), (50, 1, 31), (1, 3, 6), (700, 2, 200)]
)
def test_how_many_scores_lie_in_each_cell_is_found_without_looking_at_each(count, decimals, cells):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scores, wrong = (np.sort(rng.random(n).round(decimals)).astype(np.float32) for n in (count, 90))
        tails = [((wrong >= one).sum() + (wrong > one).sum() + 1) / 2 / 91 for one in scores]
        wanted = np.bincount([min(int(tail * cells), cells - 1) for tail in tails], minlength=cells)
        np.testing.assert_array_equal(_in_cells(scores, wrong, cells), wanted)


@pytest.mark.parametrize("judged", [False, True])
def test_how_many_scores_are_looked_up_at_once_does_not_matter(make_scores, monkeypatch, judged):
    scores, mismatched, true = make_scores(300, rate=0.3, auroc=0.95, seed=1)
    verdict = np.where(np.arange(300) % 5, -1, true).astype(np.int8) if judged else None
    whole = SelfInjected(resamples=2)(scores, mismatched=mismatched, verdict=verdict)
    monkeypatch.setattr("tasks.dividers.self_injected._CHUNK", 7)
    parts = SelfInjected(resamples=2)(scores, mismatched=mismatched, verdict=verdict)
    assert parts.separable
    np.testing.assert_array_equal(parts.clean, whole.clean)
    assert (parts.noise_rate, parts.low, parts.high) == (whole.noise_rate, whole.low, whole.high)


def test_true_pairs_that_score_like_wrong_ones_raise_the_estimate_and_no_more(make_scores):
    # A tenth of the true pairs cannot be told from wrong ones: 0.28 of all score like wrong pairs, 0.2 are.
    found = [
        SelfInjected(resamples=2)(scores, mismatched=mismatched).noise_rate
        for scores, mismatched, _ in (
            make_scores(2000, rate=0.2, auroc=0.97, seed=seed, like_wrong=0.1) for seed in range(5)
        )
    ]
    assert np.mean(found) == pytest.approx(0.28, abs=0.03)


@pytest.mark.parametrize("rate", [0, 0.4, 0.8])
def test_refuses_where_true_and_wrong_pairs_overlap(rate, make_scores):
    for seed in range(4):
        scores, mismatched, _ = make_scores(1000, rate=rate, auroc=0.6, seed=seed)
        assert not SelfInjected(resamples=20)(scores, mismatched=mismatched).separable


def test_refuses_where_nearly_all_pairs_are_wrong(make_scores):
    scores, mismatched, _ = make_scores(1000, rate=0.99, auroc=0.97, seed=0)
    division = SelfInjected()(scores, mismatched=mismatched)
    assert not division.separable
    assert "no higher than wrong ones" in division.why


def test_probabilities_are_calibrated(make_scores):
    scores, mismatched, true = make_scores(20_000, rate=0.4, auroc=0.9, seed=0)
    clean = SelfInjected(resamples=2)(scores, mismatched=mismatched).clean
    for low in np.arange(0, 1, 0.2):
        inside = (clean >= low) & (clean < low + 0.2)
        assert clean[inside].mean() == pytest.approx(true[inside].mean(), abs=0.06)


def test_verdicts_correct_what_the_comparison_cannot_know(make_scores):
    # A quarter of the true pairs score like wrong ones, which only people can say.
    scores, mismatched, true = make_scores(2000, rate=0.2, auroc=0.99, seed=0, like_wrong=0.25)
    verdict = np.full(2000, -1, np.int8)
    judged = np.random.default_rng(0).permutation(2000)[:400]
    verdict[judged] = true[judged]
    alone = SelfInjected()(scores, mismatched=mismatched)
    helped = SelfInjected(prior=5)(scores, mismatched=mismatched, verdict=verdict)
    assert alone.noise_rate > 0.35
    assert helped.noise_rate == pytest.approx(0.2, abs=0.06)
    assert helped.low <= 0.2 <= helped.high
    assert ((helped.clean - true) ** 2).mean() < ((alone.clean - true) ** 2).mean() - 0.03


def test_only_the_order_of_scores_matters(make_scores):
    scores, mismatched, _ = make_scores(600, rate=0.3, auroc=0.95, seed=0)
    one = SelfInjected()(scores, mismatched=mismatched)
    other = SelfInjected()(scores / 2 + 0.3, mismatched=mismatched / 2 + 0.3)
    np.testing.assert_allclose(one.clean, other.clean, atol=0.02)  # rounding may tie two scores
    assert one.noise_rate == pytest.approx(other.noise_rate, abs=1e-3)


def test_tail_shares_are_counts_over_the_wrong_pairs():
    mismatched = np.float32([0.1, 0.2, 0.2, 0.4])
    scores = np.float32([0, 0.2, 0.3, 0.5])
    expected = [
        (sum(m > s for m in mismatched) + sum(m == s for m in mismatched) / 2 + 0.5) / 5 for s in scores
    ]
    np.testing.assert_allclose(tail_shares(scores, np.sort(mismatched)), expected)


def test_the_fit_is_the_most_likely_level_and_triangles():
    # Ten cells and few triangles, solved by a general optimiser over the simplex.
    found = np.array([0.31, 0.16, 0.12, 0.09, 0.07, 0.06, 0.05, 0.05, 0.045, 0.045])
    level, density = falling_density(found[None], 4000)
    mass = [np.ones(10)]
    for width in _WIDTHS:
        below = [1 - (1 - min(edge / width, 1)) ** 2 for edge in np.linspace(0, 1, 11)]
        mass.append(np.diff(below) * 10)
    shapes = np.array(mass)

    def loss(free):
        weight = np.exp(free - free.max())
        return -(found * np.log(weight / weight.sum() @ shapes)).sum()

    best = minimize(
        loss, np.zeros(len(shapes)), method="L-BFGS-B", options={"maxiter": 4000, "maxfun": 10**6}
    )
    assert -(found * np.log(density[0])).sum() == pytest.approx(best.fun, abs=1e-4)
    weight = np.exp(best.x - best.x.max())
    assert level[0] == pytest.approx(weight[0] / weight.sum(), abs=0.02)


def test_under_bells_the_level_is_the_share_of_wrong_pairs():
    cells = np.linspace(0, 1, 201)
    true = np.diff(norm.sf(norm.isf(cells), loc=1.5, scale=1.0))  # d' = 1.5: AUROC 0.86
    for rate in (0.1, 0.4, 0.7):
        found = rate / 200 + (1 - rate) * true
        assert level_under_bells(found[None])[0] == pytest.approx(rate, abs=0.01)


def test_says_what_it_lacks(make_scores):
    scores, mismatched, _ = make_scores(100, rate=0.3, auroc=0.9, seed=0)
    with pytest.raises(DataError, match="mismatched"):
        SelfInjected()(scores)
    assert "too few" in SelfInjected()(scores, mismatched=mismatched[:10]).why
    with pytest.raises(DataError, match="mismatched score"):
        SelfInjected()(scores, mismatched=mismatched + 1)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"resamples": 1}, {"prior": 0.0}, {"least_apart": 0.4}, {"widest": 0.0}]
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        SelfInjected(**wrong)
