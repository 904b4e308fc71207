import pytest

from tasks.negatives._edit import like, order, replaced
from tasks.negatives.insert_attribute import InsertAttribute
from tasks.negatives.negate import Negate
from tasks.negatives.paraphrase import Paraphrase
from tasks.negatives.swap_object import SwapObject


def swaps(text: str, others: list[str], group: list[str] | None = None) -> set[str]:
    texts = [text, *others]
    return {
        rewrite.text
        for seed in range(40)
        for rewrite in SwapObject()(texts, seed=seed, group=group)
        if rewrite.of == 0
    }


@pytest.mark.parametrize(
    ("text", "others", "expected"),
    [
        ("An owl.", ["A toucan.", "A parrot."], {"A toucan.", "A parrot."}),
        ("A parrot.", ["An owl."], {"An owl."}),
        ("Two owls.", ["A finch."], {"Two finches."}),
        ("A finch.", ["Two owls."], {"An owl."}),
        ("A great blue heron.", ["A guinea fowl."], {"A great blue guinea fowl."}),
        ("A guinea fowl.", ["A parrot."], {"A parrot."}),
        ("Red Lighthouse", ["Castle"], {"Red Castle"}),
        ("The owl is asleep.", ["A parrot."], {"The parrot is asleep."}),
        (
            "A chick inside an egg.",
            ["A frog on a leaf."],
            {"A frog inside an egg.", "A chick inside a leaf."},
        ),
    ],
)
def test_exchanges_a_noun_for_another_of_the_group(text, others, expected):
    assert swaps(text, others) == expected


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("An owl.", []),
        ("An owl.", ["An owl."]),
        ("A rabbit.", ["A hare.", "A bunny."]),  # may be the same
        ("A camel.", ["A dromedary."]),
        ("A bird.", ["An owl."]),  # an owl is a bird
        ("An owl.", ["A bird."]),
        ("An owl and a parrot.", ["A parrot and an owl."]),  # named already
        ("A football.", ["A ball."]),
        ("No owl.", ["A parrot."]),
        ("An owl.", ["No parrot."]),
        ("A pair of trousers.", ["A hat."]),
        ("The letter b.", ["A hat."]),
        ("A hat.", ["Hair."]),  # "a hair" would be odd
    ],
)
def test_leaves_nouns_alone_where_no_other_would_be_wrong(text, others):
    assert swaps(text, others) == set()


def test_takes_nouns_of_its_own_group_only():
    assert swaps("An owl.", ["A parrot.", "A hammer."], ["birds", "birds", "tools"]) == {"A parrot."}


def test_the_order_of_the_other_texts_does_not_matter():
    texts = ["An owl.", "A parrot.", "A toucan.", "A finch."]
    one = {texts[r.of]: r.text for r in SwapObject()(texts)}
    other = {texts[::-1][r.of]: r.text for r in SwapObject()(texts[::-1])}
    assert one == other


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man with a hat.", "A man without a hat."),
        ("A man without a hat.", "A man with a hat."),
        ("Jeans with patches.", "Jeans without patches."),
        ("A car without any wheels.", "A car with wheels."),
        ("A car without any roof.", "A car with a roof."),
        ("The door is open.", "The door is not open."),
        ("The door is not open.", "The door is open."),
        ("The door isn't open.", "The door is open."),
        ("There is a dog.", "There is no dog."),
        ("There are no trees.", "There are trees."),
        ("There is no owl.", "There is an owl."),
        ("A man with no hat.", "A man with a hat."),
    ],
)
def test_denies_what_is_said_and_says_what_is_denied(text, expected):
    (rewrite,) = Negate()([text])
    assert rewrite.text == expected


@pytest.mark.parametrize("text", ["A frog.", "Maybe a man with a hat?", "A cup filled with tea.", ""])
def test_denies_nothing_where_no_word_can_be_turned(text):
    assert Negate()([text]) == []


