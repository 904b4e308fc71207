"""Support: against a count, phrase by phrase and medium by medium."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.assessors import Support
from tasks.assessors import _gallery as gallery_module
from tasks.assessors._gallery import rivals


def support_by_loops(drafts, fold):
    scores, shares = [], []
    for row, phrases in enumerate(drafts.phrases):
        share = []
        for vector in drafts.encode(list(phrases)).astype(float):
            mine = vector @ drafts.media_vec[row].astype(float)
            points = 0.0
            for other, medium in enumerate(drafts.gallery_vec.astype(float)):
                if other != drafts.own[row]:
                    against = vector @ medium
                    points += 0.5 if abs(against - mine) < 1e-6 else float(against < mine)
            share.append(points / (len(drafts.gallery_vec) - 1))
        shares.append(share)
        scores.append(fold(share))
    return scores, shares


@pytest.mark.parametrize(("over", "fold"), [("min", min), ("mean", lambda one: sum(one) / len(one))])
@pytest.mark.parametrize("chunk", [(512, 4096), (7, 11)])
def test_agrees_with_a_count(over, fold, chunk, drafts, monkeypatch):
    monkeypatch.setattr(gallery_module, "_ROWS", chunk[0])
    monkeypatch.setattr(gallery_module, "_COLUMNS", chunk[1])
    phrases = [("dog", "red dog", text)[: 1 + row % 3] for row, text in enumerate(drafts.texts)]
    drafts = replace(drafts, phrases=phrases)
    scores, shares = support_by_loops(drafts, fold)
    found = Support(over=over)(drafts)
    np.testing.assert_allclose(found.score, scores, atol=1e-6)
    for one, other in zip(found.per_phrase, shares, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_media_that_fit_equally_count_half(drafts, take_rows):
    one = take_rows(drafts, [0])
    medium = one.media_vec[0]
    # two copies of its own medium, and one that is its opposite: (1/2 + 1/2 + 1) / 3
    gallery = np.stack([medium, medium, -medium, medium])
    twins = replace(one, phrases=[["red dog"]], gallery_vec=gallery, own=np.array([1]))
    twins = replace(twins, encode=lambda texts: np.repeat(medium[None], len(texts), axis=0))
    assert Support()(twins).score[0] == pytest.approx(2 / 3)


def test_cannot_tell_where_the_gallery_holds_no_other(drafts, take_rows):
    one = take_rows(drafts, [0])
    found = Support()(replace(one, gallery_vec=one.media_vec, own=np.array([0])))
    assert np.isnan(found.score).all()
    assert np.isnan(found.per_phrase[0]).all()


def test_one_wrong_phrase_pulls_the_minimum_down_and_the_mean_less(drafts, take_rows):
    one = take_rows(drafts, [0])
    true = one.raw[0][0].lower().strip(".").split()[-1]
    wrong = next(word for word in ("clock", "drum") if word != true)
    one = replace(one, phrases=[[true, wrong]])
    low, high = Support()(one).score[0], Support(over="mean")(one).score[0]
    assert low == Support()(one).per_phrase[0][1] < high


@pytest.mark.parametrize("chunk", [(3, 5), (1, 1), (100, 100)])
def test_rivals_are_counted_alike_whatever_the_chunks(chunk, monkeypatch):
    rng = np.random.default_rng(0)
    gallery = rng.integers(-1, 2, size=(23, 4)).astype(np.float32)
    text, own = gallery[:17], np.arange(17)
    mine = np.einsum("nd,nd->n", text, gallery[own])
    monkeypatch.setattr(gallery_module, "_ROWS", chunk[0])
    monkeypatch.setattr(gallery_module, "_COLUMNS", chunk[1])
    better, equal = rivals(text, mine, own, gallery)
    for row in range(17):
        others = [float(text[row] @ medium) for at, medium in enumerate(gallery) if at != row]
        assert better[row] == sum(one > mine[row] for one in others)
        assert equal[row] == sum(one == mine[row] for one in others)


def test_refuses_another_fold():
    with pytest.raises(ValueError, match="'min' or 'mean', found 'max'"):
        Support(over="max")
