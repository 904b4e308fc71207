"""One and many: singular, plural, and the article that fits."""

import re
from functools import lru_cache
from typing import Any

from tasks.factual._lexicon import words_of

_PLURAL_ONLY = words_of(
    "pants trousers jeans shorts tights leggings glasses sunglasses spectacles goggles binoculars scissors"
    " pliers tweezers tongs shears clippers overalls underpants briefs headphones earphones pyjamas pajamas"
    " pantyhose slacks clothes dice police cattle stairs suds thanks"
)
_INVARIANT = words_of(
    "sheep fish deer moose bison aircraft spacecraft hovercraft jellyfish goldfish starfish swordfish"
    " clownfish series species crossroads headquarters barracks"
)
_ENDS_LIKE_A_PLURAL = words_of(
    "gas lens canvas atlas christmas bias texas kansas arkansas pancreas pampas alias physics mathematics"
    " gymnastics athletics electronics graphics news measles billiards checkers darts yes his its this was"
    " is as us james mars paris"
)
_SAME_IN_THE_PLURAL = words_of("yen yuan baht rand hertz")  # units: a number of them counts no things
_AS_THEY_ARE = _PLURAL_ONLY | _INVARIANT | _ENDS_LIKE_A_PLURAL
_IRREGULAR = re.compile(r"(?:men|people|children|mice|lice|feet|teeth|geese|oxen)$")
_NOT_IRREGULAR = words_of("specimen omen abdomen semen hymen stamen acumen regimen yemen")
_DIGITS_SAID_WITH_A_VOWEL = re.compile(r"(?:8\d*|1[18](?:\d{3})*)(?!\d)")


@lru_cache(maxsize=1)
def _engine() -> Any:
    import inflect  # takes a second to import

    return inflect.engine()


@lru_cache(maxsize=65_536)
def singular(word: str) -> str:
    """Return the singular of a lower-case noun; the noun itself where no rule applies."""
    if not _looks_plural(word):
        return word
    stem = word.rpartition("-")[2]  # the library reads "t-shirts" as three words
    return word[: len(word) - len(stem)] + (_engine().singular_noun(stem) or stem)


@lru_cache(maxsize=65_536)
def plural(word: str) -> str:
    """Return the plural of a lower-case singular noun."""
    if word in _INVARIANT or word in _PLURAL_ONLY or word in _SAME_IN_THE_PLURAL:
        return word
    stem = word.rpartition("-")[2]
    return word[: len(word) - len(stem)] + str(_engine().plural_noun(stem))


def is_plural(word: str) -> bool:
    """Whether a lower-case noun has a plural form, as far as a rule can tell; "fish" counts as singular."""
    return word in _PLURAL_ONLY or singular(word) != word


def can_be_many(word: str) -> bool:
    """Whether a lower-case noun can follow a number over one: "frogs", and "fish" as well."""
    return word in _INVARIANT or is_plural(word)


def can_be_one(word: str) -> bool:
    """Whether a lower-case noun can follow "one"."""
    return not is_plural(word)


@lru_cache(maxsize=65_536)
def article(word: str) -> str:
    """Return "a" or "an", whichever goes before the word, by its sound."""
    if not word[:1].isalnum():
        return "a"
    if word[0].isdigit():
        return "an" if _DIGITS_SAID_WITH_A_VOWEL.match(word) else "a"
    return str(_engine().a(word)).split(" ", 1)[0]


def _looks_plural(word: str) -> bool:
    if word in _AS_THEY_ARE or len(word) < 3 or not word.replace("-", "").isalpha():
        return False
    if word.endswith("s"):
        return len(word) > 3 and not word.endswith(("ss", "us", "is", "ous"))
    return bool(_IRREGULAR.search(word)) and word not in _NOT_IRREGULAR
