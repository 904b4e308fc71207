"""Self-check: the other texts of the same generator about the same medium, and only those."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.assessors import CrossCheck, SelfCheck


def test_is_cross_check_with_its_own_other_texts_for_evidence(drafts):
    generator = ["painter" if row % 3 else "poet" for row in range(len(drafts))]
    drafts = replace(drafts, generator=generator)
    evidence = []
    for row in range(len(drafts)):
        samples = [
            drafts.texts[other]
            for other in range(len(drafts))
            if other != row and drafts.own[other] == drafts.own[row] and generator[other] == generator[row]
        ]
        evidence.append([samples])
    expected = CrossCheck()(replace(drafts, evidence=evidence))
    found = SelfCheck()(drafts)
    np.testing.assert_array_equal(found.score, expected.score)
    for one, other in zip(found.per_phrase, expected.per_phrase, strict=True):
        np.testing.assert_array_equal(one, other)


def test_does_not_read_what_others_said(drafts):
    mute = replace(drafts, evidence=[()] * len(drafts))
    np.testing.assert_array_equal(SelfCheck()(mute).score, SelfCheck()(drafts).score)


def test_a_text_that_its_generator_repeats_is_fully_supported_by_meaning(drafts, take_rows):
    again = take_rows(drafts, [0, 0, 1])
    found = SelfCheck(distances=("embedding",))(replace(again, texts=[*again.texts[:2], "A drum."])).score
    np.testing.assert_allclose(found[:2], 1, atol=1e-6)
    assert np.isnan(found[2])  # the only text about its medium


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_smoothing_reaches_the_distance(smoothing, drafts):
    found = SelfCheck(distances=("surprisal",), smoothing=smoothing)(drafts).score
    assert not np.allclose(found, SelfCheck(distances=("surprisal",))(drafts).score)
