"""Novelty: by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.assessors import Novelty


def about(drafts, take_rows, texts, raw):
    few = take_rows(drafts, np.arange(len(texts)))
    return replace(few, texts=texts, phrases=[[text] for text in texts], raw=raw)


def test_counts_words_that_no_raw_text_has(drafts, take_rows):
    texts = ["A red dog on the mat.", "A dog.", "Two dogs!", "of the", "A RED dog"]
    raw = [["dog", "The mat"], ["The dog."], ["dog"], ["dog"], []]
    found = Novelty(by="words")(about(drafts, take_rows, texts, raw)).score
    # red of red, dog, mat; nothing; "dogs" is another word and so is "two"; no content; no raw text
    np.testing.assert_allclose(found, [1 / 3, 0, 1, 0, 1], rtol=1e-6)


def test_is_one_less_the_nearest_raw_text(drafts, take_rows):
    texts = ["A red dog.", "A red dog.", "A red dog."]
    raw = [["A dog.", "A clock."], ["A red dog."], ["  "]]
    vectors = drafts.encode(["A red dog.", "A dog.", "A clock."]).astype(float)
    nearest = max(vectors[0] @ vectors[1], vectors[0] @ vectors[2])
    found = Novelty()(about(drafts, take_rows, texts, raw)).score
    np.testing.assert_allclose(found, [1 - nearest, 0, 1], atol=1e-6)
    assert 0.1 < found[0] < 0.9


def test_opposite_meanings_are_new_and_no_more_than_that(drafts, take_rows):
    def encode(texts):
        return np.array([[1.0, 0.0] if text == "up" else [-1.0, 0.0] for text in texts], dtype=np.float32)

    one = replace(about(drafts, take_rows, ["up"], [["down"]]), encode=encode)
    assert Novelty()(one).score[0] == 1


def test_refuses_another_measure():
    with pytest.raises(ValueError, match="'embedding' or 'words', found 'letters'"):
        Novelty(by="letters")
