"""Flip: against a loop over negatives."""

from dataclasses import replace

import numpy as np

from tasks.assessors import Flip


def test_agrees_with_a_loop_over_negatives(drafts):
    expected = []
    for row, text in enumerate(drafts.texts):
        mine = float(drafts.encode([text])[0] @ drafts.media_vec[row])
        against = [
            float(drafts.encode([wrong])[0] @ drafts.media_vec[row]) for wrong in drafts.negatives[row]
        ]
        expected.append(sum(one < mine for one in against) / len(against))
    found = Flip()(drafts)
    np.testing.assert_allclose(found.score, expected, rtol=1e-6)
    assert found.per_phrase is None
    assert 0 < np.mean(expected) < 1


def test_a_negative_that_fits_as_well_is_not_beaten(drafts, take_rows):
    one = take_rows(drafts, [0])
    true = one.evidence[0][0][0]
    one = replace(one, texts=[true], negatives=[[true, "A drum."]])
    assert Flip()(one).score[0] == 0.5


def test_cannot_tell_without_negatives(drafts):
    some = replace(drafts, negatives=[[], *drafts.negatives[1:]])
    found = Flip()(some).score
    assert np.isnan(found[0])
    np.testing.assert_array_equal(found[1:], Flip()(drafts).score[1:])
