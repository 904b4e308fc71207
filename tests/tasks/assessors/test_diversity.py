"""Diversity: templates and n-grams, by hand and against a set."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.assessors import Diversity
from tasks.assessors.diversity import _contributions, distinct_n, templates

FIXED = [f"A drawing of a {thing}." for thing in ("dog", "red cat", "very big house", "tree", "car", "boat")]
FREE = ["Dog asleep on its mat", "Two cats", "My house at dusk", "An oak"]


def saying(drafts, take_rows, texts):
    few = take_rows(drafts, np.zeros(len(texts), dtype=np.int64))
    return replace(few, texts=texts, phrases=[[text] for text in texts])


def test_a_template_over_its_quota_scores_quota_by_share(drafts, take_rows):
    found = Diversity(quota=0.3)(saying(drafts, take_rows, FIXED + FREE)).score
    np.testing.assert_allclose(found, [0.3 / 0.6] * 6 + [1] * 4, rtol=1e-6)


def test_a_template_within_its_quota_scores_1(drafts, take_rows):
    assert (Diversity(quota=0.6)(saying(drafts, take_rows, FIXED + FREE)).score == 1).all()


def test_words_in_many_texts_are_kept_and_runs_of_others_are_one_slot():
    assert templates(FIXED, 3) == ["a drawing of a _"] * 6
    assert templates(FREE, 1) == ["_"] * 4
    assert templates(["red red dog", "red red cat"], 1) == ["red red _"] * 2
    assert templates(["", "..."], 1) == ["", ""]


def test_texts_of_unlike_words_share_no_template(drafts, take_rows):
    texts = [f"word{i} other{i}" for i in range(50)]
    assert (Diversity(quota=0.1)(saying(drafts, take_rows, texts)).score == 1).all()


def test_a_lone_text_is_within_any_quota(drafts, take_rows):
    assert Diversity(quota=0.01)(saying(drafts, take_rows, ["A dog."])).score[0] == 1


def test_any_language_has_templates(drafts, take_rows):
    texts = [f"Это рисунок: {thing}" for thing in ("кот", "дом", "пёс", "лес")] + ["猫です", "犬"]
    found = Diversity(quota=0.5)(saying(drafts, take_rows, texts)).score
    np.testing.assert_allclose(found, [3 / 4] * 4 + [1, 1], rtol=1e-6)


def test_distinct_n_by_hand():
    texts = ["a dog", "a cat", "a dog"]
    assert distinct_n(texts, 1) == 3 / 6
    assert distinct_n(texts, 2) == 2 / 3
    assert np.isnan(distinct_n(texts, 3))
    assert np.isnan(distinct_n([], 1))
    with pytest.raises(ValueError, match="at least 1, found 0"):
        distinct_n(texts, 0)


def test_contributions_by_hand(drafts, take_rows):
    found = Diversity(by="ngrams", n=2)(saying(drafts, take_rows, ["a dog", "a dog sat", "dog"])).score
    np.testing.assert_allclose(found, [1 / 2, (1 / 2 + 1) / 2, np.nan], rtol=1e-6)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=2, max_size=6).map(" ".join), min_size=1, max_size=12)
)
def test_contributions_average_to_distinct_n(texts):
    sizes = [len(text.split()) - 1 for text in texts]
    assert np.average(_contributions(texts, 2), weights=sizes) == pytest.approx(
        distinct_n(texts, 2), rel=1e-5
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"by": "letters"}, "'template' or 'ngrams', found 'letters'"),
        ({"quota": 0}, r"quota must be in \(0, 1\]"),
        ({"quota": 1.1}, r"quota must be in \(0, 1\]"),
        ({"n": 0}, "n at least 1"),
    ],
)
def test_refuses_parameters_out_of_range(params, message):
    with pytest.raises(ValueError, match=message):
        Diversity(**params)
