"""Wrong captions by the thing itself: the owl becomes a parrot of the same shelf."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from schemas.source import Source
from tasks.factual.contract import Phrase
from tasks.factual.number import is_plural, plural, singular
from tasks.factual.read import factual
from tasks.negatives._edit import like, noun_span, order, replaced, same_length, titled
from tasks.negatives._synonyms import WIDE, may_be_the_same
from tasks.negatives.contract import Rewrite

_NOUN = re.compile(r"[^\W\d_]{2,}(?:[ -][^\W\d_]{2,}){0,2}")
_WORD = re.compile(r"[^\W\d_]+")
_BEFORE = re.compile(r"([^\W\d_]+)\W*$")
_OBJECT = re.compile(r" (?:an?|the|your|his|her|its|their|my|our|this|that|these|those|it|them|you) ")
_LOOKED_BACK = 16
_MOST_TRIED = 1_000  # nouns of a group


@dataclass(frozen=True)
class _Noun:
    """A noun with the words that name its kind: "guinea fowl".

    Args:
        words: Singular.
        head: Its last word in lower case.
        counted: Whether it was seen with "a" or in the plural, so that it can have either.
        named: Whether it was only seen in capitals, as a name is.
    """

    words: str
    head: str
    counted: bool
    named: bool


@dataclass(frozen=True)
class SwapObject:
    """Exchange a noun of a text for another of the same group that the text does not name.

    The noun is exchanged with the words that name its kind ("guinea fowl" for "toucan"); what is said of it
    (colour, number, size) stays. Number and article are kept right. Nouns too wide to be wrong (an owl is a bird
    too) take no part, and neither do nouns that may be the same thing (rabbit and hare) or share a word.

    The nouns to choose from are those of the other texts of the group, so a text's rewrites depend on these;
    not on their order.

    Args:
        per_text: Rewrites a text at most.

    Raises:
        ValueError: `per_text` is under 1.
    """

    name: ClassVar[str] = "swap-object"
    source: ClassVar[Source] = Source(
        title="FOIL it! Find One mismatch between Image and Language caption",
        authors="Shekhar et al.",
        year=2017,
        url="https://aclanthology.org/P17-1024/",
        departs=(
            "nouns come from other texts of the same group in place of COCO's supercategories; all nouns can be"
            " chosen, not only the one that a model finds hardest"
        ),
    )
    makes: ClassVar[Literal["negative", "paraphrase"]] = "negative"

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
        """Return at most `per_text` rewrites a text, none where its group knows no other noun.

        Raises:
            ValueError: `group` or `facts` has another length than `texts`.
        """
        same_length(texts, group=group, facts=facts)
        groups = list(group) if group is not None else [""] * len(texts)
        read = [_swappable(text) for text in texts]
        nouns = _nouns(texts, read, groups)
        made: list[Rewrite] = []
        for row, text in enumerate(texts):
            named = {singular(word) for word in _WORD.findall(text.lower())}
            own: dict[str, Rewrite] = {}
            for key in order(map(str, range(len(read[row]))), seed, self.name, text):
                for nth in range(self.per_text - len(own)):
                    salt = f"{seed}\x1f{self.name}\x1f{key}\x1f{nth}\x1f{text}"
                    is_first, phrase = read[row][int(key)]
                    new = _swapped(text, row, phrase, nouns[groups[row], is_first], named, salt)
                    if new is not None:
                        own.setdefault(new.text, new)
            made.extend(own.values())
        return made


def _swappable(text: str) -> list[tuple[bool, Phrase]]:
    """Return the phrases whose noun can be exchanged, each with whether it is what the text is about.

    What a text is about comes first. The others (the flag of a tower, the egg of a chick) are exchanged among
    themselves, so that no tower has a castle in its hand.
    """
    found = factual(text).phrases
    return [
        (phrase is found[0], phrase)
        for phrase in found
        if phrase.assertion == "present" and _can_be_swapped(phrase, text)
    ]


def _can_be_swapped(phrase: Phrase, text: str) -> bool:
    span = noun_span(phrase, text)
    if span is None or phrase.head in WIDE or len(phrase.head) < 3 or phrase.head.endswith("ed"):
        return False
    joined = any(a.start >= span[1] for a in phrase.attributes)  # the car is red, a woman dancing
    if span[1] != phrase.end and not joined:
        return False  # the letter b
    if text[span[1] : span[1] + 4].lower() in (" of ", " of\n"):
        return False  # a head of lettuce
    if _OBJECT.match(text, span[1]):
        return False  # "wash your hands": a verb that no list has
    before = text[max(0, span[0] - 4) : span[0]]
    return not before.endswith("of ") or not any(a.kind == "count" for a in phrase.attributes)


def _nouns(
    texts: Sequence[str], read: Sequence[Sequence[tuple[bool, Phrase]]], groups: Sequence[str]
) -> dict[tuple[str, bool], list[_Noun]]:
    """Return the nouns of each group, first ones and others, in the order of their letters."""
    seen: dict[tuple[str, bool], dict[str, _Noun]] = {
        (g, first): {} for g in groups for first in (True, False)
    }
    for text, phrases, group in zip(texts, read, groups, strict=True):
        for first, phrase in phrases:
            span = noun_span(phrase, text)
            if span is None or not _NOUN.fullmatch(words := text[span[0] : span[1]]):
                continue
            last = words.split(" ")[-1]
            many = is_plural(last.lower())
            if many and words[0].isupper():
                continue  # Maldives, United States: a name has no singular
            one = words[: len(words) - len(last)] + (like(singular(last.lower()), last) if many else last)
            counted = many or _article_before(text, phrase, span[0])
            known = seen[group, first].get(one.lower())
            named = one != one.lower()
            if known is not None:
                counted, named = counted or known.counted, named and known.named
                one = one if not named else known.words
            if phrase.head == singular(last.lower()):
                seen[group, first][one.lower()] = _Noun(
                    one.lower() if not named else one, phrase.head, counted, named
                )
    return {group: [nouns[key] for key in sorted(nouns)] for group, nouns in seen.items()}


def _article_before(text: str, phrase: Phrase, start: int) -> bool:
    """Whether "a" or "an" leads to the noun, attributes between them or not."""
    begin = min(phrase.start, start)
    found = _BEFORE.search(text[max(0, begin - _LOOKED_BACK) : begin])
    return found is not None and found.group(1).lower() in ("a", "an")


def _swapped(
    text: str, row: int, phrase: Phrase, nouns: Sequence[_Noun], named: set[str], salt: str
) -> Rewrite | None:
    """Return the text with the first noun that fits, from a place in the list that the salt decides."""
    span = noun_span(phrase, text)
    if span is None or not nouns:
        return None
    words = text[span[0] : span[1]]
    last = words.split(" ")[-1].lower()
    many = is_plural(last)
    needs_count = many or _article_before(text, phrase, span[0])
    begin = int.from_bytes(
        hashlib.blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
    for k in range(min(len(nouns), _MOST_TRIED)):
        noun = nouns[(begin + k) % len(nouns)]
        if (needs_count and not noun.counted) or (noun.named and words[:1].islower()):
            continue
        if may_be_the_same(noun.head, phrase.head) or is_plural(noun.head) or is_plural(phrase.head):
            continue
        own = {singular(word) for word in _WORD.findall(noun.words.lower())}
        if own & named or any(may_be_the_same(noun.head, word) for word in named):
            continue
        after = noun.words
        if many:
            tail = after.split(" ")[-1]
            after = after[: len(after) - len(tail)] + plural(tail)
        if span[0] == 0 or titled(text):
            after = like(after, words)
        return Rewrite(replaced(text, *span, after), row, "object", words, after, true=False)
    return None
