"""What a text denies and what it leaves open: cue words and how far they reach.

The rules are after NegEx (Chapman et al. 2001): a cue reaches over what follows or stands before it until the
clause ends. They differ in that coordination and places end the reach of some cues earlier.
"""

from dataclasses import dataclass
from typing import Literal

from tasks.factual._lexicon import PLACES, words_of
from tasks.factual._tokens import Token
from tasks.factual.attributes import is_doing

Effect = Literal["absent", "uncertain", "none"]
Reach = Literal["forward", "backward", "either"]
NO_LIMIT = 1_000_000
SIGNS = words_of("sign signs symbol symbols signal button logo emblem badge warning poster sticker zone")


@dataclass(frozen=True)
class Cue:
    """What a cue does.

    Args:
        effect: What becomes of phrases in reach; "none" for words that only look like a cue ("not only").
        reach: Where it reaches; "either" is forward where something follows at once, else backward.
        most: Phrases it reaches at most.
        kind: no, not, without ...; how lists and places bound it.
    """

    effect: Effect
    reach: Reach = "forward"
    most: int = NO_LIMIT
    kind: str = "not"


def _table(*rows: tuple[str, Cue]) -> dict[str, list[tuple[tuple[str, ...], Cue]]]:
    table: dict[str, list[tuple[tuple[str, ...], Cue]]] = {}
    for phrases, cue in rows:
        for phrase in phrases.split(","):
            words = tuple(phrase.split())
            table.setdefault(words[0], []).append((words, cue))
    for entries in table.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return table


# "n't" and "cannot" read as "not" here.
_CUES = _table(
    (
        "not only,not just,not merely,not simply,not all,not every,not everything,not everyone,not without,"
        "not to mention,no doubt,without doubt,without a doubt,without question,no fewer than,no less than,"
        "no more than,no other than,none other than,nothing but,anything but a few,no wonder,no matter,"
        "never mind",
        Cue("none"),
    ),
    ("no,nor,no longer,no more,no sign of,no trace of,no evidence of", Cue("absent", kind="no")),
    ("not,never,neither,fails to,failed to,fail to,not any longer,not any", Cue("absent")),
    (
        "hardly any,barely any,scarcely any,hardly,few if any,little or no,little to no,almost no,next to no,"
        "nearly no",
        Cue("absent", kind="no"),
    ),
    ("none of", Cue("absent", kind="none of")),
    ("none,nothing,nobody,no one,no-one,nowhere", Cue("absent", kind="nothing")),
    (
        "without,w/o,lacks,lack,lacking,lacked,lack of,free of,free from,devoid of,absence of,empty of,bare of",
        Cue("absent", kind="without"),
    ),
    ("instead of,rather than,as opposed to", Cue("absent", most=1)),
    ("removed,cut off,torn off,broken off", Cue("absent", reach="backward", most=1)),
    ("missing,absent", Cue("absent", reach="either", most=1)),
    (
        "not visible,not present,not seen,not shown,not there,not here,not found,not included,not pictured,"
        "not depicted,not in the picture,not in the image,not in the photo,no longer there,no longer visible,"
        "no longer present,nowhere to be seen,nowhere to be found,nowhere in sight,is gone,are gone,was removed,"
        "were removed,been removed,is removed,are removed,ruled out,out of sight",
        Cue("absent", reach="backward"),
    ),
    (
        "maybe,perhaps,possibly,probably,presumably,supposedly,apparently,seemingly,might,may,could,either,"
        "whether,appears,appear,appearing,appeared,"
        "not sure if,not sure whether,not clear if,not clear whether,not certain if,not certain whether,unclear if,"
        "unclear whether,uncertain if,uncertain whether,unknown if,unknown whether,unsure if,unsure whether,"
        "seems,seem,seemed,seeming,resembles,resemble,resembling,suggests,suggesting,not sure,not certain,"
        "not clear,not rule out,not exclude,not necessarily,not yet clear,unsure,i think,i guess,i believe,"
        "i suppose,said to,thought to,believed to,supposed to,assumed to,might not,may not,maybe not,perhaps not,"
        "possibly not,probably not",
        Cue("uncertain"),
    ),
    ("looks like,look like,looking like,looked like,looks as if", Cue("uncertain", kind="like")),
    ("possible,potential,probable,suspected,likely,unlikely", Cue("uncertain", reach="either", most=1)),
    ("unclear,uncertain,unknown,debatable,questionable", Cue("uncertain", reach="either")),
    (
        "not be ruled out,not ruled out,not been ruled out,not be excluded,not excluded,not been excluded",
        Cue("uncertain", reach="backward"),
    ),
)
_NOT = words_of(
    "cannot dont doesnt didnt isnt arent wasnt werent cant couldnt wont wouldnt hasnt havent hadnt aint"
)
_GO_BACK_WITHOUT_FOLLOWER = words_of(
    "maybe perhaps possibly probably presumably supposedly apparently seemingly"
)


