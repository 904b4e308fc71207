"""The benchmark of upgrades: what its arms are, on a corpus small enough to know."""

import numpy as np
import pytest

from benchmarks import upgrade
from schemas.batch import PairBatch
from storage import bridges
from tasks.bridges import Crossing


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def corpus():
    """Two views of the same causes, ninety pairs to train on and thirty to test."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(120, 5))
    media, text = (unit(causes @ rng.normal(size=(5, width))) for width in (24, 16))
    whole = PairBatch(media, text, group=np.arange(120), media_key=np.arange(120), common=False)
    return whole.take(np.arange(90)), whole.take(np.arange(90, 120))


@pytest.fixture(scope="module")
def case(corpus):
    return upgrade.case(*corpus, 0)


def test_encoders_are_trained_apart_from_support_and_test(case, corpus):
    assert len(case.said) == 90 and len(case.shown) == 18
    assert case.old[0].shape == (30, 64) and case.new[1].shape == (30, 128)
    np.testing.assert_array_equal(case.support[0], case.shown.old)
    again = upgrade.case(*corpus, 0)
    np.testing.assert_array_equal(again.new[0], case.new[0])


def test_every_arm_ranks_every_query(case):
    found = upgrade.crossings(case, 0)
    assert list(found) == list(upgrade.WAYS)
    for way in upgrade.WAYS:
        assert {upgrade.OLD, upgrade.NEW, upgrade.NONE} < set(found[way])
        assert all(
            rank.shape == (30,) and rank.min() >= 1 and rank.max() <= 30 for rank in found[way].values()
        )
    by_hand = case.old[1] @ case.old[0].T
    ranks = (by_hand >= np.diag(by_hand)[:, None]).sum(axis=1)
    assert found[upgrade.WAYS[0]][upgrade.OLD].tolist() == ranks.tolist()


def test_mixed_ranks_are_those_of_scores_by_hand(case):
    found = upgrade.mixes(case, 3)[0.5]["both, a scale for each query"]
    shown = case.shown
    over = upgrade._fit("procrustes", {}, case.said.joined(shown, weight=1), 3)
    assert isinstance(over, Crossing)
    order = np.random.default_rng(1003).permutation(30)
    covered = np.isin(np.arange(30), order[:15])
    crossed = over(case.new[1])
    slope, shift = bridges.scale(crossed @ shown.old.T, case.new[1] @ shown.new.T)
    for query in range(30):
        scores = [
            float(case.new[1][query] @ case.new[0][medium])
            if covered[medium]
            else slope[query] * float(crossed[query] @ case.old[0][medium]) + shift[query]
            for medium in range(30)
        ]
        assert found[query] == pytest.approx(1 + sum(score > scores[query] for score in scores), abs=1)


def test_tables_say_every_arm(corpus):
    cases = [upgrade.case(*corpus, seed) for seed in (0, 1)]
    said = upgrade.crossings_table([upgrade.crossings(one, seed) for seed, one in enumerate(cases)])
    assert len(said.splitlines()) == 2 + 3 + len(upgrade.ALONE) + 1  # too few media for those that see some
    said = upgrade.mixes_table([upgrade.mixes(one, seed) for seed, one in enumerate(cases)])
    assert len(said.splitlines()) == 2 + 5
