"""Out-of-fold scores: against a naive loop, and that no head sees what it scores."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.linalg import inv, sqrtm
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import roc_auc_score

from schemas.batch import PairBatch
from tasks.noise import OutOfFold
from tasks.noise._canonical import fit_canonical
from tasks.noise._groups import connected, counted, first_of, folds_of, group_of
from tasks.noise.out_of_fold import margins


def similarity_by_matrices(media, text, train, held, ridge, width):
    """(H, H) similarities under the textbook head: whiten by inverse square roots, take the SVD."""
    x, y = media[train].astype(float), text[train].astype(float)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean

    def whitener(side):
        covariance = side.T @ side / len(side)
        dim = len(covariance)
        return inv(np.real(sqrtm(covariance + ridge * np.trace(covariance) / dim * np.eye(dim))))

    u, s, vt = np.linalg.svd(whitener(x) @ (x.T @ y / len(x)) @ whitener(y))
    a = (media[held] - x_mean) @ whitener(x) @ u[:, :width] * np.sqrt(s[:width])
    b = (text[held] - y_mean) @ whitener(y) @ vt[:width].T * np.sqrt(s[:width])
    a, b = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (a, b))
    return a @ b.T


def margins_by_loops(similarity, group, competitors):
    """The margin's definition, one pair at a time."""
    margin = []
    for i in range(len(similarity)):
        others = [j for j in range(len(similarity)) if group[j] != group[i]]
        row = sorted((similarity[i, j] for j in others), reverse=True)[:competitors]
        column = sorted((similarity[j, i] for j in others), reverse=True)[:competitors]
        margin.append(similarity[i, i] - (sum(row) / len(row) + sum(column) / len(column)) / 2)
    return np.array(margin)


def scores_by_loops(pairs, fold, *, ridge, width, competitors):
    scores = np.zeros(len(pairs))
    for held_out in set(fold.tolist()):
        held, train = np.flatnonzero(fold == held_out), np.flatnonzero(fold != held_out)
        similarity = similarity_by_matrices(pairs.media_vec, pairs.text_vec, train, held, ridge, width)
        margin = margins_by_loops(similarity, pairs.group[held], competitors)
        scores[held] = 1 / (1 + np.exp(-(margin - margin.mean()) / margin.std()))
    return scores


def in_sample(pairs: PairBatch) -> np.ndarray:
    """Margins under one head of the same kind that saw every pair."""
    rows, weight, method = np.arange(len(pairs)), np.ones(len(pairs), np.float32), OutOfFold()
    settings_ = {"width": method.width, "ridge": method.ridge}
    head = fit_canonical(pairs.media_vec, pairs.text_vec, rows, weight, **settings_)
    media, text = head.media(pairs.media_vec), head.text(pairs.text_vec)
    return margins((media, text, rows), (media, text, rows), method.competitors)


