"""What a text says, taken apart."""

from dataclasses import dataclass
from typing import Literal

Assertion = Literal["present", "absent", "uncertain"]


@dataclass(frozen=True)
class Attribute:
    """A property a phrase gives its head.

    Args:
        kind: colour, count, size, material, age, shape, pattern, state or position.
        value: The word in lower case, as in "red"; a count as digits, "3".
        start: Offset of its words in the whole text, in characters.
        end: Offset behind them.
    """

    kind: str
    value: str
    start: int
    end: int


@dataclass(frozen=True)
class Phrase:
    """A factual phrase.

    Args:
        text: Its words as they stand in the text, without style and negation words.
        head: The noun it is about, lower case, singular where a rule can tell; "" where there is none.
        attributes: What it says of the head, in order.
        assertion: Whether the text says it is there, says it is not, or leaves it open.
        start: Offset of `text` in the whole text, in characters.
        end: Offset behind it.
    """

    text: str
    head: str
    attributes: tuple[Attribute, ...]
    assertion: Assertion
    start: int
    end: int


@dataclass(frozen=True)
class Factual:
    """A text without style.

    Args:
        text: The factual text: present phrases, then "maybe" and "no" once each before what is uncertain or
            absent; phrases joined by ", "; "" where nothing factual is said.
        phrases: The phrases, in the order of the original.
        dropped: Words of style and boilerplate that were left out, in order.
    """

    text: str
    phrases: tuple[Phrase, ...]
    dropped: tuple[str, ...]
