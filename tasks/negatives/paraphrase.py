"""The same said in other words, to teach that form does not matter."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from schemas.source import Source
from tasks.factual.attributes import COLOUR, COUNT, NUMBERS, PATTERN
from tasks.factual.contract import Factual
from tasks.factual.number import is_plural, plural, singular
from tasks.factual.read import factual
from tasks.negatives._edit import like, noun_span, order, present, replaced, same_length
from tasks.negatives._synonyms import STANDS_FOR
from tasks.negatives.contract import Rewrite

_WORDS_OF_NUMBERS = {number: word for word, number in NUMBERS.items() if number <= 20}
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_ARTICLE = re.compile(r"(An?|The|Some|Two|Three|Four|Five|Six) (?=\w)")
_PICTURE_OF = re.compile(
    r"(?:(?:An?|The|This is an?|This is the) )?(?:photo|photograph|picture|image|drawing|illustration) of (?=\w)",
    re.IGNORECASE,
)
_PREFIXES = ("A picture of", "An image of", "This is")
_PAIR = re.compile(r"((?:an?|the) )(.{1,80}?) and ((?:an?|the) )(.{1,80}?)([.!]?)", re.IGNORECASE)
_COLOURS_IN_TURN = " and "
_FORM = "form"


@dataclass(frozen=True)
class Paraphrase:
    """Say the same in another form, by rules that cannot change what is said.

    Numbers become digits or words, a few words become others that always mean the same, "A red car" becomes "A
    car that is red", two colours or two things change places. Where none of this can be, "A picture of" comes or goes.

    Args:
        per_text: Rewrites a text at most.

    Raises:
        ValueError: `per_text` is under 1.
    """

    name: ClassVar[str] = "paraphrase"
    source: ClassVar[Source] = Source(
        title="SugarCrepe: Fixing Hackable Benchmarks for Vision-Language Compositionality",
        authors="Hsieh et al.",
        year=2023,
        url="https://arxiv.org/abs/2306.14610",
        departs=(
            "the positive side only, which the benchmark lacks: with right captions in other words beside wrong"
            " ones, neither form nor length gives the wrong one away; rules, no language model"
        ),
    )
    makes: ClassVar[Literal["negative", "paraphrase"]] = "paraphrase"

    per_text: int = 1

    def __post_init__(self) -> None:
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
        """Return at most `per_text` rewrites a text.

        Raises:
            ValueError: `group` or `facts` has another length than `texts`.
        """
        same_length(texts, group=group, facts=facts)
        made: list[Rewrite] = []
        for row, text in enumerate(texts):
            found = factual(text)
            within = {new.text: new for new in _forms(text, row, found) if new.text != text}
            around = {new.text: new for new in _prefix(text, row)} if found.phrases else {}
            chosen = [*order(within, seed, self.name, text), *order(around, seed, self.name, text)]
            made.extend((within | around)[each] for each in chosen[: self.per_text])
        return made


def _forms(text: str, row: int, found: Factual) -> Iterator[Rewrite]:
    if not found.phrases:
        return
    yield from _numbers(text, row, found)
    yield from _synonyms(text, row, found)
    yield from _colours_in_turn(text, row, found)
    if _is_one_sentence(text):
        yield from _relative(text, row, found)
        yield from _things_in_turn(text, row, found)


def _is_one_sentence(text: str) -> bool:
    return not re.search(r"[.!?;:()\n—–“”\"]", text.rstrip().rstrip(".!")) and not text.rstrip().endswith("?")


def _numbers(text: str, row: int, found: Factual) -> Iterator[Rewrite]:
    for phrase in found.phrases:
        for attribute in phrase.attributes:
            words = text[attribute.start : attribute.end]
            number = int(attribute.value) if attribute.kind == COUNT else 0
            if not 2 <= number <= 20 or not phrase.head:
                continue
            if words.isdecimal():
                after = _WORDS_OF_NUMBERS[number]
                after = after.capitalize() if attribute.start == 0 else after
            elif words.lower() in NUMBERS:
                after = str(number)
            else:
                continue
            new = replaced(text, attribute.start, attribute.end, after)
            yield Rewrite(new, row, _FORM, words, after, true=True)


def _synonyms(text: str, row: int, found: Factual) -> Iterator[Rewrite]:
    for phrase in found.phrases:
        spans = {(a.start, a.end) for a in phrase.attributes}
        if noun := noun_span(phrase, text):
            last = text[noun[0] : noun[1]].split(" ")[-1]
            spans.add((noun[1] - len(last), noun[1]))
        for start, end in sorted(spans):
            words = text[start:end]
            low = words.lower()
            many = low not in STANDS_FOR and is_plural(low)
            for other in STANDS_FOR.get(singular(low) if many else low, ()):
                after = like(plural(other) if many else other, words)
                yield Rewrite(replaced(text, start, end, after), row, _FORM, words, after, true=True)


def _colours_in_turn(text: str, row: int, found: Factual) -> Iterator[Rewrite]:
    """Yield "yellow and blue flag" for "blue and yellow flag"."""
    for phrase in found.phrases:
        colours = [a for a in phrase.attributes if a.kind == COLOUR]
        if len(colours) != 2 or text[colours[0].end : colours[1].start] != _COLOURS_IN_TURN:
            continue
        one, two = (text[a.start : a.end] for a in colours)
        if one.lower() in ("black", "white") and two.lower() in ("black", "white"):
            continue  # nobody says white and black
        before, after = f"{one} and {two}", f"{like(two.lower(), one)} and {like(one.lower(), two)}"
        new = replaced(text, colours[0].start, colours[1].end, after)
        yield Rewrite(new, row, _FORM, before, after, true=True)


def _prefix(text: str, row: int) -> Iterator[Rewrite]:
    if not _is_one_sentence(text):
        return
    if found := _PICTURE_OF.match(text):
        rest = text[found.end() :]
        yield Rewrite(rest[0].upper() + rest[1:], row, _FORM, found.group().strip(), "", true=True)
    elif (found := _ARTICLE.match(text)) and not re.search(r"\b(?:is|are|was|were|has|have|can)\b", text):
        many = found.group(1) not in ("A", "An", "The")
        for prefix in _PREFIXES:
            lead = "These are" if prefix == "This is" and many else prefix
            yield Rewrite(f"{lead} {text[0].lower()}{text[1:]}", row, _FORM, "", lead, true=True)


def _relative(text: str, row: int, found: Factual) -> Iterator[Rewrite]:
    """Yield "a car that is red" for "a red car", where that is all the text says."""
    if len(found.phrases) != 1 or len(present(found)) != 1 or found.dropped:
        return
    phrase = found.phrases[0]
    said = phrase.attributes
    noun = noun_span(phrase, text)
    if (
        len(said) != 1
        or said[0].kind not in (COLOUR, PATTERN)
        or noun is None
        or said[0].start != phrase.start
    ):
        return
    words, thing = text[said[0].start : said[0].end], text[noun[0] : noun[1]]
    if (
        noun[1] != phrase.end
        or text[said[0].end : noun[0]] != " "
        or not thing.islower()
        or not words.islower()
    ):
        return
    verb = "are" if is_plural(thing.split(" ")[-1]) else "is"
    after = f"{thing} that {verb} {words}"
    yield Rewrite(replaced(text, phrase.start, phrase.end, after), row, _FORM, phrase.text, after, true=True)


def _things_in_turn(text: str, row: int, found: Factual) -> Iterator[Rewrite]:
    """Yield "a dog and a cat" for "a cat and a dog", where that is all the text says."""
    match = _PAIR.fullmatch(text.strip())
    if match is None or [p.text for p in present(found)] != [match.group(2), match.group(4)]:
        return
    one, two = match.group(1) + match.group(2), match.group(3) + match.group(4)
    new = f"{like(two, one[0])} and {one[0].lower()}{one[1:]}{match.group(5)}"
    yield Rewrite(new, row, _FORM, f"{one} and {two}", new.rstrip(".!"), true=True)
