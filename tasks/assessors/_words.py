"""Words that carry a text's meaning, and its sentences."""

import re

from tasks.filters._words import words

# English only: words of other languages all count as content.
_FUNCTION = """
a an the this that these those its his her their our my your of in on at by to for from with without into onto over
under near and or but nor as is are was were be been being it he she they we you i there here which who whose some
any no not very can has have had do does did
"""
FUNCTION_WORDS = frozenset(_FUNCTION.split())
_END = re.compile(r"(?<=[.!?\u2026])\s+|(?<=[\u3002\uff01\uff1f\u0964])\s*")


def content_words(text: str) -> list[str]:
    """Return the words of a text that are no function words, case-folded, in order."""
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, blank ones left out.

    Examples:
        >>> sentences("A frog. It sits on a leaf!  ")
        ['A frog.', 'It sits on a leaf!']
    """
    return [part.strip() for part in _END.split(text) if part.strip()]
