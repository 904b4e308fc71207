"""What neighbours say, put to the vote; and a neighbour's text with what too few say taken out."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.factual.contract import Attribute, Factual, Phrase

Fact = tuple[str, str, str]  # head, kind, value; kind and value are "" where the head alone is said
Supports = Mapping[Fact, float]

_ARTICLES = r"a|an|the|some|its|his|her|their|this|that|these|those"
_LEAD = re.compile(rf"\b(?:{_ARTICLES})\s+$", re.IGNORECASE)
_TAIL = re.compile(r"[.!?]\s*$")
_COORDINATES = re.compile(r"[,;.!?:/&+]|\b(?:and|or|plus)\b", re.IGNORECASE)
_COPULA = re.compile(r"(?<![\s,-])[\s,-]*(?:\b(?:is|are|was|were)[\s,-]*)?$", re.IGNORECASE)
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_EMPTY = re.compile(
    r"an?|and|are|as|at|be|by|for|from|in|is|its?|of|on|or|that|the|to|was|were|with", re.IGNORECASE
)
_INDEFINITE = re.compile(r"\b(a|an)(\s+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Read:
    """A text and what it says.

    Args:
        text: The text, one line.
        phrases: The phrases that say something is there, in order.
        others: Spans, start and end, of phrases that say something is not, or may not be, there.
    """

    text: str
    phrases: tuple[Phrase, ...]
    others: tuple[Phrase, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A phrase of an edited text.

    Args:
        text: Its words as they stand in the edited text.
        facts: What it says.
    """

    text: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Edited:
    """A text after the edit.

    Args:
        text: What is left of it; "" if nothing is.
        phrases: What it says.
        removed: Phrases and words that were taken out.
        swapped: Words that were exchanged, old and new.
    """

    text: str
    phrases: tuple[Kept, ...]
    removed: tuple[str, ...] = ()
    swapped: tuple[tuple[str, str], ...] = ()


def read(text: str, factual: Callable[[str], Factual] | None) -> Read:
    """Return what a text says. Where nothing can be read, or with no reader, the whole is one phrase."""
    phrases = factual(text).phrases if factual else ()
    present = tuple(_with_words(phrase) for phrase in phrases if phrase.assertion == "present")
    if phrases:
        return Read(text, present, tuple(phrase for phrase in phrases if phrase.assertion != "present"))
    bare = _TAIL.sub("", text)
    return Read(text, (Phrase(bare, bare.casefold(), (), "present", 0, len(bare)),) if bare else ())


def _with_words(phrase: Phrase) -> Phrase:
    """Return a phrase with the words that are neither head nor attribute as attributes of the kind "word".

    They are said of the head too, "race" of a race car, and so are to be voted on.
    """
    taken = [
        (attribute.start - phrase.start, attribute.end - phrase.start) for attribute in phrase.attributes
    ]
    rest = [
        word
        for word in _WORD.finditer(phrase.text)
        if not _EMPTY.fullmatch(word.group())
        and not any(start < word.end() and word.start() < end for start, end in taken)
    ]
    if phrase.head and rest:  # the last of the words that look most like it: "dogs" for "dog"
        rest.remove(max(rest, key=lambda word: (_alike(word.group().casefold(), phrase.head), word.start())))
    words = [
        Attribute("word", word.group().casefold(), phrase.start + word.start(), phrase.start + word.end())
        for word in rest
        if phrase.head
    ]
    every = sorted((*phrase.attributes, *words), key=lambda attribute: attribute.start)
    return replace(phrase, attributes=tuple(every))


def _alike(word: str, head: str) -> int:
    """Return how many letters two words begin with in common."""
    return next(
        (n for n, (a, b) in enumerate(zip(word, head, strict=False)) if a != b), min(len(word), len(head))
    )


def facts_of(phrase: Phrase) -> tuple[Fact, ...]:
    """Return what a phrase says: its head, then each attribute of the head."""
    head = phrase.head or phrase.text.casefold()
    return ((head, "", ""), *((head, attribute.kind, attribute.value) for attribute in phrase.attributes))


def words_of(fact: Fact) -> str:
    """Return a fact as words that can be encoded."""
    head, _, value = fact
    return f"{value} {head}" if value else head


def votes(texts: Sequence[Read], weight: NDArray[np.float64]) -> dict[Fact, float]:
    """Return for each fact the share of the weight whose texts say it, in order of appearance."""
    share: dict[Fact, float] = {}
    for text, own in zip(texts, weight / weight.sum(), strict=True):
        for fact in dict.fromkeys(fact for phrase in text.phrases for fact in facts_of(phrase)):
            share[fact] = share.get(fact, 0.0) + float(own)
    return share


