"""Token heads: what is trained on pairs, what backbones give, and that both keep their word."""

import numpy as np
import pytest

from schemas.errors import DataError
from tasks.encoders._lite_features import image_views, text_features
from tasks.late import MaxSim, Tokens
from tasks.late._features import image_tokens, regions, text_tokens
from tasks.late._token_heads import Lesson, TokenHeads


def things(count, seed=0, kinds=12, dim=10):
    """Media of three parts and texts of two words: a medium and its text hold two things of twelve in common."""
    rng = np.random.default_rng(seed)
    seen, said = rng.normal(size=(kinds, dim)), rng.normal(size=(kinds, dim + 2))
    shown = np.stack([rng.choice(kinds, 2, replace=False) for _ in range(count)])
    clutter = rng.normal(size=(count, 1, dim))
    media = np.concatenate([seen[shown], clutter], axis=1) + 0.1 * rng.normal(size=(count, 3, dim))
    texts = [said[row] + 0.1 * rng.normal(size=(2, dim + 2)) for row in shown]
    return media.astype(np.float32), [text.astype(np.float32) for text in texts]


LESSON = Lesson(width=16, epochs=30, batch=32, rate=1e-2)


def found_first(heads, media, texts):
    pictures = Tokens(heads.media(media), np.ones(media.shape[:2], bool))
    return np.mean([MaxSim()(heads.text(text), pictures).argmax() == row for row, text in enumerate(texts)])


def test_heads_learn_which_words_name_which_parts():
    media, texts = things(260)
    heads = LESSON(media[:200], texts[:200])
    untrained = Lesson(width=16, epochs=1, batch=200, rate=1e-9)(media[:200], texts[:200])
    learnt, chance = (found_first(h, media[200:], texts[200:]) for h in (heads, untrained))
    assert learnt > 0.5 > 0.2 > chance


@pytest.mark.parametrize("compare", ["late", "pooled"])
def test_the_same_lesson_gives_the_same_heads(compare):
    media, texts = things(64)
    lesson = Lesson(compare=compare, width=4, epochs=2, batch=32, seed=3)
    once, again = lesson(media, texts), lesson(media, texts)
    for name, values in once.state().items():
        np.testing.assert_array_equal(values, again.state()[name])
        assert values.dtype == np.float32


def test_heads_survive_being_kept():
    media, texts = things(40)
    heads = Lesson(width=4, epochs=1, batch=20)(media, texts)
    np.testing.assert_array_equal(TokenHeads.from_state(heads.state()).media(media), heads.media(media))
    np.testing.assert_allclose(np.linalg.norm(heads.text(texts[0]), axis=1), 1, atol=1e-6)
    with pytest.raises(DataError, match="text_map"):
        TokenHeads.from_state({name: v for name, v in heads.state().items() if name != "text_map"})


def test_lengths_of_texts_may_differ_and_padding_teaches_nothing():
    media, texts = things(40)
    lesson = Lesson(width=4, epochs=2, batch=40)
    shorter = [text[: 1 + row % 2] for row, text in enumerate(texts)]
    before = lesson(media, shorter)
    padded = lesson(media, [*shorter[:-1], shorter[-1]])
    np.testing.assert_array_equal(before.text_map, padded.text_map)
    assert not np.array_equal(before.text_map, lesson(media, texts).text_map)


@pytest.mark.parametrize(
    "wrong", [{"compare": "both"}, {"width": 0}, {"batch": 1}, {"rate": 0}, {"decay": -1}, {"temperature": 0}]
)
def test_a_lesson_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Lesson(**wrong)


def test_a_lesson_needs_two_pairs():
    media, texts = things(3)
    with pytest.raises(DataError, match="at least 2"):
        Lesson()(media[:1], texts[:1])
    with pytest.raises(DataError, match="at least 2"):
        Lesson()(media, texts[:2])


def test_tokens_of_a_picture_average_to_its_pooled_features():
    pictures = [np.random.default_rng(n).integers(0, 256, (40, 60, 3), dtype=np.uint8) for n in range(2)]
    cells = image_tokens(pictures)
    assert cells.shape == (2, 49, 1280)
    np.testing.assert_allclose(cells.mean(axis=1), image_views(pictures)[0], atol=1e-4)
    np.testing.assert_allclose(regions(cells, 1)[:, 0], cells.mean(axis=1), atol=1e-5)
    np.testing.assert_array_equal(regions(cells, 7), cells)


def test_regions_cover_the_map_where_they_are():
    cells = np.arange(49, dtype=np.float32).reshape(1, 49, 1)
    found = regions(cells, 3)[0, :, 0].reshape(3, 3)
    for row, rows in enumerate((range(0, 3), range(2, 5), range(4, 7))):
        for column, columns in enumerate((range(0, 3), range(2, 5), range(4, 7))):
            assert found[row, column] == np.mean([7 * r + c for r in rows for c in columns])
    with pytest.raises(ValueError, match="8 x 8"):
        regions(cells, 8)


def test_tokens_of_a_text_are_its_words_and_not_its_marks():
    texts = ["a red fox", "", "a red fox jumps over the lazy dog " * 9]
    tokens = text_tokens(texts, max_tokens=32)
    assert [len(one) for one in tokens] == [3, 1, 30]
    assert tokens[0].shape[1] == 384
    np.testing.assert_allclose(text_tokens(["a red fox"])[0], tokens[0], atol=1e-5)  # whatever else is read
    near = tokens[0].mean(axis=0) @ text_features(["a red fox"])[0] / np.linalg.norm(tokens[0].mean(axis=0))
    assert near > 0.9
