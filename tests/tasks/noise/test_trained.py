"""What trained scorers share: principal components, folds and competitors."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from schemas.batch import PairBatch
from tasks.noise._trained import for_heads, learned_and_judged, mean_of_rivals, passes


def test_components_are_those_of_scikit_learn_up_to_a_turn(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(200, rate=0.3, seed=0, dim=30)
    seen = for_heads(pairs, 7, seed=3)
    for ours, given in ((seen.media_vec, pairs.media_vec), (seen.text_vec, pairs.text_vec)):
        theirs = PCA(7).fit_transform(StandardScaler().fit_transform(given.astype(float)))
        assert ours.shape == (200, 7)
        # A turn leaves all products between rows as they are.
        np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-3)


def test_no_component_stands_out_so_that_none_is_blown_up(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(400, rate=0.3, seed=0)
    spread = for_heads(pairs, 40, seed=0).media_vec.std(axis=0)
    untouched = PCA(40).fit_transform(pairs.media_vec).std(axis=0)
    assert spread.max() / spread.min() < 2.5
    assert untouched.max() / untouched.min() > 4


def test_keeps_all_there_is_where_fewer_components_exist(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(50, rate=0.3, seed=0, dim=6)
    assert for_heads(pairs, 64, seed=0).text_vec.shape == (50, 6)


def test_a_side_that_never_moves_is_nought():
    constant = np.tile(np.float32([0.6, 0.8]), (40, 1))
    seen = for_heads(PairBatch(constant, constant), 2, seed=0)
    np.testing.assert_array_equal(seen.media_vec, np.zeros((40, 2)))


def test_takes_no_pairs():
    nothing = np.zeros((0, 5), np.float32)
    assert for_heads(PairBatch(nothing, nothing), 3, seed=0).media_vec.shape == (0, 3)


def test_pairs_with_one_medium_or_one_text_are_of_one_group(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(4, rate=0, seed=0)
    keyed = replace(pairs, media_key=np.array([5, 5, 6, 7]), text_key=np.array([1, 2, 2, 3]))
    np.testing.assert_array_equal(for_heads(keyed, 2, seed=0).group, [0, 0, 0, 1])


def test_no_group_is_learned_and_judged_by_one_head():
    group = np.random.default_rng(0).integers(0, 40, 200)
    judged_of_all = []
    for learned, judged in learned_and_judged(group, 5, np.random.default_rng(1)):
        assert not set(group[learned]) & set(group[judged])
        assert sorted([*learned, *judged]) == list(range(200))
        judged_of_all.extend(judged)
    assert sorted(judged_of_all) == list(range(200))
    (only,) = learned_and_judged(group, 1, np.random.default_rng(1))
    np.testing.assert_array_equal(only, [np.arange(200)] * 2)


def test_rivals_are_the_gallery_of_other_groups():
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(7, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)
    query_group, gallery_group = rng.integers(0, 3, 7), rng.integers(0, 3, 5)
    expected = [
        np.mean([(q @ g) ** 2 for g, h in zip(gallery, gallery_group, strict=True) if h != mine])
        for q, mine in zip(queries, query_group, strict=True)
    ]
    means = mean_of_rivals(queries, gallery, query_group, gallery_group, np.square)
    np.testing.assert_allclose(means, expected, rtol=1e-5)
    assert np.isnan(mean_of_rivals(queries, gallery, np.zeros(7), np.zeros(5), np.square)).all()


@pytest.mark.parametrize(("rows", "expected"), [(1000, 10), (10, 100), (101, 50), (100_000, 1)])
def test_makes_at_least_so_many_steps(rows, expected):
    assert passes(rows, 100, 100) == expected


def test_importing_the_family_does_not_import_torch():
    code = "import sys, tasks.noise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
