"""Words and marks of a text with their places, and what part each plays."""

import re
from functools import lru_cache

from tasks.factual._lexicon import (
    ADVERBS,
    AUXILIARIES,
    CLAUSE_ENDS,
    CONJUNCTIONS,
    COPULAS,
    DETERMINERS,
    PREPOSITIONS,
    PRONOUNS,
    VERBS,
    words_of,
)

# One pass from left to right. Every repeat is over a class that its follower is not in, or bounded, so that
# no text can make it search in vain for long.
_TOKEN = re.compile(
    r"(?P<junk>https?://\S+|www\.\S+|[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}|<[^<>]{0,300}>"
    r"|&(?:[A-Za-z]{2,8}|\#\d{1,6});|HASH\(0x[0-9A-Fa-f]{1,16}\)|\b0x[0-9A-Fa-f]+)"
    r"|(?P<word>[wW]/[oO]?\b|[$€£¥]?(?<!\w)\.\d+|[$€£¥]?\d+(?:[.,:]\d+)+|[$€£¥]\d+"
    r"|[^\W_]+(?:['’‐‑-][^\W_]+)*)"
    r"|(?P<mark>['’]s\b|--+|\.{2,}|\n|[^\w\s])"
)
_NUMBERED = re.compile(r"([^\W\d_]{4,})(\d{1,3})")

_MARKS = (
    dict.fromkeys(".!?;…\n。", "stop")
    | dict.fromkeys("-–—:*•~=>", "dash")
    | dict.fromkeys("([{", "open")
    | dict.fromkeys(")]}", "close")
    | dict.fromkeys("\"“”„«»`‘’'", "quote")
    | dict.fromkeys("&+/|", "conjunction")
    | {",": "comma", "、": "comma"}
)
_ROLES: dict[str, str] = {}
for _role, _words in (  # where a word is in two classes the later line wins
    ("verb", VERBS),
    ("adverb", ADVERBS),
    ("preposition", PREPOSITIONS),
    ("auxiliary", AUXILIARIES),
    ("determiner", DETERMINERS),
    ("pronoun", PRONOUNS),
    ("clause", CLAUSE_ENDS - {"that", "which", "so", "then", "instead", "rather"}),
    ("copula", COPULAS),
    ("conjunction", CONJUNCTIONS),
):
    _ROLES.update(dict.fromkeys(_words, _role))
_CONTRACTED = {
    "s": "copula",
    "m": "copula",
    "re": "copula",
    "ve": "auxiliary",
    "ll": "auxiliary",
    "d": "auxiliary",
}
_WITH_COPULA = words_of("it he she that there here what who this where we you they i")


class Token:
    """A word or mark.

    Attributes:
        text: As it stands.
        low: In lower case, apostrophes and hyphens made plain.
        start: Offset in the text.
        end: Offset behind it.
        role: noun, determiner, pronoun, preposition, conjunction, clause, copula, auxiliary, adverb or verb for
            words; stop, comma, dash, open, close, quote or mark for marks; later also style, cue or name.
    """

    __slots__ = ("end", "low", "role", "start", "text")

    def __init__(self, text: str, start: int, role: str, low: str) -> None:
        self.text = text
        self.low = low
        self.start = start
        self.end = start + len(text)
        self.role = role


def tokens(text: str) -> list[Token]:
    """Return the words and marks in order; white space and underscores are in none of them, line ends are."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        start, piece = match.start(), match.group()
        if match.lastgroup == "mark":
            role = _MARKS.get(piece, "stop" if piece[0] == "." else "dash" if piece[0] == "-" else "mark")
            found.append(Token(piece, start, "copula" if piece[1:] == "s" else role, piece))
        elif match.lastgroup == "junk":
            found.append(Token(piece, start, "style", piece))
        elif piece[-1].isdigit() and (numbered := _NUMBERED.fullmatch(piece)):
            word, number = numbered.groups()
            found.append(Token(word, start, *_read(word)))
            found.append(Token(number, start + len(word), "style", number))
        else:
            found.append(Token(piece, start, *_read(piece)))
    return found


@lru_cache(maxsize=65_536)
def _read(word: str) -> tuple[str, str]:
    low = word.lower().replace("’", "'").replace("‐", "-").replace("‑", "-")
    if low[1:2] == "/":
        return "preposition", low
    if word in ("US", "IT", "WHO", "AM"):
        return "noun", low
    if low in ("may", "will", "mark") and word[0].isupper():
        return "noun", low  # the month and the man; at the start of a sentence we cannot tell
    stem, apostrophe, ending = low.rpartition("'")
    if apostrophe and stem in _WITH_COPULA and ending in _CONTRACTED:
        return _CONTRACTED[ending], low
    return _ROLES.get(low, "noun"), low
