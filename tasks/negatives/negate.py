"""Wrong captions by one small word: with becomes without, is becomes is not, and back."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from schemas.source import Source
from tasks.factual.contract import Factual, Phrase
from tasks.factual.number import article, is_plural
from tasks.factual.read import factual
from tasks.negatives._edit import like, order, same_length
from tasks.negatives.contract import Rewrite

_LOOKED_BACK = 32
_WITH = re.compile(r"(?<=[^\W_] )(?<!ed )(with)( (?:an? |the |some |his |her |its |their )?)$", re.IGNORECASE)
_WITHOUT = re.compile(r"\b(without(?: any)?)( (?:an? |the |his |her |its |their )?)$", re.IGNORECASE)
_HAS_NO = re.compile(r"\b((?:with|has|have|is|are|wearing|holding|contains|showing) )(no )$", re.IGNORECASE)
_THERE_IS = re.compile(r"\b(there (?:is|are) )((?:an?|some|\w+)? ?)$", re.IGNORECASE)
_IS_NOT = re.compile(r"\b(is|are|was|were)( not|n['’]t) $", re.IGNORECASE)
_IS = re.compile(r" (is|are|was|were) ", re.IGNORECASE)


@dataclass(frozen=True)
class Negate:
    """Deny what a text says is there, or say is there what it denies.

    "A man with a hat" becomes "without a hat" and "The door is open" becomes "is not open"; "There are no trees"
    becomes "There are trees". Texts that only name a thing are left alone.

    Args:
        per_text: Rewrites a text at most.

    Raises:
        ValueError: `per_text` is under 1.
    """

    name: ClassVar[str] = "negate"
    source: ClassVar[Source] = Source(
        title="Vision-Language Models Do Not Understand Negation",
        authors="Alhamoud et al.",
        year=2025,
        url="https://arxiv.org/abs/2501.09425",
        departs="rules turn a caption's own words; no language model writes captions of what is absent",
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
        """Return at most `per_text` rewrites a text.

        Raises:
            ValueError: `group` or `facts` has another length than `texts`.
        """
        same_length(texts, group=group, facts=facts)
        made: list[Rewrite] = []
        for row, text in enumerate(texts):
            turned = {rewrite.text: rewrite for rewrite in _turned(text, row, factual(text))}
            chosen = order(turned, seed, self.name, text)[: self.per_text]
            made.extend(turned[each] for each in chosen)
        return made


def _turned(text: str, row: int, found: Factual) -> Iterator[Rewrite]:
    for phrase in found.phrases:
        if phrase.assertion == "absent":
            yield from _affirmed(text, row, phrase)
        elif phrase.assertion == "present":
            yield from _denied(text, row, phrase)


def _before(text: str, phrase: Phrase, pattern: re.Pattern[str]) -> tuple[re.Match[str], int] | None:
    """Return the match of a pattern that ends where a phrase starts, and where its window begins."""
    lead = max(0, phrase.start - _LOOKED_BACK)
    found = pattern.search(text[lead : phrase.start])
    return (found, lead) if found else None


def _moved(span: tuple[int, int], by: int) -> tuple[int, int]:
    return span[0] + by, span[1] + by


def _rewrite(text: str, row: int, span: tuple[int, int], after: str) -> Rewrite:
    start, end = span
    new = text[:start] + after + text[end:]
    return Rewrite(new, row, "negation", text[start:end].strip(), after.strip(), true=False)


def _denied(text: str, row: int, phrase: Phrase) -> Iterator[Rewrite]:
    if not phrase.head:
        return
    if hit := _before(text, phrase, _WITH):
        found, lead = hit
        yield _rewrite(text, row, _moved(found.span(1), lead), like("without", found.group(1)))
    elif (hit := _before(text, phrase, _THERE_IS)) and hit[0].group(2).strip().lower() in (
        "a",
        "an",
        "some",
        "",
    ):
        found, lead = hit
        yield _rewrite(text, row, _moved(found.span(2), lead), "no ")
    joined = _IS.search(phrase.text)
    if joined and any(a.start > phrase.start + joined.start() for a in phrase.attributes):
        yield _rewrite(text, row, _moved(joined.span(1), phrase.start), f"{joined.group(1)} not")


def _affirmed(text: str, row: int, phrase: Phrase) -> Iterator[Rewrite]:
    many = is_plural(phrase.text.split()[-1].lower())
    if hit := _before(text, phrase, _WITHOUT):
        found, lead = hit
        bare = found.group(1).lower().endswith("any") and not many
        after = f"with {article(phrase.text)}" if bare else "with"
        yield _rewrite(text, row, _moved(found.span(1), lead), like(after, found.group(1)))
    elif hit := _before(text, phrase, _HAS_NO):
        found, lead = hit
        start, end = _moved(found.span(2), lead)
        words = "" if many else article(phrase.text) + " "
        new = text[:start] + words + text[end:]
        verb = found.group(1).strip()
        yield Rewrite(new, row, "negation", f"{verb} no", f"{verb} {words}".strip(), true=False)
    elif hit := _before(text, phrase, _IS_NOT):
        found, lead = hit
        start, end = lead + found.start(), lead + found.end(2)
        yield _rewrite(text, row, (start, end), found.group(1))
