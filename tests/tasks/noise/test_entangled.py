"""Entangled scores: against a loop over the formulas, and what classes they need."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from schemas.errors import DataError
from tasks.noise import Entangled
from tasks.noise._classes import fit_classifier
from tasks.noise._groups import folds_of


def scores_by_loops(pairs, fold, *, keep, caution, ridge):
    c = len(set(pairs.label.tolist()))
    label_confidence, prediction_confidence = {}, {}
    for i in range(len(pairs)):
        train = np.flatnonzero(fold != fold[i])
        p_media, p_text = (
            fit_classifier(side, train, pairs.label[train], count=c, ridge=ridge)(side[[i]])[0]
            for side in (pairs.media_vec, pairs.text_vec)
        )
        certain = [1 + sum(float(p) * np.log(p) for p in view) / np.log(c) for view in (p_media, p_text)]
        on_media, on_text = p_media[pairs.label[i]], p_text[pairs.label[i]]
        label_confidence[i] = (on_text + on_text * on_media) / 2
        prediction_confidence[i] = (certain[1] + certain[1] * certain[0]) / 2
    scores = []
    for i in range(len(pairs)):
        of_class = sorted(label_confidence[j] for j in range(len(pairs)) if pairs.label[j] == pairs.label[i])
        at = (len(of_class) - 1) * (1 - keep)  # linear between neighbours
        low = of_class[int(at)]
        least = low + (at - int(at)) * (of_class[min(int(at) + 1, len(of_class) - 1)] - low)
        weight = min(label_confidence[i] / least, 1)
        scores.append(weight * ((1 - caution) + caution * prediction_confidence[i]))
    return np.array(scores)


@pytest.mark.parametrize("caution", [0.0, 0.6])
def test_agrees_with_a_loop_over_the_formulas(caution, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(90, rate=0.3, seed=1, dim=10)
    pairs = replace(pairs, label=pairs.label % 3, group=np.arange(90) // 2)
    fold = folds_of(pairs.group, 3, np.random.default_rng(5))
    method = Entangled(keep=0.4, caution=caution, folds=3, ridge=0.5, seed=5)
    expected = scores_by_loops(pairs, fold, keep=0.4, caution=caution, ridge=0.5)
    np.testing.assert_allclose(method(pairs), expected, atol=1e-4)


def test_pairs_without_a_class_and_of_rare_classes_cannot_be_told(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(200, rate=0.3, seed=2)
    label = pairs.label.copy()
    label[:20] = -1
    label[20:25] = 99
    scores = Entangled()(replace(pairs, label=label))
    np.testing.assert_array_equal(scores[:25], 0.5)
    # They teach nothing either: whatever they are, the others' scores stay.
    swapped = replace(pairs, label=label, media_vec=np.r_[pairs.media_vec[:25][::-1], pairs.media_vec[25:]])
    np.testing.assert_array_equal(Entangled()(swapped), scores)


def test_no_class_at_all_is_an_error(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(50, rate=0.3, seed=2)
    for label in (None, np.full(50, -1)):
        with pytest.raises(DataError, match="needs classes.*'agreement'"):
            Entangled()(replace(pairs, label=label))


def test_one_class_tells_nothing(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(100, rate=0.3, seed=2)
    np.testing.assert_array_equal(Entangled()(replace(pairs, label=np.zeros(100, np.int64))), 0.5)


def test_a_share_of_every_class_weighs_1(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(600, rate=0.3, seed=3)
    scores = Entangled(keep=0.25)(pairs)
    for label in np.unique(pairs.label):
        of_class = pairs.label == label
        assert (scores[of_class] == 1).mean() == pytest.approx(0.25, abs=1.5 / of_class.sum())
    assert clean[scores == 1].mean() > clean.mean() + 0.2


def test_finds_texts_of_another_class_and_not_of_the_same(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(800, rate=0.4, seed=4)
    of_text = pairs.label[pairs.text_key]
    elsewhere, within = clean | (of_text != pairs.label), clean | (of_text == pairs.label)
    scores = Entangled()(pairs)
    assert roc_auc_score(clean[elsewhere], scores[elsewhere]) > 0.85
    assert 0.35 < roc_auc_score(clean[within], scores[within]) < 0.65


@pytest.mark.parametrize(
    "wrong", [{"keep": 0.0}, {"caution": 1.5}, {"min_count": 0}, {"folds": 1}, {"ridge": 0.0}]
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Entangled(**wrong)
