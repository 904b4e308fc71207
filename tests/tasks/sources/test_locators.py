import random

import pytest

from tasks.sources._locators import SLOTS, Locators


def expected(locators):
    """Number repeats with a set of what was given, as slowly as it reads."""
    given, out = set(), []
    for locator in locators:
        name, count = locator, 1
        while name in given:
            count += 1
            name = f"{locator}#{count}"
        given.add(name)
        out.append(name)
    return out


@pytest.mark.parametrize("seed", range(5))
def test_repeats_are_numbered_by_occurrence(seed):
    draw = random.Random(seed)
    names = [f"{draw.randrange(300)}.png" + "#2" * (draw.random() < 0.1) for _ in range(1500)]
    unique = Locators()
    found = [unique(name) for name in names]
    assert found == expected(names)
    assert len(set(found)) == len(found)


def test_many_more_than_there_was_room_for_are_told_apart():
    unique, names = Locators(), [f"media/{n}.png" for n in range(20 * SLOTS)]
    assert [unique(name) for name in names] == names
    assert [unique(name) for name in names[::97]] == [f"{name}#2" for name in names[::97]]
