"""How often items come up, against loops, scipy and arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, skew

from schemas.errors import DataError
from tasks.diagnostics.hubness import Hubness, summed_up
from tasks.similarities import _bank
from tasks.similarities.bank_norm import BankNorm
from tests.tasks.similarities.conftest import as_candidates, unit


def counted(similarity, k):
    """k-occurrences, query by query; of equal items the smaller row first."""
    count = [0] * similarity.shape[1]
    for row in similarity:
        for item in sorted(range(len(row)), key=lambda j: (-row[j], j))[:k]:
            count[item] += 1
    return count


@pytest.mark.parametrize("entries", [1, 500, 1 << 22])
@pytest.mark.parametrize("side", ["media", "text"])
def test_counts_how_often_an_item_is_among_the_first(entries, side, space, monkeypatch):
    monkeypatch.setattr(_bank, "ENTRIES", entries)
    media, text, _ = space
    gallery, asked = (media, text) if side == "media" else (text, media)
    found = Hubness(k=4, side=side, hubs=3).report(media, text)
    count = np.array(counted(asked @ gallery.T, 4))
    np.testing.assert_array_equal(found.count, count)
    assert (found.queries, found.k) == (len(asked), 4)
    assert found.skewness == pytest.approx(skew(count))
    assert found.never == pytest.approx((count == 0).mean())
    assert found.hubs.tolist() == sorted(range(len(count)), key=lambda j: (-count[j], j))[:3]
    np.testing.assert_array_equal(found.hub_count, np.sort(count)[::-1][:3])
    assert found.hub_share == pytest.approx(np.sort(count)[-3:].sum() / count.sum())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.5]), min_size=7, max_size=7), min_size=1, max_size=9),
    st.integers(1, 9),
)
def test_ties_go_to_the_smaller_row(rows, k):
    scores = np.array(rows, np.float32)
    found = Hubness(k=k).of_scores([scores[:2], scores[2:]] if len(scores) > 2 else [scores])
    assert found.count.tolist() == counted(scores, k)
    assert found.k == min(k, 7)


def test_summary_by_hand():
    # 4 queries, 2 results each, 4 items: one item in all four, two in two, one never. Mean 2.
    found = summed_up(np.array([2, 4, 0, 2]), queries=4, k=2, hubs=2)
    assert found.skewness == 0  # (0 + 8 - 8 + 0) / ...
    assert found.never == 0.25
    assert found.never_by_chance == 0.5**4
    assert found.skewness_by_chance == 0  # a binomial of 1/2 is even
    assert found.robin_hood == (2 + 2) / (2 * 8)
    assert found.hubs.tolist() == [1, 0]
    assert found.hub_share == 6 / 8


def test_chance_is_the_binomial():
    found = summed_up(np.array([3] * 50), queries=15, k=10, hubs=10)
    assert found.skewness == 0
    assert found.skewness_by_chance == pytest.approx(float(binom(15, 0.2).stats(moments="s")))
    assert found.never_by_chance == pytest.approx(float(binom(15, 0.2).pmf(0)))
    assert found.robin_hood == 0


def test_random_results_look_like_chance():
    scores = np.random.default_rng(0).random((400, 2000)).astype(np.float32)
    found = Hubness().of_scores([scores])
    assert found.skewness == pytest.approx(found.skewness_by_chance, abs=0.15)
    assert found.never == pytest.approx(found.never_by_chance, abs=0.02)
    assert "No strong hubs" in found.advice


def test_hubs_are_found_and_a_similarity_that_corrects_them_is_seen_to(hubby):
    gallery, bank, asked = hubby
    before = Hubness().report(gallery, asked)
    assert "Tune a similarity" in before.advice
    assert set(before.hubs[:5].tolist()) == set(range(5))
    fitted = BankNorm(beta_queries=10.0).fit(gallery, bank)
    after = Hubness().report(gallery, asked, fitted=fitted)
    np.testing.assert_array_equal(after.count, counted(fitted(*as_candidates(asked, gallery)), 10))
    assert after.skewness < before.skewness / 2
    assert after.robin_hood < before.robin_hood


def test_queries_are_drawn_and_the_gallery_is_whole(space):
    media, text, _ = space
    found = Hubness(most=6, seed=4).report(media, text)
    rows = np.sort(np.random.default_rng(4).choice(25, 6, replace=False))
    assert found.count.tolist() == counted(text[rows] @ media.T, 10)
    assert found.queries == 6


def test_one_item_and_one_query_are_even():
    one = unit(np.ones((1, 3)))
    found = Hubness().report(one, one)
    assert (found.k, found.skewness, found.never, found.robin_hood) == (1, 0, 0, 0)
    assert found.hubs.tolist() == [0]


def test_refuses_nothing_to_count_and_parameters_out_of_range(space):
    with pytest.raises(DataError, match="no query or no item"):
        Hubness().of_scores([])
    with pytest.raises(DataError, match="no query or no item"):
        Hubness().of_scores([np.empty((3, 0), np.float32)])
    for wrong in ({"k": 0}, {"hubs": 0}, {"most": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Hubness(**wrong)
    with pytest.raises(ValueError, match="side"):
        Hubness(side="both")
    fitted = BankNorm().fit(space[0][:7], space[1])
    with pytest.raises(ValueError, match="fit it to this gallery"):
        Hubness().report(space[0], space[1], fitted=fitted)
