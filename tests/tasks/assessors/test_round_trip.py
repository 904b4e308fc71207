"""Round trip: against a sorted gallery, ties and duplicates against the text."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.assessors import RoundTrip


def rank_by_sorting(drafts, row):
    """Worst place of the own medium among equals."""
    vector = drafts.encode([drafts.texts[row]])[0].astype(float)
    fits = [(vector @ medium.astype(float)) for medium in drafts.gallery_vec]
    order = sorted(range(len(fits)), key=lambda at: (-round(fits[at], 6), at == drafts.own[row]))
    return order.index(drafts.own[row]) + 1


@pytest.mark.parametrize("k", [1, 3])
def test_agrees_with_the_place_in_a_sorted_gallery(k, drafts):
    expected = [min(1, k / rank_by_sorting(drafts, row)) for row in range(len(drafts))]
    found = RoundTrip(k=k)(drafts).score
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(set(found.tolist())) > 3


def test_a_copy_of_the_medium_is_a_rival_that_stands_first(drafts, take_rows):
    true = drafts.encode([drafts.evidence[0][0][0]])
    one = take_rows(drafts, [0])
    copies = np.concatenate([one.media_vec] * 3 + [-one.media_vec])
    one = replace(one, gallery_vec=copies, own=np.array([0]), encode=lambda _: true)
    assert RoundTrip()(one).score[0] == pytest.approx(1 / 3)
    assert RoundTrip(k=3)(one).score[0] == 1


def test_an_encoder_that_says_the_same_of_everything_finds_nothing(drafts):
    blind = replace(drafts, encode=lambda texts: np.zeros((len(texts), 64), dtype=np.float32))
    np.testing.assert_allclose(RoundTrip()(blind).score, 1 / len(drafts.gallery_vec))


def test_refuses_k_under_1():
    with pytest.raises(ValueError, match="k must be at least 1, found 0"):
        RoundTrip(k=0)
