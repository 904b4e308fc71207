"""Language: sure or silent."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.assessors import LanguageId

ENGLISH = "A little girl with a red umbrella is walking through the rain with her dog."
GERMAN = "Ein kleines Mädchen mit einem roten Regenschirm geht mit ihrem Hund durch den Regen."
NORWEGIAN = (
    "En liten jente med rød paraply går gjennom regnet sammen med hunden sin, og hun ser ikke trist ut."
)


def judged(drafts, take_rows, texts, languages, **params):
    few = take_rows(drafts, np.zeros(len(texts), dtype=np.int64))
    few = replace(few, texts=texts, phrases=[[text] for text in texts], language=languages)
    return LanguageId(**params)(few).score


def test_tells_the_wanted_language_from_another(drafts, take_rows):
    found = judged(drafts, take_rows, [ENGLISH, GERMAN, ENGLISH, GERMAN], ["en", "de-AT", "de", "en"])
    np.testing.assert_allclose(found, [1, 1, 0, 0], atol=0.05)


def test_keeps_silent_about_two_words_unless_their_letters_tell(drafts, take_rows):
    found = judged(drafts, take_rows, ["A frog.", "カエル", "A dog!"], ["en", "en", "de"])
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == pytest.approx(0, abs=0.05)


def test_a_choice_of_few_languages_judges_shorter_texts(drafts, take_rows):
    text, wanted = ["Ein roter Hund mit Ball"], ["en"]
    assert np.isnan(judged(drafts, take_rows, text, wanted))
    assert judged(drafts, take_rows, text, wanted, among=("en", "de"))[0] < 0.1
    assert judged(drafts, take_rows, text, ["de"], among=("en", "de"))[0] > 0.9


def test_a_choice_leaves_later_calls_alone(drafts, take_rows):
    before = judged(drafts, take_rows, [ENGLISH, GERMAN], ["en", "de"])
    judged(drafts, take_rows, [ENGLISH], ["en"], among=("en", "fr"))
    np.testing.assert_array_equal(judged(drafts, take_rows, [ENGLISH, GERMAN], ["en", "de"]), before)


def test_norwegian_has_several_names(drafts, take_rows):
    found = judged(drafts, take_rows, [NORWEGIAN] * 3, ["nb", "no", "nn"])
    np.testing.assert_allclose(found, 1, atol=0.1)


@pytest.mark.parametrize("language", ["und", "", "tlh"])
def test_cannot_tell_a_language_that_is_unknown(language, drafts, take_rows):
    assert np.isnan(judged(drafts, take_rows, [ENGLISH], [language]))


def test_takes_texts_without_a_letter(drafts, take_rows):
    assert np.isnan(judged(drafts, take_rows, ["", "42", "\u2013 !"], ["en"] * 3)).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sure": 0}, r"sure must be in \(0, 1\], found 0"),
        ({"among": ("en", "tlh")}, "'tlh', which the detector does not know"),
        ({"among": ("en", "en-GB")}, "two languages or more"),
    ],
)
def test_refuses_parameters_out_of_range(params, message):
    with pytest.raises(ValueError, match=message):
        LanguageId(**params)
