"""Runs of words that name one thing, with what they say of it."""

from dataclasses import dataclass, field

from tasks.factual._lexicon import COPULAS, MODIFIERS_OF_COLOUR, VERBS, VERBS_OR_NOUNS, words_of
from tasks.factual._tokens import Token
from tasks.factual.attributes import (
    AGE,
    ATTRIBUTES,
    COLOUR,
    COMPOUNDS,
    COUNT,
    NOUNS_TOO,
    NUMBERS,
    ONE_AS_A_PAIR,
    POSITION,
    RELATIONS,
    STATE,
    is_doing,
    kind_of,
)
from tasks.factual.contract import Attribute
from tasks.factual.number import can_be_many, can_be_one, is_plural, singular

_MOST_COUNTED = 100
_PAIRS = {"pair": 2, "pairs": 2, "couple": 2, "duo": 2, "trio": 3, "dozen": 12}
_MODALS = words_of("will would shall should can must might may could do does did to let lets let's")
_NO_PARTICIPLE = words_of(
    "hundred sacred biped quadruped moped kindred flatbed seabed sunbed flowerbed bobsled dogsled watershed"
    " newlywed infrared bed shed sled bread thread spread redhead forehead hatred shred"
)
_CONTENT = ("noun", "name")
_BEFORE_VERBS = words_of("never who nobody nothing no-one one")
_AMOUNTS = ("lot", "kind", "type", "sort")  # "a lot of", but "a parking lot"
_ENDS = ("stop", "comma", "conjunction", "close", "clause")


@dataclass
class Chunk:
    """A run of words that names one thing, or only says something of it.

    Attributes:
        first: Index of its first word.
        last: Index of its last word.
        head: The noun it is about; "" where it only says something of a noun elsewhere.
        attributes: What it says.
        predicate: Whether a form of "be" leads to it.
        sentence: Number of its sentence.
        subject: Index, among the chunks, of the one that "is" speaks of; -1 where there is none.
        start: Offset in the text.
        end: Offset behind it.
    """

    first: int
    last: int
    head: str
    attributes: list[Attribute]
    predicate: bool
    sentence: int
    subject: int
    start: int
    end: int


@dataclass
class _Run:
    """A chunk while it is read."""

    first: int = -1
    last: int = -1
    noun: int = -1  # index of the word that is the head so far
    attributes: list[Attribute] = field(default_factory=list)
    predicate: bool = False


