"""Read slots out of a query: which of its words name values of the snapshot, and what is left to encode.

Phrases are tried longest first, then from the left, and no word is used twice. A phrase that names several values is
one slot with several readings, and a medium passes that fits any of them: an orange is a fruit or a colour, and the
query does not say which. A common word is no slot by itself.

`auto` takes the kinds that cannot well mean anything else, and the ambiguous ones among them only where a word beside
says so: "large pictures" but not "large dog", "in Italian" but not "Italian flag". `all` takes every name. What is
written kind:value counts in both, whatever it is.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from schemas.errors import DataError
from storage.gazetteer import KINDS, WORDS, Gazetteer, Reading, phrase, words_of
from tasks.factual.number import plural, singular

Kinds = Literal["auto", "all", "none"]
AUTO = frozenset({"language", "licence", "modality", "format", "size"})
TOPICS = frozenset(
    {"keyword", "folder", "colour", "year"}
)  # their words say what is looked for, and are encoded
LONGEST = 10_000  # characters that are read; slots further on are not seen

_ALIASES = {
    "color": "colour", "license": "licence", "lang": "language", "type": "format", "tag": "keyword",
}  # fmt: skip
_NAMES = {
    **{name: kind for kind in KINDS for name in (kind, plural(kind))},
    **{name: kind for alias, kind in _ALIASES.items() for name in (alias, plural(alias))},
}
_EXPLICIT = re.compile(
    rf'(?<![^\s,;(])({"|".join(sorted(_NAMES, key=len, reverse=True))}):("[^"]*"|[^\s",;]+)', re.IGNORECASE
)
_COMMON = frozenset(
    {
        "a", "an", "the", "of", "in", "on", "at", "to", "by", "for", "from", "with", "without", "and", "or",
        "not", "no", "is", "are", "was", "be", "it", "its", "this", "that", "as", "up", "down", "out",
        "off", "over", "under", "he", "she", "they", "we", "you", "i", "me", "my", "your", "his", "her",
        "our", "their", "who", "what", "which", "where", "when", "how", "all", "any", "some", "more",
        "most", "very", "so", "than", "then", "there", "here", "into", "onto", "about", "between", "one",
        "two",
    }
)  # fmt: skip
_MEDIA = frozenset(
    {
        "picture", "image", "photo", "photograph", "drawing", "icon", "illustration", "graphic", "scan",
        "file", "video", "clip", "poster", "clipart",
    }
)  # fmt: skip
_TEXTS = frozenset(
    {
        "text", "caption", "title", "description", "language", "word", "version", "translation",
    }
)  # fmt: skip
_CERTAIN = re.compile(r"cc0|cc [a-z]|public domain|creative commons|[al]?gpl")
_BEFORE = frozenset({"in", "under", "as"})  # go with what they introduce
_AFTER = frozenset({"of", "with", "showing", "licence", "license", "licensed"})
_MOST_SHOWN = 8


@dataclass(frozen=True)
class Slot:
    """Words of a query and what they name.

    Args:
        words: As written.
        start: Where they begin in the query, in characters.
        end: Where they end.
        readings: What they can mean; a medium passes that fits any.
        media: Kept media that pass.
        explicit: Written as kind:value.
    """

    words: str
    start: int
    end: int
    readings: tuple[Reading, ...]
    media: int
    explicit: bool = False

    @property
    def where(self) -> str | None:
        """Condition on columns of media; None where a reading is said by texts."""
        parts = [one.where for one in self.readings if one.where is not None]
        if len(parts) < len(self.readings):
            return None
        return parts[0] if len(parts) == 1 else " OR ".join(f"({part})" for part in parts)

    @property
    def condition(self) -> str:
        """The same in SQL of the friendly tables, for people."""
        parts = [one.condition for one in self.readings]
        return parts[0] if len(parts) == 1 else " OR ".join(f"({part})" for part in parts)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the readings."""
        return tuple(dict.fromkeys(one.kind for one in self.readings))

    def __str__(self) -> str:
        """Say it in a line."""
        meant = " or ".join(
            dict.fromkeys(one.where if one.where else f"{one.kind} {one.value!r}" for one in self.readings)
        )
        without = " ".join(f"--without {kind}" for kind in self.kinds)
        return f"{self.words} -> {meant} ({self.media:,} media); without it: {without}"


@dataclass(frozen=True)
class Understood:
    """A query, read.

    Args:
        text: What to encode.
        slots: In the order of the words.
    """

    text: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class _Word:
    text: str
    start: int
    end: int


def understood(
    gazetteer: Gazetteer,
    text: str,
    *,
    kinds: Kinds | Collection[str] = "auto",
    without: Collection[str] = (),
    ignore: Collection[Slot] = (),
) -> Understood:
    """Return the slots of a query and what is left of its words.

    Words of a licence, a language, a modality, a format or a size are taken out of what is encoded; those of keywords,
    folders, colours and years stay. Where nothing would be left the whole query stays.

    Args:
        gazetteer: Names of the snapshot.
        text: The query.
        kinds: auto, all, none, or kinds whose names count wherever they stand.
        without: Kinds that are not to count, written out or not.
        ignore: Slots that do not count; their words are encoded.

    Raises:
        DataError: A kind is unknown, or what is written kind:value names nothing in the snapshot.
    """
    without = {_kind(name) for name in without}
    if kinds == "none":
        return Understood(text, ())
    text = unicodedata.normalize("NFC", text)
    head = text[:LONGEST]
    taken = [found.span() for found in _EXPLICIT.finditer(head)]
    slots = list(_explicit(gazetteer, head, without))
    words = [_Word(*one) for one in words_of(head)]
    slots += _implicit(gazetteer, head, words, taken, kinds, without)
    slots = sorted(
        (slot for slot in slots if (slot.start, slot.end) not in {(one.start, one.end) for one in ignore}),
        key=lambda slot: slot.start,
    )
    return Understood(_left(text, slots, words), tuple(slots))


