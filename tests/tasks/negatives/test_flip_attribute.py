import pytest

from tasks.factual.attributes import ATTRIBUTES, COLOUR
from tasks.negatives._opposites import may_be_taken_for, others
from tasks.negatives.flip_attribute import FlipAttribute


def flips(text: str, facts: dict[str, object] | None = None, **parameters: object) -> set[str]:
    """Every flip that some seed makes."""
    known = [facts] if facts is not None else None
    return {
        rewrite.text
        for seed in range(60)
        for rewrite in FlipAttribute(**parameters)([text], seed=seed, facts=known)  # type: ignore[arg-type]
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A small cat.", {"A large cat.", "A huge cat."}),
        ("Left eye.", {"Right eye."}),
        ("A cat above a dog.", {"A cat below a dog."}),
        ("Two flowers.", {"One flower.", "Four flowers.", "Five flowers."}),
        ("2 dead frogs", {"1 dead frog", "4 dead frogs", "5 dead frogs"}),
        ("A pair of cherries.", {"One cherry.", "Four cherries.", "Five cherries."}),
        ("Two men are there.", {"Four men are there.", "Five men are there."}),
        ("Brown hair.", {"Blond hair."}),
        ("An old man.", {"A young man."}),
        ("An old house.", {"A new house."}),
        ("The door is open.", {"The door is closed."}),
        ("AN OPEN DOOR", {"A CLOSED DOOR"}),
        ("Open Book", {"Closed Book"}),
        ("An empty cup.", {"A full cup."}),
        ("A round table.", {"A square table.", "A triangular table."}),
    ],
)
def test_turns_an_attribute_into_its_opposite(text, expected):
    assert flips(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A car.",
        "No red car.",  # there may be no blue one either
        "Maybe a red car.",
        "A hot dog.",
        "A four leaf clover.",
        "New York.",
        "A sky blue coat.",  # no coat is sky red
        "",
    ],
)
def test_leaves_texts_alone_that_a_flip_would_not_make_wrong(text):
    assert flips(text) == set()


def test_a_colour_becomes_one_that_nobody_takes_for_it():
    found = flips("A red car.")
    assert {"A blue car.", "A green car."} <= found
    assert not found & {"A crimson car.", "A pink car.", "An orange car.", "A brown car.", "A red car."}


def test_a_colour_never_becomes_one_that_is_in_the_picture():
    assert flips("A red car.", {"colours": ["blue"]}) == {"A yellow car.", "A white car."}
    assert flips("A red car.", {"colours": ["white", "teal"]}) == {"A black car."}
    assert flips("A red car.", {"colours": ["blue", "yellow", "white"]}) == set()


def test_a_colour_never_becomes_another_of_the_text():
    assert not flips("A red car and a blue house.") & {
        "A blue car and a blue house.",
        "A red car and a red house.",
    }


def test_a_number_never_becomes_the_one_that_was_counted():
    assert flips("Two flowers.", {"count": 4}) == {"One flower.", "Five flowers."}


def test_numbers_differ_by_half_at_least():
    for text in flips("12 eggs."):
        number = int(text.split()[0])
        assert number >= 18 or number <= 8


def test_flips_only_the_kinds_it_is_told_to():
    assert flips("A small red car.", kinds=("size",)) == {"A large red car.", "A huge red car."}


def test_several_flips_of_a_text_are_of_several_attributes():
    made = FlipAttribute(per_text=3)(["A small red car."])
    assert sorted(rewrite.kind for rewrite in made) == ["colour", "size"]


def test_being_taken_for_each_other_goes_both_ways():
    colours = [word for word, kind in ATTRIBUTES.items() if kind == COLOUR]
    for one in colours:
        assert may_be_taken_for(one, one)
        for other in colours:
            assert may_be_taken_for(one, other) == may_be_taken_for(other, one)
        assert others(COLOUR, one, "car")


def test_an_opposite_is_another_word():
    for word, kind in ATTRIBUTES.items():
        assert word not in others(kind, word, "car")


def test_refuses_a_kind_it_does_not_know():
    with pytest.raises(ValueError, match="'taste' is no kind"):
        FlipAttribute(kinds=("taste",))