def inserted(text: str, **facts: object) -> set[str]:
    return {r.text for r in InsertAttribute(per_text=4)([text], facts=[facts])}


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        ("A frog.", {"colours": ["green"]}, {"A green frog."}),
        ("A frog.", {"colours": ["orange"]}, {"An orange frog."}),
        ("An owl.", {"colours": ["brown", "white"]}, {"A brown owl."}),
        ("A small wooden chair.", {"colours": ["red"]}, {"A small red wooden chair."}),
        ("A guinea fowl.", {"size": "large"}, {"A large guinea fowl."}),
        ("A green frog.", {"size": "small"}, {"A small green frog."}),
        ("Two green frogs.", {"size": "small"}, {"Two small green frogs."}),
        ("Some cherries.", {"count": 3}, {"Three cherries."}),
        ("Flowers.", {"count": 3}, {"Three flowers."}),
        ("Hair.", {"colours": ["brown"]}, {"Brown hair."}),
        ("Lighthouse", {"colours": ["red"]}, {"Red Lighthouse"}),
        ("Old Lighthouse", {"colours": ["red"]}, {"Old Red Lighthouse"}),
        ("An owl.", {"style": "cartoon"}, {"A cartoon owl."}),
        ("A frog.", {"colours": ["green"], "size": "small"}, {"A green frog.", "A small frog."}),
    ],
)
def test_inserts_what_was_measured_before_the_noun(text, facts, expected):
    assert inserted(text, **facts) == expected


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("A frog.", {}),
        ("A frog on a leaf.", {"colours": ["green"]}),  # whose colour?
        ("A red frog.", {"colours": ["green"]}),
        ("No frog.", {"colours": ["green"]}),
        ("No leaf; a frog.", {"colours": ["green"]}),  # two things are named
        ("A frog?", {"colours": ["green"]}),
        ("A frog.", {"colours": ["green", "red", "blue"]}),
        ("A frog.", {"colours": ["froggish"]}),
        ("A frog.", {"count": 3}),
        ("Two frogs.", {"count": 3}),
        ("Frogs.", {"count": 1}),
        ("A frog.", {"style": "<script>"}),
        ("", {"colours": ["green"]}),
    ],
)
def test_inserts_nothing_that_may_be_wrong(text, facts):
    assert inserted(text, **facts) == set()


def test_inserts_nothing_without_facts():
    assert InsertAttribute()(["A frog."]) == []


def forms(text: str) -> set[str]:
    return {r.text for r in Paraphrase(per_text=9)([text])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 dead frogs", {"two dead frogs", "Two dead frogs"}),
        ("Three cats and 4 dogs", {"3 cats and 4 dogs", "Three cats and four dogs"}),
        ("A large bunny.", {"A big bunny.", "A large rabbit."}),
        ("Two bunnies.", {"2 bunnies.", "Two rabbits."}),
        ("A red umbrella.", {"An umbrella that is red."}),
        ("Some red umbrellas.", {"Some umbrellas that are red."}),
        ("A blue and yellow flag.", {"A yellow and blue flag."}),
        ("A cat and an owl.", {"An owl and a cat."}),
        ("An owl.", {"A picture of an owl.", "An image of an owl.", "This is an owl."}),
        ("Two owls.", {"These are two owls.", "A picture of two owls."}),
        ("A photo of a cat.", {"A cat."}),
        ("This is a picture of a cat", {"A cat"}),
    ],
)
def test_says_the_same_in_other_words(text, expected):
    assert forms(text) & expected
    if not any(each.startswith(("A picture of", "These")) for each in expected) and len(expected) == 1:
        assert expected <= forms(text)


@pytest.mark.parametrize(
    "text", ["Lighthouse", "Black and White Kings", "Is it a cat", "", "The cat is here; a dog."]
)
def test_leaves_texts_alone_that_have_no_other_form(text):
    assert forms(text) == set()


def test_changes_within_come_before_words_put_around():
    (rewrite,) = Paraphrase()(["A large frog."])
    assert rewrite.text == "A big frog."


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        ("A red car", "red", "orange", "An orange car"),
        ("an owl", "owl", "parrot", "a parrot"),
        ("AN OWL", "OWL", "PARROT", "A PARROT"),
        ("the letter A with red", "red", "orange", "the letter A with orange"),
        ("A “red” car", "red", "orange", "An “orange” car"),
        ("a hat", "hat", "hour", "an hour"),
        ("an owl", "owl", "unicorn", "a unicorn"),
        ("a 7 pence piece", "7", "8", "an 8 pence piece"),
        ("Banana red", "red", "orange", "Banana orange"),
    ],
)
def test_a_replaced_word_keeps_its_article_right(text, old, new, expected):
    at = text.index(old)
    assert replaced(text, at, at + len(old), new) == expected


def test_capitals_follow_the_model():
    assert (like("blue", "Red"), like("blue", "RED"), like("blue", "red")) == ("Blue", "BLUE", "blue")
    assert like("guinea fowl", "Great Owl") == "Guinea Fowl"


def test_the_seed_alone_decides_the_order():
    names = [f"n{k}" for k in range(20)]
    assert order(names, 0, "text") == order(reversed(names), 0, "text")
    assert order(names, 0, "text") != order(names, 1, "text")
    assert sorted(order(names, 0, "text")) == sorted(names)