def _kind(name: str) -> str:
    if (kind := _NAMES.get(name.casefold())) is None:
        raise DataError(f"{name!r} is no kind of slot; known: {', '.join(KINDS)}")
    return kind


def _explicit(gazetteer: Gazetteer, text: str, without: Collection[str]) -> Iterator[Slot]:
    """Yield what is written kind:value."""
    for found in _EXPLICIT.finditer(text):
        kind, value = _kind(found[1]), found[2].strip('"')
        if kind in without:
            continue
        readings = [
            one for said in _forms(phrase(value)) for one in gazetteer.readings(said) if one.kind == kind
        ]
        if not readings:
            raise DataError(f"no medium has {found[0][:80]}; {_known(gazetteer, kind, phrase(value))}")
        yield _slot(gazetteer, text, found.start(), found.end(), readings, explicit=True)


def _known(gazetteer: Gazetteer, kind: str, said: str) -> str:
    """Say what a kind has instead."""
    of_kind = [one for one in gazetteer.all_readings if one.kind == kind]
    if not of_kind:
        return f"the snapshot has no {kind}"
    near = get_close_matches(said[:80], [one.value for one in of_kind[:5000]], n=3)
    listed = near or [one.value for one in of_kind[:_MOST_SHOWN]]
    return f"{'near it' if near else 'it has'}: {', '.join(listed)}{' ...' if len(of_kind) > len(listed) else ''}"


def _implicit(
    gazetteer: Gazetteer,
    text: str,
    words: Sequence[_Word],
    taken: Sequence[tuple[int, int]],
    kinds: Kinds | Collection[str],
    without: Collection[str],
) -> Iterator[Slot]:
    """Yield the names among plain words: longest first, then from the left, no word used twice."""
    wanted = (AUTO if kinds == "auto" else set(KINDS) if kinds == "all" else {_kind(k) for k in kinds}) - {
        *without
    }
    used = [any(start < word.end and word.start < end for start, end in taken) for word in words]
    for length in range(min(WORDS, len(words)), 0, -1):
        for at in range(len(words) - length + 1):
            span = words[at : at + length]
            if any(used[at : at + length]):
                continue
            if length == 1 and (span[0].text in _COMMON or len(span[0].text) < 2):
                continue
            said = " ".join(word.text for word in span)
            readings = [
                one
                for form in _forms(said)
                for one in gazetteer.readings(form)
                if one.kind in wanted
                and (kinds != "auto" or _is_meant(one.kind, said, words, at, at + length))
            ]
            if not readings:
                continue
            slot = _slot(gazetteer, text, span[0].start, span[-1].end, readings)
            if slot.media < len(gazetteer.ids):  # else it says nothing here
                used[at : at + length] = [True] * length
                yield slot


def _slot(
    gazetteer: Gazetteer,
    text: str,
    start: int,
    end: int,
    readings: Sequence[Reading],
    *,
    explicit: bool = False,
) -> Slot:
    distinct = tuple({one.number: one for one in readings}.values())
    media = int(gazetteer.having(distinct).sum()) if len(distinct) > 1 else distinct[0].media
    return Slot(text[start:end], start, end, distinct, media, explicit)


def _forms(said: str) -> Iterator[str]:
    """Yield a phrase as it is, and with its last word in the other number."""
    yield said
    before, _, last = said.rpartition(" ")
    if not last.isalpha() or not last.isascii() or len(last) > 40:
        return
    one = singular(last)
    other = one if one != last else plural(last)
    if other != last:
        yield f"{before} {other}".lstrip()


def _is_meant(kind: str, said: str, words: Sequence[_Word], start: int, end: int) -> bool:
    """Whether words beside say that this name is meant, where it could be something else."""
    before = words[start - 1].text if start else ""
    after = singular(words[end].text[:40]) if end < len(words) else ""
    if kind == "size":
        return after in _MEDIA
    if kind == "language":
        return after in _TEXTS or (before == "in" and (not after or after in _COMMON))
    if kind == "licence":
        beside = {before, after} & {"licence", "license", "licensed"}
        return bool(_CERTAIN.match(said)) or bool(beside) or before == "under"
    return True


def _left(text: str, slots: Sequence[Slot], words: Sequence[_Word]) -> str:
    """Return the text without the words of columns, and without the kind in front of a topic."""
    spans: list[tuple[int, int, str]] = []
    for slot in slots:
        if any(kind in TOPICS for kind in slot.kinds):
            if slot.explicit:
                spans.append(
                    (slot.start, slot.end, slot.words.partition(":")[2].strip('"').replace("/", " "))
                )
            continue
        start, end = slot.start, slot.end
        if not slot.explicit:
            at = next(n for n, word in enumerate(words) if word.start == start)
            if at and words[at - 1].text in _BEFORE:
                start = words[at - 1].start
            following = next((word for word in words if word.start >= end), None)
            if following is not None and following.text in _AFTER and (not at or "licen" in following.text):
                end = following.end
        spans.append((start, end, ""))
    for start, end, instead in reversed(spans):
        text = text[:start] + instead + text[end:]
    if not spans:
        return text
    rest = " ".join(text.split()).strip(" ,;")
    if any(True for _ in words_of(rest)):
        return rest
    return " ".join(word.text for word in words)  # of names alone: they say all there is to say