def edit(base: Read, others: Sequence[Read], supports: Supports, *, least: float, margin: float) -> Edited:
    """Return a text without what too few support, and with attributes others say clearly more often.

    A phrase whose head is supported less than `least` goes, and with it what ties it to the rest; so does an
    attribute. What a text says is not there goes: it is said of another medium. An attribute gives way to one
    of the same kind that another text says of the same head, and the first phrase to the first phrase of
    another text, of the same number, if that is supported more by `margin`. The words put in are words of
    that text.

    Args:
        base: The text to edit.
        others: Texts whose words may be put in, the best first.
        supports: Support of each fact; a fact that is missing has none.
        least: Support from which on something is kept.
        margin: By how much the better attribute must be ahead.
    """
    removed: list[str] = []
    swapped: list[tuple[str, str]] = []
    kept: list[tuple[Phrase, Kept]] = []
    first = base.phrases[0] if base.phrases else None
    every = sorted((*base.phrases, *base.others), key=lambda phrase: phrase.start)
    for phrase in every:
        better = _headed(phrase, others, supports, margin) if phrase is first else phrase
        if phrase in base.others or supports.get(facts_of(better)[0], 0.0) < least:
            removed.append(phrase.text)
            continue
        if better is not phrase:
            swapped.append((phrase.text, better.text))
        kept.append((phrase, _attributes(better, others, supports, least, margin, removed, swapped)))
    if not kept:
        return Edited("", (), tuple(removed))
    text = _joined(base.text, every, kept) if removed or swapped else base.text
    return Edited(text, tuple(new for _, new in kept), tuple(removed), tuple(swapped))


def _headed(phrase: Phrase, others: Sequence[Read], supports: Supports, margin: float) -> Phrase:
    """Return the first phrase of another text whose head is clearly better supported, or the phrase itself."""
    best, bar = phrase, supports.get(facts_of(phrase)[0], 0.0) + margin
    for other in others:
        for rival in other.phrases[:1]:
            support = supports.get(facts_of(rival)[0], 0.0)
            if support >= bar and _singular(rival) == _singular(phrase):
                best, bar = rival, np.nextafter(support, 2)  # among equals the better neighbour's words
    return best


def _singular(phrase: Phrase) -> bool:
    return phrase.head.casefold() in phrase.text.casefold().split()


def _attributes(
    phrase: Phrase,
    others: Sequence[Read],
    supports: Supports,
    least: float,
    margin: float,
    removed: list[str],
    swapped: list[tuple[str, str]],
) -> Kept:
    """Return a phrase whose attributes are the supported ones."""
    head, *said = facts_of(phrase)
    text, facts = phrase.text, [head]
    for attribute, fact in sorted(
        zip(phrase.attributes, said, strict=True), key=lambda pair: -pair[0].start
    ):  # from the right, so that offsets stay true
        start, end = attribute.start - phrase.start, attribute.end - phrase.start
        if not 0 <= start < end <= len(phrase.text):  # said outside the phrase, as in "the apple is red"
            facts.append(fact)
            continue
        before, old, after = text[:start], text[start:end], text[end:]
        better, words = _better(fact, old, others, supports)
        if words and supports[better] >= max(supports.get(fact, 0.0) + margin, least):
            text, fact = before + words + after, better
            swapped.append((old, words))
        elif supports.get(fact, 0.0) < least and attribute.kind != "count":
            # a count is in the noun's number, too
            text = (before + after.lstrip(" ,-")) if after.strip(" ,-") else _COPULA.sub("", before)
            removed.append(old)
            continue
        facts.append(fact)
    return Kept(text, tuple(facts))


def _better(fact: Fact, old: str, others: Sequence[Read], supports: Supports) -> tuple[Fact, str]:
    """Return the best supported other value of the same head and kind, and the words it was said in."""
    head, kind, value = fact
    rivals = [f for f in supports if f[:2] == (head, kind) and f[2] != value and kind != "word"]
    if kind == "count" and "1" in {value, *(f[2] for f in rivals)}:
        rivals = [f for f in rivals if "1" not in (value, f[2])]  # the noun would have to change with it
    for best in sorted(rivals, key=lambda f: (-supports[f], f)):
        for other in others:
            for phrase in other.phrases:
                for attribute, said in zip(phrase.attributes, facts_of(phrase)[1:], strict=True):
                    words = other.text[attribute.start : attribute.end]
                    if said == best and words:
                        return best, words.lower() if old.islower() else words
    return fact, ""


def _joined(text: str, every: Sequence[Phrase], kept: Sequence[tuple[Phrase, Kept]]) -> str:
    """Return the text with the kept phrases only.

    Words between two phrases tie the second to the first. They go with either, but for "and" and the like, so
    that "a man with a cup of tea" without the cup is "a man, tea".
    """
    rank = {id(phrase): n for n, phrase in enumerate(every)}
    parts: list[str] = []
    for n, (phrase, new) in enumerate(kept):
        place = rank[id(phrase)]
        begin = every[place - 1].end if place else 0
        gap = text[begin : phrase.start] if begin <= phrase.start else " "
        whole = place == 0 if not n else kept[n - 1][0] is every[place - 1]
        if not whole:
            lead = _LEAD.search(gap)
            article = lead.group() if lead else ""
            tied = n and not _COORDINATES.search(gap)
            gap = article if not n else f", {article}" if tied else gap
        parts += [_article_before(gap, new.text) if new.text != phrase.text else gap, new.text]
    last = kept[-1][0]
    tail = text[last.end :]
    if last is not every[-1]:
        end = _TAIL.search(text)
        tail = end.group().strip() if end else ""
    joined = " ".join(("".join(parts) + tail).split())
    return joined[:1].upper() + joined[1:] if text[:1].isupper() else joined


def _article_before(gap: str, words: str) -> str:
    """Return the words before a phrase with "a" or "an" as the phrase now asks for."""
    found = _INDEFINITE.search(gap)
    if not found:
        return gap
    article = "an" if words[:1].lower() in "aeiou" else "a"
    article = article.capitalize() if found.group(1)[0].isupper() else article
    return gap[: found.start()] + article + found.group(2)