def test_agrees_with_a_loop_that_trains_on_the_other_folds_only(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(90, rate=0.3, seed=1, dim=10)
    pairs = replace(pairs, group=np.arange(90) // 2)
    method = OutOfFold(folds=3, width=6, ridge=0.5, competitors=4, seed=5)
    fold = folds_of(pairs.group, 3, np.random.default_rng((5, 1)))
    expected = scores_by_loops(pairs, fold, ridge=0.5, width=6, competitors=4)
    np.testing.assert_allclose(method(pairs), expected, atol=2e-4)


@pytest.mark.parametrize("dims", [(7, 12), (12, 7)])
def test_agrees_with_the_loop_where_the_sides_are_of_different_widths(dims, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(90, rate=0.3, seed=1, dim=12)
    media, text = (
        side[:, :d] / np.linalg.norm(side[:, :d], axis=1, keepdims=True)
        for side, d in zip((pairs.media_vec, pairs.text_vec), dims, strict=True)
    )
    pairs = PairBatch(media, text, group=np.arange(90) // 2, common=False)
    fold = folds_of(pairs.group, 3, np.random.default_rng((5, 1)))
    for width in (5, 30):  # fewer directions than either side has, and more
        expected = scores_by_loops(pairs, fold, ridge=0.5, width=min(width, 7), competitors=4)
        found = OutOfFold(folds=3, width=width, ridge=0.5, competitors=4, seed=5)(pairs)
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_fold_has_no_say_in_its_own_head(rounds, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(80, rate=0.3, seed=2, dim=8)
    method = OutOfFold(folds=4, rounds=rounds, width=4)
    fold = folds_of(np.arange(80), 4, np.random.default_rng((0, rounds)))

    def heads(batch: PairBatch) -> list:
        """Heads of the outer folds: fitted on the rows outside a fold, weighted by the rounds inside them."""
        made = []
        for held_out in range(4):
            training = np.flatnonzero(fold != held_out)
            weight = method._scores(batch, np.arange(80), training, rounds - 1)
            made.append(fit_canonical(batch.media_vec, batch.text_vec, training, weight, width=4, ridge=3.0))
        return made

    text = pairs.text_vec.copy()
    text[fold == 0] = np.roll(text[fold == 0], 3, axis=0) * -1
    before, after = heads(pairs), heads(replace(pairs, text_vec=text))
    np.testing.assert_array_equal(before[0].text_map, after[0].text_map)
    np.testing.assert_array_equal(before[0].media_map, after[0].media_map)
    assert not np.allclose(before[1].text_map, after[1].text_map)


@pytest.mark.parametrize("rounds", [1, 2])
def test_vectors_that_training_must_not_read_may_be_anything(rounds, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(80, rate=0.3, seed=2, dim=8)
    rows = np.arange(0, 80, 2)
    text = pairs.text_vec.copy()
    text[1::2] = np.nan  # would spread into every score
    method = OutOfFold(folds=4, rounds=rounds, width=4)
    scores = method._scores(replace(pairs, text_vec=text), np.arange(80), rows, rounds)
    np.testing.assert_array_equal(scores, method._scores(pairs, np.arange(80), rows, rounds))


def test_does_not_learn_pairs_of_pure_chance_by_heart():
    rng = np.random.default_rng(0)
    media, text = rng.normal(size=(2, 300, 64)).astype(np.float32)
    media /= np.linalg.norm(media, axis=1, keepdims=True)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    planted = np.arange(300) < 150
    pairs = PairBatch(media, text)
    swapped = text.copy()
    swapped[~planted] = np.roll(text[~planted], 1, axis=0)
    # A head that saw the pairs tells them from swapped ones though nothing relates the sides.
    rows = np.arange(300)
    head = fit_canonical(media, text, rows, np.ones(300, np.float32), width=64, ridge=0.3)
    sides = head.media(media), head.text(swapped), rows
    seen = margins(sides, sides, 5)
    assert roc_auc_score(planted, seen) > 0.9
    assert 0.4 < roc_auc_score(planted, OutOfFold(ridge=0.3)(pairs)) < 0.6


@pytest.mark.parametrize(("rate", "floor"), [(0.2, 0.95), (0.4, 0.9), (0.6, 0.8)])
def test_finds_injected_noise_clearly_better_than_in_sample(rate, floor, make_topic_pairs):
    seen, held_out = [], []
    for seed in range(3):
        pairs, clean = make_topic_pairs(500, rate=rate, seed=seed)
        seen.append(roc_auc_score(clean, in_sample(pairs)))
        held_out.append(roc_auc_score(clean, OutOfFold()(pairs)))
    assert np.mean(held_out) > np.mean(seen) + 0.03
    assert min(held_out) > floor


def test_a_second_round_helps_where_most_pairs_are_wrong(make_noisy_pairs):
    gains = []
    for seed in range(3):
        pairs, clean = make_noisy_pairs(600, rate=0.6, seed=seed, dim=48, noise=1.5)
        once, twice = (roc_auc_score(clean, OutOfFold(rounds=rounds)(pairs)) for rounds in (1, 2))
        gains.append(twice - once)
    assert np.mean(gains) > 0


@pytest.fixture
def in_files(monkeypatch):
    """All arrays lie in files and are read a few rows at a time."""
    monkeypatch.setattr("schemas.batch._LITTLE", 0)
    monkeypatch.setattr("tasks.noise._groups._CHUNK", 7)


PATCHED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.lists(st.integers(0, 12), min_size=12, max_size=60), st.integers(2, 5), st.integers(0, 3))
def test_groups_are_dealt_largest_first_those_of_one_size_as_drawn(group, folds, seed):
    names, size = np.unique(group, return_counts=True)
    drawn = np.random.default_rng(seed).permutation(len(names))
    dealt = sorted(drawn, key=lambda at: -size[at])
    wanted = {names[at]: turn % folds for turn, at in enumerate(dealt)}
    found = folds_of(np.array(group), folds, np.random.default_rng(seed))
    assert found.tolist() == [wanted[one] for one in group]


@given(st.lists(st.integers(0, 12), min_size=12, max_size=60), st.integers(2, 5), st.integers(0, 3))
def test_groups_never_straddle_folds_and_folds_share_them_evenly(group, folds, seed):
    group = np.array(group)
    fold = folds_of(group, folds, np.random.default_rng(seed))
    held = [set(group[fold == f]) for f in range(folds)]
    assert sum(map(len, held)) == len(set(group))
    assert max(map(len, held)) - min(map(len, held)) <= 1


@PATCHED
@given(st.lists(st.tuples(st.integers(-3, 8), st.integers(-3, 8)), min_size=1, max_size=40))
def test_connected_pairs_are_the_components_of_all_pairs(in_files, labels):
    media, text = np.array(labels).T
    shares = (media[:, None] == media) | (text[:, None] == text)
    expected = connected_components(coo_array(shares), directed=False)[1]
    found = connected(media, text)
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)
    assert list(dict.fromkeys(found.tolist())) == list(range(found.max() + 1))  # by who comes first


@pytest.mark.parametrize("rounds", [1, 2])
def test_how_many_pairs_are_under_a_head_at_once_does_not_matter(make_noisy_pairs, monkeypatch, rounds):
    pairs, _ = make_noisy_pairs(300, rate=0.3, seed=2)
    whole = OutOfFold(rounds=rounds, candidates=40)(pairs)
    monkeypatch.setattr("tasks.noise.out_of_fold._PROJECTED", 7)
    np.testing.assert_allclose(OutOfFold(rounds=rounds, candidates=40)(pairs), whole, atol=1e-5)


@PATCHED
@given(st.lists(st.integers(-2, 9) | st.just(2**60), max_size=40))
def test_labels_are_numbered_and_counted_as_numpy_does(in_files, labels):
    label = np.array(labels, np.int64)
    _, first, wanted, count = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    found = counted(label)
    np.testing.assert_array_equal(found[0], wanted)
    np.testing.assert_array_equal(found[1], count)
    np.testing.assert_array_equal(first_of(label), first)


def test_pairs_of_one_group_do_not_compete():
    media = np.eye(3, dtype=np.float32)
    text = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    paired, single = (media, text, np.array([0, 0, 1])), (media, text, np.arange(3))
    together = margins(paired, paired, 5)
    np.testing.assert_allclose(together, [1, 0, 1])
    apart = margins(single, single, 1)
    np.testing.assert_allclose(apart, [0.5, -0.5, 1])  # text 1 is right for media 0


def test_pairs_with_one_medium_or_one_text_share_a_fold_where_no_groups_are_given(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    medium, text = np.arange(60) // 2, np.roll(np.arange(60) // 4, 1)
    keyed = replace(pairs, media_key=medium, text_key=text)
    grouped = replace(pairs, group=connected(medium, text))
    np.testing.assert_array_equal(group_of(keyed), grouped.group)
    np.testing.assert_array_equal(group_of(grouped), grouped.group)
    np.testing.assert_array_equal(group_of(PairBatch(pairs.media_vec, pairs.text_vec)), np.arange(60))


def test_one_group_over_nearly_everything_leaves_finite_scores(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    group = np.maximum(np.arange(60) - 45, 0)
    assert np.isfinite(OutOfFold()(replace(pairs, group=group))).all()


def test_cannot_tell_below_two_groups_a_fold(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    np.testing.assert_array_equal(OutOfFold(folds=5)(replace(pairs, group=np.arange(60) % 9)), 0.5)
    assert OutOfFold(folds=5)(replace(pairs, group=np.arange(60) % 10)).std() > 0


def test_identical_vectors_score_one_half():
    vectors = np.tile(np.float32([0.6, 0.8]), (20, 1))
    np.testing.assert_allclose(OutOfFold()(PairBatch(vectors, vectors)), 0.5)


def test_a_sample_of_candidates_orders_nearly_alike(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(600, rate=0.3, seed=4)
    some, every = (roc_auc_score(clean, OutOfFold(candidates=c)(pairs)) for c in (40, 4096))
    assert some > every - 0.03


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"rounds": 0}, {"rounds": 4}, {"width": 0}, {"ridge": 0.0}])
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        OutOfFold(**wrong)
