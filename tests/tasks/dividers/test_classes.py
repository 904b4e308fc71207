"""Decisions from probabilities, and thresholds that hold what they promise."""

import numpy as np
import pytest
from scipy.stats import binomtest

from schemas.errors import DataError
from tasks.dividers._guard import auroc
from tasks.dividers.classes import CLEAN, DISPUTED, NOISY, classes, threshold_for_precision
from tasks.dividers.contract import Division


def division(clean, *, separable=True):
    rate = 0.3 if separable else None
    return Division(np.float32(clean), rate, rate, rate, separable, "")


def test_three_classes_by_two_thresholds():
    found = classes(division([0.1, 0.3, 0.5, 0.7, 0.9]), noisy_below=0.3, clean_above=0.7)
    assert found.tolist() == [NOISY, DISPUTED, DISPUTED, CLEAN, CLEAN]


def test_what_scorers_disagree_on_is_disputed():
    contradiction = np.array([True, False, True])
    found = classes(division([0.1, 0.1, 0.9]), noisy_below=0.3, clean_above=0.7, disagreement=contradiction)
    assert found.tolist() == [DISPUTED, NOISY, DISPUTED]


def test_nobody_is_noisy_where_scores_do_not_separate():
    found = classes(division([0.1, 0.5, 0.9], separable=False), noisy_below=0.3, clean_above=0.7)
    assert found.tolist() == [DISPUTED, DISPUTED, CLEAN]


def test_no_pairs_have_no_classes():
    assert classes(division([]), noisy_below=0.3, clean_above=0.7).shape == (0,)


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.3), (-0.1, 0.5), (0.5, 1.1)])
def test_refuses_thresholds_out_of_order(low, high):
    with pytest.raises(ValueError, match="thresholds"):
        classes(division([0.5]), noisy_below=low, clean_above=high)


def test_refuses_disagreement_of_other_pairs():
    with pytest.raises(DataError, match="disagreement"):
        classes(division([0.5]), noisy_below=0.3, clean_above=0.7, disagreement=np.array([True, False]))


@pytest.mark.parametrize("of", ["kept", "dropped"])
@pytest.mark.parametrize("wanted", [0.8, 0.9])
def test_the_precision_holds_as_often_as_promised(of, wanted, make_scores):
    broken, given = 0, 0
    for seed in range(60):
        scores, _, true = make_scores(4000, rate=0.4, auroc=0.9, seed=seed)
        verdict = np.full(4000, -1, np.int8)
        judged = np.random.default_rng(seed).permutation(4000)[:2000]
        verdict[judged] = true[judged]
        cut = threshold_for_precision(scores, verdict, wanted, of=of)
        if cut is None:
            continue
        given += 1
        picked = scores >= cut if of == "kept" else scores < cut
        broken += (true[picked].mean() if of == "kept" else 1 - true[picked].mean()) < wanted
    assert given > 40
    assert binomtest(broken, 60, 0.05, alternative="greater").pvalue > 0.01


def test_the_lowest_threshold_that_holds_is_taken():
    scores = np.linspace(0, 1, 1000).astype(np.float32)
    verdict = (scores > 0.5).astype(np.int8)
    # Of the best six tenths 83 % are right, shown by 600 verdicts to be above 79 %; of the best five tenths all.
    assert threshold_for_precision(scores, verdict, 0.79) == pytest.approx(0.4, abs=0.002)
    assert threshold_for_precision(scores, verdict, 0.8) == pytest.approx(0.5, abs=0.002)
    assert threshold_for_precision(scores, np.ones(1000, np.int8), 0.8) == 0


def test_too_few_verdicts_show_no_threshold():
    scores = np.linspace(0, 1, 200).astype(np.float32)
    verdict = np.full(200, -1, np.int8)
    assert threshold_for_precision(scores, verdict, 0.9) is None
    verdict[:50] = 1
    assert threshold_for_precision(scores, verdict, 0.9) is None  # 0.005 ** (1 / 50) = 0.8995
    verdict[:51] = 1
    assert threshold_for_precision(scores, verdict, 0.9) == 0  # 0.005 ** (1 / 51) = 0.9013


def test_refuses_what_is_no_precision():
    scores, verdict = np.zeros(3, np.float32), np.ones(3, np.int8)
    with pytest.raises(ValueError, match="wanted"):
        threshold_for_precision(scores, verdict, 1.0)
    with pytest.raises(ValueError, match="confidence"):
        threshold_for_precision(scores, verdict, 0.9, confidence=0)
    with pytest.raises(DataError, match="one per pair"):
        threshold_for_precision(scores, verdict[:2], 0.9)
    with pytest.raises(DataError, match="row 0"):
        threshold_for_precision(scores * np.float32(np.nan), verdict, 0.9)


@pytest.mark.parametrize("decimals", [1, 8])
def test_the_auroc_is_the_share_of_pairs_in_order(monkeypatch, decimals):
    monkeypatch.setattr("tasks.dividers._guard._CHUNK", 7)
    rng = np.random.default_rng(0)
    above, below = rng.random(50).round(decimals), rng.random(30).round(decimals)
    wanted = np.mean((above[:, None] > below) + 0.5 * (above[:, None] == below))
    assert auroc(above, below) == pytest.approx(wanted, abs=1e-12)
