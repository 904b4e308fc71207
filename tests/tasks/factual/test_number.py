import pytest

from tasks.factual.number import article, can_be_many, can_be_one, is_plural, plural, singular


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("frog", "frogs"),
        ("cherry", "cherries"),
        ("box", "boxes"),
        ("bus", "buses"),
        ("glass", "glasses"),
        ("leaf", "leaves"),
        ("wolf", "wolves"),
        ("man", "men"),
        ("fireman", "firemen"),
        ("child", "children"),
        ("mouse", "mice"),
        ("foot", "feet"),
        ("potato", "potatoes"),
        ("t-shirt", "t-shirts"),
        ("house", "houses"),
    ],
)
def test_knows_one_from_many(one, many):
    assert plural(one) == many
    if many != "glasses":  # spectacles as often
        assert singular(many) == one
        assert is_plural(many) and can_be_many(many) and not can_be_one(many)
    assert singular(one) == one
    assert can_be_one(one) and not can_be_many(one)


@pytest.mark.parametrize(
    "word", ["bus", "lens", "gas", "iris", "cactus", "walrus", "dress", "tennis", "canvas", "specimen", "is"]
)
def test_a_singular_that_ends_like_a_plural_stays(word):
    assert singular(word) == word
    assert not is_plural(word)


@pytest.mark.parametrize("word", ["pants", "scissors", "glasses", "jeans"])
def test_what_only_has_a_plural_keeps_it(word):
    assert singular(word) == plural(word) == word
    assert is_plural(word)


@pytest.mark.parametrize("word", ["sheep", "fish", "deer"])
def test_what_is_alike_in_both_can_be_one_and_many(word):
    assert singular(word) == plural(word) == word
    assert can_be_one(word) and can_be_many(word)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("apple", "an"),
        ("hour", "an"),
        ("university", "a"),
        ("one", "a"),
        ("SVG", "an"),
        ("8", "an"),
        ("11", "an"),
        ("80", "an"),
        ("18", "an"),
        ("1", "a"),
        ("110", "a"),
        ("", "a"),
        ("“", "a"),
    ],
)
def test_the_article_goes_by_the_sound(word, expected):
    assert article(word) == expected