def mark_cues(words: list[Token]) -> dict[int, Cue]:
    """Give cue words the role "cue" and return what each cue does, by the index of its first word."""
    cues: dict[int, Cue] = {}
    skip = 0
    for i, word in enumerate(words):
        if i < skip:
            continue
        low = "not" if word.low in _NOT or word.low.endswith("n't") else word.low
        if low not in _CUES or word.role in ("style", "name"):
            continue
        found = _match(words, i, low)
        if found is None:
            continue
        length, cue = found
        if length == 1 and not _is_cue(words, i, low):
            continue
        if low == "no" and length == 1 and _mark_sign(words, i):
            continue
        for each in words[i : i + length]:
            each.role = "cue"
        if cue.reach == "either":
            ahead = words[i + length] if i + length < len(words) else None
            forward = ahead is not None and ahead.role in ("noun", "determiner", "clause", "style")
            cue = Cue(cue.effect, "forward" if forward else "backward", cue.most, cue.kind)
        elif low in _GO_BACK_WITHOUT_FOLLOWER and _ends_here(words, i + length):
            cue = Cue(cue.effect, "backward", 1, cue.kind)
        elif low == "not" and length == 1 and i and words[i - 1].low in ("a", "an", "the"):
            cue = Cue("absent", most=1)  # a not very big dog
        cues[i] = cue
        skip = i + length
    return cues


def _match(words: list[Token], i: int, low: str) -> tuple[int, Cue] | None:
    for phrase, cue in _CUES[low]:
        if all(
            i + k < len(words) and words[i + k].low == each and words[i + k].role != "style"
            for k, each in enumerate(phrase[1:], start=1)
        ):
            return len(phrase), cue
    return None


def _is_cue(words: list[Token], i: int, low: str) -> bool:
    after = words[i + 1] if i + 1 < len(words) else None
    if low == "no":  # No. 5
        if after is not None and after.low == "." and i + 2 < len(words) and words[i + 2].low[0].isdigit():
            words[i].role, words[i + 1].role = "adverb", "mark"
            return False
        return after is None or not after.low[0].isdigit()
    if low in ("might", "may", "could"):
        if words[i].role == "noun":
            return False
        return not (low == "could" and after is not None and after.low in ("not", "never"))
    if low in ("possible", "potential", "probable", "suspected", "lack", "unknown"):
        return words[i].role == "noun"
    return True


def _mark_sign(words: list[Token], i: int) -> bool:
    """Make "No Smoking sign" a name: a picture of it shows the sign."""
    for j in range(i + 1, min(i + 5, len(words))):
        if words[j].low in SIGNS and j > i + 1:
            for word in words[i : j + 1]:
                word.role = "name"
            return True
        if words[j].role not in ("noun", "verb", "preposition") or words[j].low in PLACES:
            return False
    return False


def _ends_here(words: list[Token], i: int) -> bool:
    for word in words[i : i + 2]:
        if word.role in ("stop", "comma", "close", "dash", "clause"):
            return True
        if word.role not in ("quote", "style"):
            return False
    return i >= len(words) or i + 1 >= len(words)


@dataclass
class Scope:
    """A cue at work, while a sentence is read from left to right."""

    cue: Cue
    depth: int  # brackets open where it began
    taken: int = 0  # phrases reached so far
    ended: bool = False
    determined: bool = False  # "without a hat" has an article, "without leaves" none
    spared: bool = False  # "none of the birds are red": the birds are there

    def reaches(self) -> bool:
        """Whether the next phrase is in reach; counts it if so."""
        if self.ended or self.taken >= self.cue.most:
            return False
        if self.cue.kind == "none of" and not self.spared:
            self.spared = True
            return False
        self.taken += 1
        return True

    def pass_word(self, words: list[Token], i: int, or_follows: bool, depth: int) -> None:
        """Take note of a word between phrases.

        Args:
            words: The words of the text.
            i: Index of the word.
            or_follows: Whether an "or" or "nor" follows in the clause, which makes commas parts of a list.
            depth: Brackets open behind it.
        """
        role = words[i].role
        if role in ("stop", "clause", "dash") or depth < self.depth:
            self.ended = True
        elif self.taken or self.cue.kind == "nothing":
            self.ended = self.ended or self._ends_at(words, i, or_follows)
        elif role == "comma" and i + 1 < len(words) and words[i + 1].role == "preposition":
            self.ended = True  # no longer used, in a field
        elif role == "determiner":
            self.determined = True
        elif role == "pronoun":
            self.spared = True  # none of them

    def _ends_at(self, words: list[Token], i: int, or_follows: bool) -> bool:
        word = words[i]
        if word.low in ("or", "nor"):
            return False
        kind, after = self.cue.kind, words[i + 1] if i + 1 < len(words) else None
        if word.role == "preposition":
            return word.low in PLACES or (word.low == "with" and kind in ("without", "nothing"))
        if word.role in ("verb", "copula"):
            return kind == "without" or (word.role == "copula" and kind == "like")
        if word.role == "determiner" and kind == "nothing":
            return word.low == "the"  # no one rides the bicycle: there is one
        if after is None:
            return False
        if word.role == "comma":
            aside = after.role in ("determiner", "pronoun", "preposition") or is_doing(after.low)
            return aside and not or_follows
        if word.role == "conjunction":
            if after.role in ("preposition", "verb", "copula", "auxiliary", "pronoun"):
                return True
            apart = kind == "no" or (kind == "without" and not self.determined)
            return apart and after.role == "determiner" and not or_follows
        return False
