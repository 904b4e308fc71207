"""Measures of finding wrong pairs, against loops and arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from tasks.metrics import detection, division_quality
from tasks.metrics.detection import calibration_error


def auroc_by_loops(scores, clean):
    """Share of (true, wrong) couples in which the true pair scores higher, ties counting half."""
    couples = [(a > b) + (a == b) / 2 for a in scores[clean] for b in scores[~clean]]
    return sum(couples) / len(couples)


def ece_by_loops(probability, clean, bins):
    total = 0.0
    for b in range(bins):
        inside = [
            i
            for i, p in enumerate(probability)
            if b / bins <= p < (b + 1) / bins or (b == bins - 1 and p == 1)
        ]
        if inside:
            true = sum(clean[i] for i in inside) / len(inside)
            said = sum(probability[i] for i in inside) / len(inside)
            total += len(inside) / len(probability) * abs(true - said)
    return total


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_auroc_is_the_share_of_couples_in_order(seed):
    rng = np.random.default_rng(seed)
    scores, clean = rng.integers(0, 6, 30) / 5, rng.random(30) < 0.6
    clean[:2] = True, False
    assert detection(scores, clean).auroc == pytest.approx(auroc_by_loops(scores, clean))


def test_average_precision_is_of_the_wrong_pairs():
    # Ascending scores; wrong are the 1st and 4th of five: (1/1 + 2/4) / 2. Of the true ones it would differ.
    scores, clean = np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.array([False, True, True, False, True])
    found = detection(scores, clean, at=(1, 2, 4, 9))
    assert found.average_precision == pytest.approx((1 + 2 / 4) / 2)
    assert found.precision_at == {1: 1.0, 2: 0.5, 4: 0.5}
    assert found.wrong == 0.4


def test_ties_at_the_edge_count_what_chance_expects():
    scores = np.array([0.0, 0.5, 0.5, 0.5, 0.9])
    clean = np.array([False, False, True, True, True])
    # The lowest is wrong; one more of three, one of which is wrong.
    assert detection(scores, clean, at=(2,)).precision_at[2] == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("truth", [True, False])
def test_with_one_kind_of_pair_there_is_nothing_to_tell_apart(truth):
    found = detection(np.array([0.2, 0.7]), np.array([truth, truth]), at=(1, 5))
    assert found.auroc is None and found.average_precision is None
    assert found.precision_at == {1: float(not truth)}


def test_a_division_by_hand():
    clean = np.array([True, True, True, False, False])
    found = division_quality(np.array([0.9, 0.5, 0.2, 0.6, 0.1]), clean)
    # Kept 0, 1, 3: two of three true. Refused 2, 4: one of two wrong.
    assert (found.kept_precision, found.kept_recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (found.found_precision, found.found_recall, found.found_f1) == (0.5, 0.5, 0.5)
    squares = [0.1**2, 0.5**2, 0.8**2, 0.6**2, 0.1**2]
    assert found.brier == pytest.approx(sum(squares) / 5)


def test_what_is_divided_by_nothing_is_none():
    found = division_quality(np.array([0.9, 0.8]), np.array([True, True]))
    assert (found.kept_precision, found.kept_recall, found.kept_f1) == (1.0, 1.0, 1.0)
    assert found.found_precision is None and found.found_recall is None


@given(st.integers(0, 10_000), st.integers(1, 15))
@settings(max_examples=40, deadline=None)
def test_calibration_error_is_that_of_a_loop(seed, bins):
    rng = np.random.default_rng(seed)
    probability = rng.choice([0.0, 1.0, 0.03, 0.49, 0.51, 0.77], 40) * rng.choice([1.0, 0.9], 40)
    clean = rng.random(40) < 0.5
    assert calibration_error(probability, clean, bins=bins) == pytest.approx(
        ece_by_loops(probability.tolist(), clean.tolist(), bins)
    )


def test_probabilities_that_hold_have_no_calibration_error():
    probability = np.repeat([0.2, 0.8], 10)
    clean = np.array([True] * 2 + [False] * 8 + [True] * 8 + [False] * 2)
    assert calibration_error(probability, clean) == pytest.approx(0, abs=1e-12)
    assert calibration_error(1 - probability, clean) == pytest.approx(0.6)


@pytest.mark.parametrize("measure", [detection, division_quality])
def test_refuses_what_cannot_be_judged(measure):
    with pytest.raises(DataError, match="no pairs"):
        measure(np.zeros(0), np.zeros(0, dtype=bool))
    with pytest.raises(DataError, match="pair 1"):
        measure(np.array([0.5, np.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match=r"\(2,\)"):
        measure(np.zeros(2), np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="boolean"):
        measure(np.zeros(2), np.zeros(2))


def test_refuses_probabilities_beyond_1():
    with pytest.raises(DataError, match=r"not in \[0, 1\]"):
        division_quality(np.array([0.5, 1.5]), np.array([True, False]))


def test_refuses_the_first_none():
    with pytest.raises(ValueError, match="at least 1"):
        detection(np.array([0.5]), np.array([True]), at=(0,))
