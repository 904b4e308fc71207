"""What a draft says, phrase by phrase, and what is left of it without some of them."""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import replace

from tasks.captioners.contract import MAX_CHARS, Draft, Failure, Statement
from tasks.factual.read import factual


def admitted(said: Draft | Failure) -> Draft | Failure:
    """Return a draft as the lake takes it, whoever wrote it: one line, NFC, no control characters, bounded, not empty.

    A captioner that keeps its contract sees no difference. What markup or instructions a text holds stays in it as
    plain characters; those who show it escape it.
    """
    if isinstance(said, Failure):
        return replace(said, message=_plain(said.message)[:500])
    text = _plain(said.text)
    if not text:
        return Failure("empty", "the draft has no text")
    if len(text) > MAX_CHARS:
        text = text[:MAX_CHARS].rsplit(" ", 1)[0].rstrip()
    spoken = tuple(
        replace(statement, text=words, confidence=min(max(statement.confidence, 0.0), 1.0))
        for statement in said.statements
        if (words := _plain(statement.text)[:MAX_CHARS])
    )
    return replace(said, text=text, statements=spoken or (Statement(text, "whole", 0.0),))


def _plain(text: str) -> str:
    kept = "".join(" " if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") else char for char in text)
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", kept)).strip()


def statements_of(draft: Draft) -> tuple[Statement, ...]:
    """Return what can be checked one by one: the draft's statements, or its factual phrases where it is one whole.

    Phrases the draft says are absent stay part of the whole: nothing in a picture could bear them out.
    """
    if any(statement.kind != "whole" for statement in draft.statements):
        return draft.statements
    (whole,) = draft.statements[:1]
    found = [
        phrase for phrase in factual(draft.text, draft.language).phrases if phrase.assertion == "present"
    ]
    said = {phrase.text: replace(whole, text=phrase.text, kind="object") for phrase in found}
    return tuple(said.values()) or draft.statements


def without(draft: Draft, statements: Collection[Statement]) -> Draft | Failure:
    """Return a draft that says only these of its statements, one after the other, or why nothing is left.

    Words between statements fall away with those they joined: what is left is plain, and nobody's new claim.
    """
    kept = [statement for statement in statements_of(draft) if statement in statements]
    if not kept:
        return Failure("nothing-to-say", "nothing that was said could be borne out")
    things = [statement.text for statement in kept if statement.kind != "style"]
    text = ", ".join(dict.fromkeys(things or [kept[0].text]))
    parents = tuple(sorted({parent for statement in kept for parent in statement.parents} or draft.parents))
    return replace(draft, text=text, statements=tuple(kept), parents=parents)
