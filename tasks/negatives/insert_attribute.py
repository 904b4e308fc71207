"""Fuller captions that are still right: what was measured on the medium, put before its noun."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from schemas.source import Source
from tasks.factual.attributes import COLOUR, COUNT, MATERIAL, NUMBERS, SIZE
from tasks.factual.contract import Factual, Phrase
from tasks.factual.number import can_be_many, is_plural
from tasks.factual.read import factual
from tasks.negatives._edit import like, noun_span, order, present, replaced, same_length, titled
from tasks.negatives._facts import colours_of, count_of, size_of, style_of
from tasks.negatives.contract import Rewrite

STYLE = "style"
_KINDS = (COLOUR, COUNT, SIZE, STYLE)
_WORDS_OF_NUMBERS = {number: word for word, number in NUMBERS.items() if number <= 20}
_BEFORE = re.compile(r"(?<![^\W_])([^\W_]+(?:['’][^\W_]+)?) $")
_LOOKED_BACK = 24
_OPENS = frozenset(["a", "an", "the", "some", "this", "these", "that", "those"])


@dataclass(frozen=True)
class InsertAttribute:
    """Put one attribute that was measured on the medium before the noun of a text.

    Only texts that name one thing are changed: what was measured belongs to the whole picture, and with two
    things named nobody knows which of them is red. An attribute is left out where the text already has one of
    its kind, or speaks of its noun as absent or uncertain.

    A number goes before a plural that has none, if it is over one.

    Args:
        kinds: Kinds of attributes to insert: colour, count, size, style.
        per_text: Rewrites a text at most, each with another attribute.
        colours: Most colours that may have been measured for the first of them to be taken for the thing's own.

    Raises:
        ValueError: A kind is unknown, or `per_text` or `colours` is under 1.
    """

    name: ClassVar[str] = "insert-attribute"
    source: ClassVar[Source] = Source(
        title="Cross-Modal Attribute Insertions for Assessing the Robustness of Vision-and-Language Learning",
        authors="Ramshetty et al.",
        year=2023,
        url="https://arxiv.org/abs/2306.11065",
        departs=(
            "attributes are those measured on the medium, not words that a masked language model prefers and a"
            " detector saw; no search for the insertion that harms most, as ours is to enrich"
        ),
    )
    makes: ClassVar[Literal["negative", "paraphrase"]] = "paraphrase"

    kinds: tuple[str, ...] = _KINDS
    per_text: int = 1
    colours: int = 2

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kinds) - set(_KINDS)):
            raise ValueError(f"{unknown[0]!r} cannot be inserted; what can: {', '.join(_KINDS)}")
        if self.per_text < 1 or self.colours < 1:
            raise ValueError(
                f"per_text and colours must be at least 1, found {self.per_text} and {self.colours}"
            )

    def __call__(
        self,
        texts: Sequence[str],
        *,
        seed: int = 0,
        group: Sequence[str] | None = None,
        facts: Sequence[Mapping[str, object]] | None = None,
    ) -> list[Rewrite]:
        """Return at most `per_text` rewrites a text, none where there are no facts.

        Raises:
            ValueError: `group` or `facts` has another length than `texts`.
        """
        same_length(texts, group=group, facts=facts)
        made: list[Rewrite] = []
        for row, text in enumerate(texts if facts is not None else ()):
            known = facts[row] if facts is not None else {}
            found = factual(text)
            subject = _only_thing(found, text)
            if subject is None:
                continue
            kinds = {rewrite.kind: rewrite for rewrite in self._inserted(text, row, found, *subject, known)}
            made.extend(kinds[kind] for kind in order(kinds, seed, self.name, text)[: self.per_text])
        return made

    def _inserted(
        self,
        text: str,
        row: int,
        found: Factual,
        phrase: Phrase,
        noun: tuple[int, int],
        known: Mapping[str, object],
    ) -> Iterator[Rewrite]:
        said = {a.kind for each in found.phrases for a in each.attributes}
        colours, size, style, count = colours_of(known), size_of(known), style_of(known), count_of(known)
        last = text[noun[0] : noun[1]].split(" ")[-1].lower()
        if COLOUR in self.kinds and COLOUR not in said and 0 < len(colours) <= self.colours:
            materials = [a.start for a in phrase.attributes if a.kind == MATERIAL and a.start < noun[0]]
            yield _put(text, row, min([noun[0], *materials]), colours[0], COLOUR)
        if SIZE in self.kinds and SIZE not in said and size:
            counts = [a.end for a in phrase.attributes if a.kind == COUNT and a.start < noun[0]]
            start = phrase.start if not counts else max(counts) + 1
            yield _put(text, row, start, size, SIZE)
        if STYLE in self.kinds and style and not found.dropped:
            yield _put(text, row, noun[0], style, STYLE)
        several = count is not None and count > 1 and can_be_many(last) and is_plural(last)
        if COUNT in self.kinds and COUNT not in said and several and count in _WORDS_OF_NUMBERS:
            yield _count(text, row, phrase.start, _WORDS_OF_NUMBERS[count])


def _only_thing(found: Factual, text: str) -> tuple[Phrase, tuple[int, int]] | None:
    """Return the phrase of the one thing a text names, and where its noun stands; None if it names more."""
    phrases = present(found)
    if len(phrases) != 1 or len(found.phrases) != 1:
        return None
    noun = noun_span(phrases[0], text)
    if noun is None:
        return None
    if text[max(0, noun[0] - 3) : noun[0]] == "of ":
        return None  # a pair of gloves
    if (
        text[phrases[0].end :].strip(" .!")
        or text[phrases[0].start].isdigit()
        or phrases[0].head.endswith("ed")
    ):
        return None
    lead = text[max(0, phrases[0].start - _LOOKED_BACK) : phrases[0].start]
    before = _BEFORE.search(lead)
    if before is None and lead.strip():
        return None
    opens = before is None or before.group(1).lower() in _OPENS
    return (phrases[0], noun) if opens or before is None else None


def _put(text: str, row: int, at: int, word: str, kind: str) -> Rewrite:
    """Return the text with a word before what stands at an offset; the word takes over its capital."""
    following = text[at:].split(" ", 1)[0]
    if at == 0 and following[:1].isupper():
        word = word[:1].upper() + word[1:]
        if not titled(text) and following[1:].islower():
            new = f"{word} {text[0].lower()}{text[1:]}"
            return Rewrite(new, row, kind, "", word, true=True)
    elif titled(text):
        word = word[:1].upper() + word[1:]
    return Rewrite(replaced(text, at, at, word + " "), row, kind, "", word, true=True)


def _count(text: str, row: int, start: int, number: str) -> Rewrite:
    """Return the text with a number before a plural, in place of "some" where that stands there."""
    before = _BEFORE.search(text[max(0, start - _LOOKED_BACK) : start])
    if before is not None and before.group(1).lower() == "some":
        at = start - len(before.group())
        after = like(number, before.group(1))
        return Rewrite(text[:at] + after + " " + text[start:], row, COUNT, before.group(1), after, true=True)
    return _put(text, row, start, number, COUNT)
