"""Agreement scores: against a loop over the formulas, with classes given and made."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from tasks.noise import Agreement
from tasks.noise._classes import fit_classifier
from tasks.noise._groups import folds_of
from tasks.noise.agreement import _Judged


def probabilities_by_loops(pairs, fold, ridge):
    """(N, C) by media, (N, C) by texts; class -1 teaches nothing."""
    c = pairs.label.max() + 1
    views = np.zeros((2, len(pairs), c))
    for i in range(len(pairs)):
        train = np.flatnonzero((fold != fold[i]) & (pairs.label >= 0))
        for view, side in enumerate((pairs.media_vec, pairs.text_vec)):
            taught = fit_classifier(side, train, pairs.label[train], count=c, ridge=ridge)
            views[view, i] = taught(side[[i]])[0]
    return views


def certain_by_loops(p):
    best, named = p.max(axis=1), p.argmax(axis=1)
    return np.array([best[i] >= min(np.median(best[named == named[i]]), 0.9) for i in range(len(p))])


def scores_by_loops(p1, p2, rule):
    if rule == "filter":
        kept = certain_by_loops(p1) & certain_by_loops(p2) & (p1.argmax(axis=1) == p2.argmax(axis=1))
        soft = np.array([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(p1, p2, strict=True)])
    else:
        w1, w2 = (np.array([np.exp(sum(x * np.log(x) for x in row)) for row in p]) for p in (p1, p2))
        fused = np.array([(u * a + v * b) / (u + v) for u, v, a, b in zip(w1, w2, p1, p2, strict=True)])
        kept = certain_by_loops(fused)
        soft = np.array([min(a[f.argmax()], b[f.argmax()]) for a, b, f in zip(p1, p2, fused, strict=True)])
    return np.where(kept, (1 + soft) / 2, soft / 2)


@pytest.mark.parametrize("rule", ["filter", "weigh"])
def test_agrees_with_a_loop_over_the_formulas(rule, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(90, rate=0.3, seed=1, dim=10)
    label = pairs.label % 3
    label[::9] = -1
    pairs = replace(pairs, label=label, group=np.arange(90) // 2)
    fold = folds_of(pairs.group, 3, np.random.default_rng(5))
    expected = scores_by_loops(*probabilities_by_loops(pairs, fold, 0.5), rule)
    found = Agreement(rule=rule, folds=3, ridge=0.5, seed=5)(pairs)
    # A probability within rounding of the threshold may fall on either side.
    close = np.isclose(found, expected, atol=1e-4)
    assert close.mean() > 0.97


def test_judges_pairs_without_a_label(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(600, rate=0.3, seed=2)
    label = pairs.label.copy()
    label[::2] = -1
    scores = Agreement()(replace(pairs, label=label))
    assert roc_auc_score(clean[::2], scores[::2]) > 0.85


def test_makes_classes_where_none_are_given(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(600, rate=0.3, seed=2)
    for label in (None, np.full(600, -1)):
        bare = replace(pairs, label=label)
        assert roc_auc_score(clean, Agreement()(bare)) > 0.9
        np.testing.assert_array_equal(Agreement(seed=3)(bare), Agreement(seed=3)(bare))


def test_made_classes_are_clusters_of_both_sides_in_turn(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(300, rate=0.3, seed=2)
    by_side = [
        Agreement()(replace(pairs, label=KMeans(30, n_init=1, random_state=0).fit_predict(side)))
        for side in (pairs.media_vec, pairs.text_vec)
    ]
    assert abs(by_side[0] - by_side[1]).max() > 0.1
    found = Agreement()(replace(pairs, label=None))
    np.testing.assert_allclose(found, (by_side[0] + by_side[1]) / 2, atol=1e-6)


def test_pairs_that_pass_the_filter_are_above_those_that_do_not(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(800, rate=0.4, seed=3)
    scores = Agreement(rule="filter")(pairs)
    kept = scores > 0.5
    assert 0.1 < kept.mean() < 0.6
    assert clean[kept].mean() > clean.mean() + 0.2


def test_auto_weighs_where_the_views_agree_by_chance_only(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(500, rate=0.0, seed=4)
    noise = np.random.default_rng(0).normal(size=pairs.text_vec.shape).astype(np.float32)
    deaf = replace(pairs, text_vec=noise / np.linalg.norm(noise, axis=1, keepdims=True))
    for batch, rule in ((pairs, "filter"), (deaf, "weigh")):
        np.testing.assert_array_equal(Agreement(rule="auto")(batch), Agreement(rule=rule)(batch))


def test_agreement_beyond_chance_is_cohens_kappa():
    judged = _Judged(200)
    p1, p2 = np.random.default_rng(0).dirichlet(np.ones(4) / 2, (2, 200)).astype(np.float32)
    p2[:120] = p1[:120]
    judged.add(np.arange(200), *(np.maximum(p, 1e-6) for p in (p1, p2)))
    expected = cohen_kappa_score(p1.argmax(axis=1), p2.argmax(axis=1))
    assert judged.kappa(4) == pytest.approx(expected)


def test_cannot_tell_below_two_groups_a_fold_or_two_classes(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    np.testing.assert_array_equal(Agreement()(replace(pairs, group=np.arange(60) % 9)), 0.5)
    np.testing.assert_array_equal(Agreement()(replace(pairs, label=np.zeros(60, np.int64))), 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": "or"},
        {"least_agreement": 2.0},
        {"clusters": 1},
        {"min_count": 0},
        {"folds": 1},
        {"ridge": 0.0},
    ],
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Agreement(**wrong)
