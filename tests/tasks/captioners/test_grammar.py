"""Sentences: English checked word by word by a person, and that statements are in them."""

import json

import pytest

from tasks.captioners._classes import NAMES
from tasks.captioners._grammar import LINE_DRAWING, Part, Seen, article, countable, plural, say

APPLE = Part("apple", 0.8)
RED, WHITE = Part("red", 0.7), Part("white", 0.5)


def texts(seen: Seen) -> set[str]:
    return {say(seen, f"m{n}", 0)[0] for n in range(400)}


def test_a_thing_in_a_photo():
    seen = Seen(thing=APPLE, colours=(RED,), style="photo", style_confidence=0.9)
    assert texts(seen) == {"a red apple", "a photo of a red apple", "a red apple in a photo"}


def test_things_in_a_drawing():
    seen = Seen(thing=APPLE, colours=(RED, WHITE), count=2, count_confidence=0.7, style="drawing")
    assert texts(seen) == {
        "a drawing of two red and white apples",
        "two red and white apples, drawn",
        "two red and white apples in a drawing",
    }


def test_colours_of_nothing_known():
    seen = Seen(colours=(Part("orange", 0.7),), style="icon", style_confidence=0.9)
    assert texts(seen) == {"an orange icon", "an icon in orange"}
    assert texts(Seen(colours=(RED,), count=3)) == {
        "three red things",
        "a picture of three red things",
        "three red things in a picture",
    }


def test_a_line_drawing():
    assert texts(Seen(style="line drawing", style_confidence=0.8)) == {f"a {LINE_DRAWING}"}
    assert f"an apple as a {LINE_DRAWING}" in texts(Seen(thing=APPLE, style="line drawing"))


def test_background_and_writing():
    seen = Seen(thing=APPLE, background=Part("orange", 0.9), writing=Part("SALE {}", 0.9))
    found = texts(seen)
    assert len(found) == 27  # three forms of each part
    assert 'an apple on an orange background with the words "SALE {}"' in found
    assert 'an apple, the background orange, which reads "SALE {}"' in found


def test_says_no_colour_twice_and_nothing_of_a_style_alone():
    assert "an orange" in texts(Seen(thing=Part("orange", 0.9), colours=(Part("orange", 0.9),)))
    assert say(Seen(style="photo", style_confidence=0.9), "m", 0) == ("", ())
    assert say(Seen(), "m", 0) == ("", ())


def test_shape_comes_before_colour():
    seen = Seen(thing=Part("tower", 0.9), colours=(RED,), shape=Part("tall", 0.8))
    assert "a tall red tower" in texts(seen)


@pytest.mark.parametrize("style", ["photo", "drawing", "icon", "line drawing", ""])
@pytest.mark.parametrize("thing", [None, APPLE, Part("bread", 0.9), Part("pair of jeans", 0.9)])
@pytest.mark.parametrize("count", [0, 2, 6])
def test_statements_stand_in_the_text_in_order(style, thing, count):
    seen = Seen(
        thing=thing,
        colours=(RED, WHITE),
        count=count,
        count_confidence=0.7,
        shape=Part("wide", 0.8) if thing else None,
        style=style,
        style_confidence=0.9,
        background=Part("blue", 0.9),
        writing=Part("HELLO", 0.95),
    )
    for n in range(20):
        text, statements = say(seen, f"m{n}", 0)
        places = []
        start = 0
        for statement in statements:
            places.append(text.index(statement.text, start))
            start = places[-1] + len(statement.text)
        assert places == sorted(places)
        assert {s.kind for s in statements} >= {"colour", "writing"}
        assert ("object" in {s.kind for s in statements}) == (thing is not None)
        assert "  " not in text
        assert "{" not in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("apple", "an"), ("umbrella", "an"), ("hourglass", "an"), ("uniform", "a"), ("unicycle", "a"),
        ("European fire salamander", "a"), ("utensil", "a"), ("house", "a"), ("ice cream", "an"), ("iPod", "an"),
        ("upright", "an"), ("orange cat", "an"), ("one-way sign", "a"), ("Egyptian cat", "an"),
    ],
)  # fmt: skip
def test_articles(words, expected):
    assert article(words) == expected


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("apple", "apples"), ("box", "boxes"), ("church", "churches"), ("dish", "dishes"), ("mouse", "mice"),
        ("computer mouse", "computer mice"), ("goose", "geese"), ("sheep", "sheep"), ("reef fish", "reef fish"),
        ("fly", "flies"), ("monkey", "monkeys"), ("toy", "toys"), ("bus", "buses"), ("fireman", "firemen"),
        ("pair of jeans", "pairs of jeans"), ("piece of furniture", "pieces of furniture"), ("piano", "pianos"),
        ("volcano", "volcanoes"), ("radio", "radios"), ("timber wolf", "timber wolves"), ("wooden spoon", "wooden spoons"),
        ("loaf of bread", "loaves of bread"), ("person", "people"), ("parallel bars", "parallel bars"),
        ("sunglass", "sunglasses"), ("watch", "watches"), ("flamingo", "flamingos"), ("jellyfish", "jellyfish"),
    ],
)  # fmt: skip
def test_plurals(noun, expected):
    assert plural(noun) == expected


def test_every_word_for_a_thing_makes_a_sentence():
    table = json.loads(NAMES.read_text(encoding="utf-8"))
    words = {name for _, name, _ in table["classes"]} | {name for _, name in table["hypernyms"]}
    for word in sorted(words):
        text, statements = say(Seen(thing=Part(word, 0.9), count=2, count_confidence=0.7), "m", 0)
        assert word == " ".join(word.split())
        said = next(s.text for s in statements if s.kind == "object")
        assert said in text
        assert said == (plural(word) if countable(word) else word)
