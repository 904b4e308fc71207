"""What a draft says, phrase by phrase, and what is left of it without some of them."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from tasks.captioners._untrusted import cut, message_of, one_line, suspicions
from tasks.captioners.contract import Draft, Failure, Statement
from tasks.factual.read import factual

UNTOLD = (
    0.5  # confidence in a draft of which its captioner states nothing: nobody knows, and the gates decide
)


def admitted(said: Draft | Failure) -> Draft | Failure:
    """Return a draft as the lake takes it, whoever wrote it: one line, NFC, no control characters, bounded, not empty.

    A captioner that keeps its contract sees no difference, unless its text is odd: what holds markup or instructions
    is kept as plain characters with the fact "suspicious", and confidence is 0 in all that it says, so that nothing
    accepts it but a person. A captioner may put odd texts of other people into its own words, so this is asked of every
    draft. Those who show a text escape it.
    """
    if isinstance(said, Failure):
        return replace(said, message=message_of(said.message))
    text = cut(one_line(said.text))
    if not text:
        return Failure("empty", "the draft has no text", said.cost)
    spoken = tuple(
        replace(statement, text=words, confidence=_sure(statement))
        for statement in said.statements
        if (words := cut(one_line(statement.text)))
    )
    if not spoken:
        spoken = (Statement(text, "whole", min(map(_sure, said.statements), default=UNTOLD)),)
    odd = {*_called_suspicious(said.facts), *suspicions(text)}
    odd.update(kind for statement in spoken for kind in suspicions(statement.text))
    if not odd:
        return replace(said, text=text, statements=spoken)
    return replace(
        said,
        text=text,
        statements=tuple(replace(statement, confidence=0.0) for statement in spoken),
        facts={**said.facts, "suspicious": sorted(odd)},
    )


def _sure(statement: Statement) -> float:
    """Return the confidence in a statement, in [0, 1]; 0 for what is no number."""
    return min(statement.confidence, 1.0) if statement.confidence > 0 else 0.0


def _called_suspicious(facts: Mapping[str, object]) -> list[str]:
    kinds = facts.get("suspicious")
    return [str(kind) for kind in kinds] if isinstance(kinds, list) else []


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