class Chunker:
    """Cuts words into chunks, from left to right."""

    def __init__(self, words: list[Token]) -> None:
        self.words = words
        self.chunks: list[Chunk] = []
        self._run = _Run()
        self._sentence = 0
        self._subject = -1
        self._subject_may_change = True
        self._after_copula = False
        self._after_modal = False

    def cut(self) -> list[Chunk]:
        """Return the chunks in order."""
        i, n = 0, len(self.words)
        while i < n:
            i = self._read(i)
        self._close()
        return self.chunks

    def _read(self, i: int) -> int:
        """Read word `i`; return the index to go on from."""
        words = self.words
        word, role = words[i], words[i].role
        if word.low in _AMOUNTS and not (i + 1 < len(words) and words[i + 1].low == "of"):
            role = word.role = "noun"
        if role in _CONTENT or role == "verb" or (role == "auxiliary" and self._is_a_can(i)):
            return self._content(i)
        if role == "quote":
            return i + 1
        if word.low == "i" and self._run.noun == i - 1 >= 0:
            return self._content(i)  # the letter I
        run = self._run
        if role in ("comma", "conjunction") and run.first >= 0 and run.noun < 0 and self._continues(i + 1):
            return i + 1  # red and white flag; small, red car
        if role == "determiner" and word.low == "that" and run.noun >= 0:
            role = word.role = "clause"  # a relative clause begins; the reach of cues ends there too
        if role == "preposition" and word.low == "of" and self._counts_pairs(i):
            return i + 1
        self._close()
        self._boundary(word, role)
        return i + 1

    def _boundary(self, word: Token, role: str) -> None:
        low = word.low
        if role == "cue" and low.endswith(("n't", "nt", "cannot")):
            low = low.removesuffix("not").removesuffix("n't").removesuffix("nt")
            role = "copula" if low in COPULAS else "auxiliary"
            low = "do" if low not in ("has", "have", "had") else low  # "can't", "won't": whatever the modal
        if role == "copula":
            self._after_copula = True
            self._after_modal = False
            self._subject_may_change = False
        elif role == "auxiliary" or (role == "cue" and low in _MODALS) or low == "to":
            self._after_modal = low in _MODALS
        elif role in ("adverb", "cue", "style"):
            pass
        else:
            self._after_copula = self._after_modal = False
        if role == "stop":
            self._sentence += 1
            self._subject = -1
            self._subject_may_change = True
        elif role in ("comma", "conjunction", "dash"):
            self._subject_may_change = True
        elif role == "clause":
            headed = [k for k in range(max(0, len(self.chunks) - 1), len(self.chunks)) if self.chunks[k].head]
            if word.low in ("that", "which", "who") and headed:
                self._subject, self._subject_may_change = headed[-1], False
            else:
                self._subject_may_change = True
        elif role == "preposition" and word.low in RELATIONS:
            self._relate(word)

    def _relate(self, word: Token) -> None:
        """Say of the chunk before "above" that it is above something."""
        if self.chunks and self.chunks[-1].head and self.chunks[-1].sentence == self._sentence:
            self.chunks[-1].attributes.append(Attribute(POSITION, word.low, word.start, word.end))

    def _content(self, i: int) -> int:
        words, run = self.words, self._run
        word, low = words[i], words[i].low
        if word.role == "name":
            self._take(i, noun=True)
            return i + 1
        follows = self._follows(i)
        if (low in VERBS or word.role == "verb") and self._is_verb(i, follows):
            self._close()
            self._after_copula = self._after_modal = False
            self._subject_may_change = False
            return i + 1
        if self._after_modal and run.first < 0 and self._is_infinitive(i):
            self._after_modal = False
            return i + 1
        if low in _PAIRS and (amount := self._pairs(i)) is not None:
            self._take(i, Attribute(COUNT, str(amount), word.start, word.end))
            return i + 1
        if low == "half" and [each.low for each in words[i + 1 : i + 3]] == ["a", "dozen"]:
            self._take(i, Attribute(COUNT, "6", word.start, words[i + 2].end))
            self._run.last = i + 2
            return i + 3
        number = number_of(low)
        if (
            number is not None
            and run.noun < 0
            and (low, words[i + 1].low if follows else "") not in COMPOUNDS
        ):
            self._take(i, Attribute(COUNT, str(number), word.start, word.end))
            return i + 1
        if (attribute := self._attribute(i, follows)) is not None:
            self._take(i, attribute)
            if follows and self._denied_before(run.first) and self._attribute_ends(i):
                self._close()  # a not very big dog: only "big" is denied
            if attribute.kind == STATE and is_doing(low) and self._ends_after_doing(i, follows):
                self._close()
            return i + 1
        if low.endswith("ed") and self._is_participle(i, follows):
            self._close()
            self._after_copula = False
            return i + 1
        designates = len(low) == 1 or low.isdigit()  # the letter B, World War 2: no head of its own
        self._take(i, noun=run.noun < 0 or not designates)
        return i + 1

    def _take(self, i: int, attribute: Attribute | None = None, *, noun: bool = False) -> None:
        run = self._run
        if run.first < 0:
            run.first = i
            run.predicate = self._after_copula
            self._after_copula = self._after_modal = False
        run.last = i
        if attribute is not None:
            run.attributes.append(attribute)
        if noun:
            run.noun = i

    def _close(self) -> None:
        run = self._run
        if run.first < 0:
            return
        words = self.words
        head = _lemma(words[run.noun].low) if run.noun >= 0 else ""
        plain = words[run.noun].low if run.noun >= 0 else ""
        attributes = [a for a in run.attributes if a.kind != COUNT or _counts(a, plain, words[run.first].low)]
        first, last = run.first, run.last
        start = words[first].start
        inside = sum(words[k].role == "quote" for k in range(first, last + 1))
        if inside % 2 and first and words[first - 1].role == "quote":
            start = words[first - 1].start
        chunk = Chunk(
            first=first,
            last=last,
            head=head,
            attributes=attributes,
            predicate=run.predicate,
            sentence=self._sentence,
            subject=self._subject,
            start=start,
            end=words[last].end,
        )
        if head and (self._subject < 0 or self._subject_may_change) and not run.predicate:
            self._subject, self._subject_may_change = len(self.chunks), False
        self.chunks.append(chunk)
        self._run = _Run()

    def _attribute(self, i: int, follows: bool) -> Attribute | None:
        """Return what word `i` says of a noun, None where it is a noun or part of a name itself."""
        word, run = self.words[i], self._run
        low = word.low
        start, end = word.start, word.end
        kind = kind_of(low)
        if kind is None and "-" in low:  # dark-red, red-brown; not red-nosed
            before, _, colour = low.rpartition("-")
            if ATTRIBUTES.get(colour) == COLOUR and (
                before in MODIFIERS_OF_COLOUR or ATTRIBUTES.get(before) == COLOUR
            ):
                return Attribute(COLOUR, colour, end - len(colour), end)
        if kind is None:
            return None
        after = self.words[i + 1].low if i + 1 < len(self.words) else ""
        if (low, after) in COMPOUNDS or (i and (self.words[i - 1].low, low) in COMPOUNDS):
            return None
        if not follows and low in NOUNS_TOO and not self._after_copula_or_predicate():
            if kind == POSITION and run.first < 0:
                if self._after_indefinite(i):
                    return None
            elif kind == AGE or run.noun >= 0 or not run.attributes or self._nothing_else_named(i):
                return None
        return Attribute(kind, low, start, end)

    def _denied_before(self, first: int) -> bool:
        """Whether "a not" or "a not very" stands before word `first`."""
        words = self.words
        if first > 1 and words[first - 1].role == "adverb":
            first -= 1
        return first > 1 and words[first - 1].low == "not" and words[first - 2].low in ("a", "an", "the")

    def _attribute_ends(self, i: int) -> bool:
        return kind_of(self.words[i + 1].low) is None

    def _nothing_else_named(self, i: int) -> bool:
        """Whether word `i`, last of a run of attributes, must be the thing: "big orange", not "red and gold"."""
        return self.words[i - 1].role not in ("conjunction", "comma")

    def _after_copula_or_predicate(self) -> bool:
        return self._run.predicate if self._run.first >= 0 else self._after_copula

    def _after_indefinite(self, i: int) -> bool:
        return i > 0 and self.words[i - 1].role == "determiner" and self.words[i - 1].low != "the"

    def _ends_after_doing(self, i: int, follows: bool) -> bool:
        run = self._run
        return run.predicate or run.noun >= 0 or not follows

    def _follows(self, i: int) -> bool:
        """Whether the next word goes on with the same run."""
        return self._continues(i + 1)

    def _continues(self, i: int) -> bool:
        words = self.words
        while i < len(words) and words[i].role == "quote":
            i += 1
        if i >= len(words):
            return False
        word = words[i]
        if word.role == "name" or (word.role == "verb" and word.low in VERBS_OR_NOUNS):
            return True
        if word.role == "verb":
            return word.low.endswith(("ed", "en", "wn", "cut"))
        return word.role == "noun"

    def _is_verb(self, i: int, follows: bool) -> bool:
        words, low = self.words, self.words[i].low
        after = words[i + 1].role if i + 1 < len(words) else "stop"
        at = i - 1
        while at >= 0 and words[at].role == "quote":
            at -= 1
        before = words[at] if at >= 0 else None
        if self._after_modal and self._run.first < 0:
            return True
        if low in VERBS_OR_NOUNS:
            return self._is_verb_here(i, before, after)
        if low.endswith(("ed", "en", "wn")) and self._run.noun < 0 and follows:
            return before is not None and before.role in ("copula", "auxiliary")
        return True

    def _is_verb_here(self, i: int, before: Token | None, after: str) -> bool:
        """Whether a word that is a noun as often is a verb between these two."""
        words, low, run = self.words, self.words[i].low, self._run
        if before is not None and before.role == "noun":
            if after in _ENDS:  # The man smiles.
                return low.endswith("s") and run.first > 0 and words[run.first - 1].role == "determiner"
            follower = words[i + 1].low if i + 1 < len(words) else ""
            if run.noun < 0 or not (low.endswith("s") or is_plural(before.low)):
                return False  # bus stop
            if is_doing(follower) or number_of(follower) is not None:
                return True
            return after in ("determiner", "preposition", "adverb", "pronoun", "cue")
        if before is not None and (before.low in _BEFORE_VERBS or before.role == "clause"):
            return low.endswith("s") or after in ("determiner", "pronoun")  # that barks; but hold the door
        begins = before is None or before.role == "conjunction"
        return begins and after in ("determiner", "pronoun")  # Eat your bread!

    def _is_infinitive(self, i: int) -> bool:
        words, low = self.words, self.words[i].low
        if kind_of(low) is not None or low in NUMBERS or not words[i].text.islower():
            return False
        if i and words[i - 1].low == "to":
            return i + 1 < len(words) and words[i + 1].role in ("determiner", "pronoun")
        return True

    def _is_participle(self, i: int, follows: bool) -> bool:
        low = self.words[i].low
        if low.endswith("eed") or len(low) < 5 or low in _NO_PARTICIPLE or "-" in low:
            return False
        if self._after_copula and self._run.first < 0:
            return True
        return self._run.noun >= 0 and not follows and self._run.last == i - 1

    def _is_a_can(self, i: int) -> bool:
        """Whether "can" is a thing: "garbage can", "a can of beans"."""
        words = self.words
        if words[i].low not in ("can", "cans", "will", "must"):
            return False
        after = words[i + 1].role if i + 1 < len(words) else "stop"
        if i and words[i - 1].role == "determiner":
            return words[i - 1].low in ("a", "the", "this", "an") and after != "pronoun"
        return self._run.first >= 0 and after in (
            "stop",
            "preposition",
            "comma",
            "conjunction",
            "close",
            "dash",
        )

    def _pairs(self, i: int) -> int | None:
        """Return how many "pair of", "dozen" ... mean at word `i`, None where it is a thing ("a couple")."""
        words = self.words
        after = words[i + 1] if i + 1 < len(words) else None
        amount = _PAIRS[words[i].low]
        if after is None or not (after.low == "of" or (words[i].low == "dozen" and after.role == "noun")):
            return None
        if after.low == "of" and not self._continues(i + 2):
            return None
        run = self._run
        if run.attributes and run.last == i - 1 and run.attributes[-1].kind == COUNT:
            amount *= int(run.attributes.pop().value)
        return amount

    def _counts_pairs(self, i: int) -> bool:
        run = self._run
        return (
            run.noun < 0
            and run.last == i - 1
            and i > 0
            and self.words[i - 1].low in _PAIRS
            and run.first >= 0
        )


def number_of(word: str) -> int | None:
    """Return the number that a lower-case word or digits say, up to 100."""
    if word in NUMBERS:
        return NUMBERS[word]
    if word.isdecimal() and word.isascii() and len(word) <= 3 and 0 < int(word) <= _MOST_COUNTED:
        return int(word)
    return None


def _lemma(low: str) -> str:
    """Return the singular of a head, without a possessive ending."""
    if low.endswith("'s"):
        return low[:-2]
    return singular(low.rstrip("'"))


def _counts(attribute: Attribute, noun: str, first: str) -> bool:
    """Whether a number counts the noun: "four flowers", but neither "four leaf clover" nor "10 yen"."""
    if first in _PAIRS or first == "half":
        return noun not in ONE_AS_A_PAIR
    if not noun:
        return True
    return can_be_one(noun) if attribute.value == "1" else can_be_many(noun)
