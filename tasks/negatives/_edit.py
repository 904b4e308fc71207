"""Put other words into a text so that it still reads: articles, capitals, a choice that a seed decides."""

import hashlib
import re
from collections.abc import Iterable, Sequence

from tasks.factual.contract import Factual, Phrase
from tasks.factual.number import article, singular

_ARTICLE_BEFORE = re.compile(r"(?<![\w'’-])([Aa][Nn]?)(\s+[“\"‘'(]?)$")
_LOOKED_BACK = 24  # characters; an article and what may stand between it and its word
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def replaced(text: str, start: int, end: int, words: str) -> str:
    """Return the text with `words` in place of text[start:end], the article before them made to fit."""
    before, after = text[:start], text[end:]
    lead = max(0, start - _LOOKED_BACK)
    following = _WORD.search(words + after)
    if following and (found := _ARTICLE_BEFORE.search(before[lead:])):
        old = found.group(1)
        if len(old) > 1 or not _is_a_letter(before, lead + found.start()):
            fit = article(following.group())
            fit = (
                fit.upper() if len(old) > 1 and old.isupper() else fit.capitalize() if old[0] == "A" else fit
            )
            before = before[: lead + found.start()] + fit + found.group(2)
    return before + words + after


def _is_a_letter(before: str, at: int) -> bool:
    """Whether the "a" at this place is the letter: "the letter A with"."""
    return bool(
        re.search(r"\b(?:letter|vitamin|type|grade|note|plan)\s+$", before[max(0, at - 12) : at], re.I)
    )


def like(words: str, model: str) -> str:
    """Return the words in capitals as the model has them: Red -> Blue, RED -> BLUE, red -> blue."""
    if len(model) > 1 and model.isupper():
        return words.upper()
    if model[:1].isupper():
        if len(model.split()) > 1 and all(word[:1].isupper() for word in model.split()):
            return " ".join(word[:1].upper() + word[1:] for word in words.split(" "))
        return words[:1].upper() + words[1:]
    return words


def titled(text: str) -> bool:
    """Whether a text is written as titles are: every word in capitals, no full stop."""
    words = [word for word in text.split() if word[0].isalpha()]
    return all(word[0].isupper() for word in words) and not text.rstrip().endswith((".", "!"))


def order(candidates: Iterable[str], *of: object) -> list[str]:
    """Return the candidates in an order that `of` (a seed, a text) decides and nothing else."""
    salt = "\x1f".join(map(str, of))

    def rank(candidate: str) -> bytes:
        return hashlib.blake2b(
            f"{salt}\x1f{candidate}".encode("utf-8", "surrogatepass"), digest_size=8
        ).digest()

    return sorted(dict.fromkeys(candidates), key=lambda candidate: (rank(candidate), candidate))


def same_length(texts: Sequence[str], **others: Sequence[object] | None) -> None:
    """Refuse rows that do not fit the texts.

    Raises:
        ValueError: One has another number of rows.
    """
    for name, rows in others.items():
        if rows is not None and len(rows) != len(texts):
            raise ValueError(f"{name} has {len(rows)} rows but there are {len(texts)} texts")


def present(found: Factual) -> list[Phrase]:
    """Return the phrases that the text says are there."""
    return [phrase for phrase in found.phrases if phrase.assertion == "present"]


def noun_span(phrase: Phrase, text: str) -> tuple[int, int] | None:
    """Return where the noun of a phrase stands, words that only name its kind included: "guinea fowl".

    None where the phrase does not hold the noun it is about.
    """
    words = [(m.start() + phrase.start, m.end() + phrase.start) for m in _WORD.finditer(phrase.text)]
    own = [k for k, (start, end) in enumerate(words) if _names(text[start:end].lower(), phrase.head)]
    if not phrase.head or not own:
        return None
    said = {(a.start, a.end) for a in phrase.attributes}
    first = last = own[-1]
    while first:
        before = words[first - 1]
        apart = text[before[1] : words[first][0]].strip(" _-")  # a quote, a comma
        if apart or _holds(before, said) or text[before[0] : before[1]] == "of":
            break
        first -= 1
    return words[first][0], words[last][1]


def _names(word: str, head: str) -> bool:
    return word == head or singular(word.replace("’", "'").removesuffix("'s")) == head


def _holds(word: tuple[int, int], spans: set[tuple[int, int]]) -> bool:
    return any(start < word[1] and word[0] < end for start, end in spans)
