"""Wrong captions by one attribute: the red car becomes blue, two frogs become five."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from schemas.source import Source
from tasks.factual._lexicon import MODIFIERS_OF_COLOUR, words_of
from tasks.factual.attributes import COLOUR, COUNT, KINDS, NUMBERS, POSITION, RELATIONS
from tasks.factual.contract import Attribute, Phrase
from tasks.factual.number import is_plural, plural, singular
from tasks.factual.read import factual
from tasks.negatives._edit import like, noun_span, order, present, replaced, same_length
from tasks.negatives._facts import colours_of, count_of
from tasks.negatives._opposites import may_be_taken_for, others
from tasks.negatives.contract import Rewrite

_WORDS_OF_NUMBERS = {number: word for word, number in NUMBERS.items() if number <= 20}
_AGREES = words_of(
    "is are was were has have do does this these those that its their it they them each both all"
)
_WORDS = re.compile(r"[^\W\d_]+")
_WORD_BEFORE = re.compile(r"(?<![^\W\d_])([^\W\d_]+)[\s-]+$")
_MOST_CONSIDERED = 16  # attributes of a text; no caption has more
_SHADED = words_of("light dark pale bright deep")


@dataclass(frozen=True)
class FlipAttribute:
    """Turn one attribute of a text into another of its kind that is clearly different.

    Opposites come from a closed table: red becomes blue and never crimson, small becomes large, left becomes
    right; a number becomes one at least half as much again or at most two thirds. Only what a text says is there
    is changed, since "no blue car" may be as true as "no red car".

    A colour never becomes one that the text names elsewhere, that the facts find in the medium, or that could be
    taken for such a one; a number never becomes the count in the facts.

    Args:
        kinds: Kinds of attributes to flip.
        per_text: Rewrites a text at most.

    Raises:
        ValueError: A kind is unknown or `per_text` is under 1.
    """

    name: ClassVar[str] = "flip-attribute"
    source: ClassVar[Source] = Source(
        title="When and Why Vision-Language Models Behave like Bags-of-Words, and What to Do About It?",
        authors="Yuksekgonul et al.",
        year=2023,
        url="https://arxiv.org/abs/2210.01936",
        departs=(
            "an attribute is exchanged for its opposite from a closed table in place of swapping two attributes of"
            " one text, so that texts with one attribute have a negative too"
        ),
    )
    makes: ClassVar[Literal["negative", "paraphrase"]] = "negative"

    kinds: tuple[str, ...] = KINDS
    per_text: int = 1

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            raise ValueError(f"{unknown[0]!r} is no kind of attribute; known: {', '.join(KINDS)}")
        if self.per_text < 1:
            raise ValueError(f"per_text must be at least 1, found {self.per_text}")

    def __call__(
        self,
        texts: Sequence[str],
        *,
        seed: int = 0,
        group: Sequence[str] | None = None,
        facts: Sequence[Mapping[str, object]] | None = None,
    ) -> list[Rewrite]:
        """Return at most `per_text` rewrites a text, each of another attribute where there are several.

        Raises:
            ValueError: `group` or `facts` has another length than `texts`.
        """
        same_length(texts, group=group, facts=facts)
        made: list[Rewrite] = []
        for row, text in enumerate(texts):
            known = facts[row] if facts is not None else {}
            flips = {
                f"{flip.before}>{flip.after}@{k}": flip
                for k, flip in enumerate(self._flips(text, row, known))
            }
            taken: set[str] = set()
            for key in order(flips, seed, self.name, text):
                place = key.rpartition(">")[0]
                if place not in taken and len(taken) < self.per_text:
                    taken.add(place)
                    made.append(flips[key])
        return made

    def _flips(self, text: str, row: int, known: Mapping[str, object]) -> Iterator[Rewrite]:
        found = factual(text)
        spoken = {a.value for phrase in found.phrases for a in phrase.attributes if a.kind == COLOUR}
        there = spoken | set(colours_of(known))
        said = [(phrase, a) for phrase in present(found) for a in phrase.attributes if a.kind in self.kinds]
        for phrase, attribute in said[:_MOST_CONSIDERED]:
            if _hangs_loose(text, phrase, attribute):
                continue
            if attribute.kind == COUNT:
                yield from _recounted(text, row, phrase, attribute, count_of(known))
                continue
            words = text[attribute.start : attribute.end]
            for other in others(attribute.kind, attribute.value, phrase.head):
                if attribute.kind == COLOUR and any(may_be_taken_for(other, colour) for colour in there):
                    continue
                if attribute.kind == COLOUR and not _fits(text, attribute.start, other):
                    continue
                after = like(other, words)
                new = replaced(text, attribute.start, attribute.end, after)
                yield Rewrite(new, row, attribute.kind, words, after, true=False)


def _hangs_loose(text: str, phrase: Phrase, attribute: Attribute) -> bool:
    """Whether a place is no property of a thing: "two steps back", not "a back leg" or "on the left"."""
    if attribute.kind != POSITION or attribute.value in RELATIONS or noun_span(phrase, text):
        return False
    return not text[: attribute.start].lower().endswith("the ")


def _fits(text: str, start: int, colour: str) -> bool:
    """Whether a colour goes with the word before it: "light green", but neither "light black" nor "sky red"."""
    found = _WORD_BEFORE.search(text[max(0, start - 12) : start])
    before = found.group(1).lower() if found else ""
    if before in _SHADED:
        return colour not in ("black", "white")
    return before not in MODIFIERS_OF_COLOUR


def _recounted(
    text: str, row: int, phrase: Phrase, attribute: Attribute, known: int | None
) -> Iterator[Rewrite]:
    """Yield the text with other numbers of the same thing."""
    now = int(attribute.value)
    span = noun_span(phrase, text)
    if span is None:
        return
    start, behind = _number_span(text, attribute)
    if start < 0 or behind > span[1]:
        return
    words = text[start:behind]
    for number in sorted({max(1, now // 2), now * 2, now + 3} - {now, known}):
        if not (number >= 1.5 * now or number <= now / 1.5):
            continue
        said = str(number) if words.isdecimal() else _WORDS_OF_NUMBERS.get(number)
        if said is None:
            continue
        said = like(said, words)
        if (number == 1) == (now == 1):
            yield Rewrite(replaced(text, start, behind, said), row, COUNT, words, said, true=False)
            continue
        if any(word.lower() in _AGREES for word in _WORDS.findall(text)):
            continue  # the verb would have to change too
        noun = _turned(text[span[0] : span[1]], many=number > 1)
        if noun:
            after = said + text[behind : span[0]] + noun
            new = replaced(text, start, span[1], after)
            yield Rewrite(new, row, COUNT, text[start : span[1]], after, true=False)


def _number_span(text: str, attribute: Attribute) -> tuple[int, int]:
    """Return where the number stands, with the words that must go with it: "A pair of". (-1, -1) if unclear."""
    start, end = attribute.start, attribute.end
    if text[start:end].lower() in NUMBERS or text[start:end].isdecimal():
        return start, end
    if text[end : end + 4].lower() == " of ":
        end += 3
    before = _WORD_BEFORE.search(text[max(0, start - 12) : start])
    if before is None or text[start : start + 4].lower() == "half":
        return start, end
    if before.group(1).lower() == "a":
        return start - len(before.group()), end
    return -1, -1  # two dozen, her pair of


def _turned(noun: str, *, many: bool) -> str:
    """Return a noun in its other number, "" where that cannot be told."""
    head = noun.split(" ")[-1]
    low = head.lower()
    turned = plural(low) if many else singular(low)
    if (turned == low and plural(low) != low) or (many and is_plural(low)):
        return ""
    return noun[: len(noun) - len(head)] + like(turned, head)
