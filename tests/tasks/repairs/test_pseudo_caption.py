"""Texts of like media: against a loop over all clean pairs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from tasks.repairs import PseudoCaption


def run(method, case):
    return method(case.pairs, case.clean, case.pairs.media_vec, case.pairs.text_vec)


def test_proposes_the_text_whose_medium_agrees_best_in_pseudo_classes(make_exchanged):
    case = make_exchanged(120, rate=0.3, seed=0)
    method = PseudoCaption(classes=6, least=0.9)
    media = case.pairs.media_vec
    trusted = np.flatnonzero(case.clean >= 0.5)
    centres = method._centres(media[trusted])
    assert centres.shape == (6, media.shape[1])
    share = softmax(media @ centres.T / 0.1, axis=1).astype(float)

    expected = {}
    for i in np.flatnonzero(case.clean < 0.5):
        agrees = {
            j: share[i] @ share[j] / (np.linalg.norm(share[i]) * np.linalg.norm(share[j])) for j in trusted
        }
        best = max(agrees, key=agrees.__getitem__)
        if agrees[best] >= 0.9:
            expected[i] = agrees[best]
    proposals = run(method, case)
    assert proposals.row.tolist() == list(expected)
    np.testing.assert_allclose(proposals.confidence, list(expected.values()), atol=1e-5)


def test_texts_come_from_clean_pairs_only(make_exchanged):
    case = make_exchanged(200, rate=0.4, seed=1)
    clean = case.clean.copy()
    clean[::3] = 0.6  # doubtful: neither in need of a text nor fit to give one
    proposals = run(PseudoCaption(clean_above=0.8), replace(case, clean=clean))
    assert len(proposals.row) > 0
    assert (clean[proposals.text_from] >= 0.8).all()
    assert (clean[proposals.row] < 0.5).all()


def test_a_medium_unlike_all_others_gets_no_text(make_exchanged):
    case = make_exchanged(100, rate=0.3, seed=2, topics=4)
    vectors = case.pairs.media_vec.copy()
    noisy = np.flatnonzero(case.clean < 0.5)[0]
    centre = vectors[case.clean > 0.5]
    # Opposite to everything, so about as far from all centres: its classes are spread where others' are sharp.
    vectors[noisy] = -centre.mean(axis=0) / np.linalg.norm(centre.mean(axis=0))
    proposals = PseudoCaption(classes=4, least=0.9)(case.pairs, case.clean, vectors, case.pairs.text_vec)
    assert noisy not in proposals.row
    assert len(proposals.row) > 20


def test_fewer_clean_media_than_classes_are_taken(make_exchanged):
    case = make_exchanged(10, rate=0.5, seed=3)
    assert len(run(PseudoCaption(least=0.0), case).row) == 5


@pytest.mark.parametrize(
    "wrong", [{"classes": 0}, {"temperature": 0.0}, {"least": 1.5}, {"clean_above": 0.3}]
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        PseudoCaption(**wrong)
