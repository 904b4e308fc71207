"""Closed-form classifiers: against scikit-learn, and that none judges what taught it."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from schemas.batch import PairBatch
from tasks.noise._classes import entropy, fit_classifier, frequent_classes, held_out_probabilities


@pytest.fixture
def vectors() -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(120, 9)) * np.linspace(0.2, 3, 9)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_agrees_with_ridge_regression_onto_one_hot_classes(vectors):
    classes = (vectors[:, 8] > 0).astype(int) + (vectors[:, 7] > 0)
    rows = np.arange(5, 115)
    scale = np.sqrt(vectors[rows].var(axis=0) + 0.01 * vectors[rows].var(axis=0).mean() + 1e-6)
    x = (vectors - vectors[rows].mean(axis=0)) / scale
    ridge = Ridge(alpha=0.7 * len(rows)).fit(x[rows], np.eye(3)[classes[rows]])
    expected = np.clip(ridge.predict(x), 0, None) + 1e-6
    expected /= expected.sum(axis=1, keepdims=True)
    found = fit_classifier(vectors, rows, classes[rows], count=3, ridge=0.7)(vectors)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_rows_are_judged_by_classifiers_that_never_saw_them(vectors):
    rng = np.random.default_rng(1)
    classes = rng.integers(-1, 3, 120)
    fold = rng.integers(0, 4, 120)
    fold[:6] = -1
    # A row's class and vectors have no say in its own judgement.
    pairs = PairBatch(vectors, vectors[:, ::-1].copy(), common=False)

    def judged(taught):
        found = np.full((120, 2, 3), np.nan)
        for rows, by_media, by_text in held_out_probabilities(pairs, taught, fold, count=3, ridge=1.0):
            found[rows] = np.stack([by_media, by_text], axis=1)
        return found

    before = judged(classes)
    changed = classes.copy()
    changed[fold == 2] = rng.permutation(changed[fold == 2])
    after = judged(changed)
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert not np.allclose(before[fold == 1], after[fold == 1])
    assert np.isnan(before[:6]).all()
    for held_out in range(4):
        training = np.flatnonzero((classes >= 0) & (fold != held_out))
        for view, side in enumerate((pairs.media_vec, pairs.text_vec)):
            alone = fit_classifier(side, training, classes[training], count=3, ridge=1.0)
            np.testing.assert_allclose(
                before[fold == held_out, view], alone(side[fold == held_out]), atol=1e-6
            )


def test_rare_classes_are_none():
    classes, count = frequent_classes(np.array([7, 7, 7, -1, -1, -1, 9, 2, 2, 2, 2]), 3)
    assert count == 2
    np.testing.assert_array_equal(classes, [1, 1, 1, -1, -1, -1, -1, 0, 0, 0, 0])


def test_entropy_of_certainty_is_0_and_of_ignorance_log_c():
    found = entropy(np.float32([[0.25] * 4, [1 - 3e-7, 1e-7, 1e-7, 1e-7]]))
    np.testing.assert_allclose(found, [np.log(4), 0], atol=1e-5)
