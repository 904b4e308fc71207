"""Whether a difference is real: nominal on A/A, found where planted, against scipy and arithmetic."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp

from schemas.errors import DataError
from tasks.metrics import compare, compare_all, holm
from tasks.metrics.significance import LARGER, NOTHING, bootstrap, detectable, query_test, seed_test, widening


def two_arms(seed, *, seeds=5, queries=200, luck=0.1, effect=0.0):
    """Recalls of two arms: queries differ in difficulty, seeds in luck, and the arm is better by `effect`."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=queries)

    def arm(shift):
        own = luck * rng.normal(size=(seeds, 1)) + 0.7 * rng.normal(size=(seeds, queries))
        return (difficulty + own + shift > 0.5).astype(float)

    return arm(0.0), arm(effect)


def share_flagged(runs, **case):
    flagged = [compare(*two_arms(i, **case), resamples=299).verdict == LARGER for i in range(runs)]
    return np.mean(flagged)


@pytest.mark.parametrize("seeds", [3, 8])
def test_an_a_a_comparison_is_flagged_at_about_the_nominal_rate(seeds):
    # 300 runs at 5 %: 15 expected; 30 or more would come up once in 5,000 times.
    assert 0 < share_flagged(300, seeds=seeds) < 0.1


def test_queries_alone_would_flag_a_a_far_too_often():
    found = [compare(*two_arms(i), resamples=299) for i in range(100)]
    assert all(one.p_value == max(one.p_seeds, one.p_queries) for one in found)
    assert np.mean([one.p_queries <= 0.05 for one in found]) > 0.15
    assert np.mean([one.p_seeds <= 0.05 for one in found]) < 0.12


def test_a_planted_effect_is_found_and_a_smaller_one_less_often():
    found = [share_flagged(60, effect=effect) for effect in (0.5, 0.1)]
    assert found[0] > 0.9
    assert found[1] < 0.6


def test_an_effect_of_the_detectable_size_is_found_in_8_of_10_cases():
    rng = np.random.default_rng(0)
    edge = detectable(2.0, 6)
    found = [seed_test(edge + 2.0 * rng.normal(size=6)) <= 0.05 for _ in range(1500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_holm_by_hand():
    # 0.005 x 4, 0.01 x 3, 0.03 x 2; 0.04 x 1 may not be below 0.06.
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_1_and_takes_none():
    np.testing.assert_array_equal(holm(np.array([0.9, 0.8])), [1, 1])
    assert holm(np.zeros(0)).shape == (0,)
    with pytest.raises(ValueError, match="p-values"):
        holm(np.array([0.5, np.nan]))


def test_few_queries_are_tested_by_all_signs():
    values = np.array([0.3, 0.1, -0.05, 0.4, 0.2, 0.0])
    sums = [abs(np.dot(signs, values)) for signs in product([-1, 1], repeat=6)]
    expected = np.mean([total >= abs(values.sum()) - 1e-12 for total in sums])
    assert query_test(values) == pytest.approx(expected)


def test_many_queries_are_tested_as_scipy_does():
    values = np.random.default_rng(5).normal(0.12, 1, 150)
    expected = permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    assert query_test(values) == pytest.approx(expected, abs=0.02)


def test_seeds_are_tested_by_student():
    values = np.array([0.4, 0.1, 0.3, 0.25])
    assert seed_test(values) == pytest.approx(ttest_1samp(values, 0).pvalue)


def test_the_bootstrap_draws_whole_seeds():
    difference = np.array([[0.0, 0.0, 0.0], [3.0, 6.0, 0.0]])
    drawn = bootstrap(difference, resamples=4000, seed=1)
    assert set(drawn.tolist()) == {0.0, 1.5, 3.0}  # seed means are 0 and 3
    assert np.mean(drawn == 1.5) == pytest.approx(0.5, abs=0.03)


def test_the_interval_is_widened_for_few_seeds():
    # Student 2.776 (4 degrees of freedom) over normal 1.960, times sqrt(5 / 4).
    assert widening(5) == pytest.approx(2.776 / 1.960 * 1.25**0.5, rel=1e-3)
    difference = np.array([[0.1], [0.2], [0.3], [0.4], [0.5]]) * np.ones((5, 40))
    found = compare(np.zeros((5, 40)), difference)
    # Draws of five among five have standard deviation sqrt(0.02 / 5); the interval is near Student's.
    assert found.high - found.low == pytest.approx(2 * 2.776 * np.sqrt(0.025 / 5), rel=0.12)
    assert found.difference == pytest.approx(0.3)


def test_an_arm_against_itself_shows_nothing():
    arm, _ = two_arms(0)
    found = compare(arm, arm)
    assert (found.difference, found.p_value, found.low, found.high) == (0, 1, 0, 0)
    assert found.verdict == NOTHING


def test_where_seeds_change_nothing_queries_decide():
    one = np.zeros((4, 50))
    few, many = one.copy(), one.copy()
    few[:, :2] = 1.0
    many[:, :20] = 1.0
    assert compare(one, few).verdict == NOTHING
    assert compare(one, many).verdict == LARGER


def test_several_arms_are_corrected_for_their_number():
    baseline, _ = two_arms(1)
    arms = {f"arm {i}": two_arms(1, effect=0.12 * i)[1] for i in range(1, 5)}
    alone = [compare(baseline, arm).p_value for arm in arms.values()]
    found = compare_all(baseline, arms)
    np.testing.assert_allclose([one.p_value for one in found.values()], holm(np.array(alone)))
    assert list(found) == list(arms)


def test_gives_the_same_verdict_again():
    assert compare(*two_arms(3, effect=0.2)) == compare(*two_arms(3, effect=0.2))


def test_refuses_what_cannot_be_compared():
    good = np.zeros((3, 4))
    broken = good.copy()
    broken[1, 2] = np.nan
    with pytest.raises(DataError, match="seed 1, query 2"):
        compare(good, broken)
    with pytest.raises(DataError, match="run two of each"):
        compare(good[:1], good[:1])
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        compare(good, good[:2])
    with pytest.raises(ValueError, match="alpha"):
        compare(good, good, alpha=1.0)


def test_one_query_that_moved_says_nothing():
    assert query_test(np.array([0.0, 0.5, 0.0])) == 1.0
