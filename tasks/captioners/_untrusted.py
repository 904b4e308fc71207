"""What a model wrote about a stranger's picture, made a draft: one plain line, cut, flagged where it looks odd."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from tasks.captioners.contract import MAX_CHARS, Draft, Failure, Medium, Statement

MAX_MESSAGE_CHARS = 500
_LEAST_CONFIDENCE = 1e-4  # 0 is refused whatever else speaks for it
# Normalising takes time that grows with the square of a run of accents; nobody needs more than this.
LOOKED_AT_CHARS = 4 * MAX_CHARS

_JOINERS = "\u200c\u200d"  # Persian words and joined emoji need them; other invisible characters hide things
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)|[。！？][」』”’）]*")
_SUSPICIONS = {
    "markup": re.compile(
        r"<[a-z/!?|]|\]\(|```|javascript:|data:text/|&(?:#\w+|lt|gt|quot|amp);|\{\{|\{%|\$\{|\[/?inst\]"
    ),
    "instructions": re.compile(
        r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|prompt|rule|guideline|direction)"
        r"|\bsystem (?:prompt|message|instruction)|\bnew instructions?\b|\byou are now\b"
        r"|\b(?:accept|approve|publish|rate|score|label|mark) (?:this|the|all) (?:caption|draft|text|picture|pair)"
        r"|^(?:system|assistant|user|developer) ?:"
    ),
    "refusal": re.compile(
        r"^(?:i['’]m|i am) (?:sorry|unable|not able)|^(?:i['’]m |i am )?sorry\b|^i (?:can ?not|can['’]t|won['’]t)\b"
        r"|\bas an ai\b|\bas a (?:large )?language model\b"
    ),
}
# None of these in a text: the pattern cannot match. Looking for them takes a fifth of the time.
_TELLTALES = {
    "markup": ("<", "](", "```", ":", "&", "{", "/inst]", "[inst]"),
    "instructions": (
        "instruction", "prompt", "rule", "guideline", "direction", "system", " now", "caption", "draft", "text",
        "picture", "pair", ":",
    ),
    "refusal": ("sorry", "able", "can", "won", "as a"),
}  # fmt: skip


def one_line(text: str) -> str:
    """Return the text as one line, NFC: control characters become spaces, invisible and unassigned ones go.

    Only the first `LOOKED_AT_CHARS` characters are looked at.
    """
    if text.isascii() and text.isprintable():  # nothing to leave out, and NFC already
        return " ".join(text[:LOOKED_AT_CHARS].split())
    kept = []
    for character in text[:LOOKED_AT_CHARS]:
        category = unicodedata.category(character)
        if category[0] == "Z" or category in ("Cc", "Cs"):  # Cs: half a character, which UTF-8 cannot hold
            kept.append(" ")
        elif category[0] != "C" or character in _JOINERS:
            kept.append(character)
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


def cut(text: str) -> str:
    """Return at most `MAX_CHARS` characters, up to the last whole sentence, else word, else character."""
    if len(text) <= MAX_CHARS:
        return text
    seen = text[: MAX_CHARS + 1]  # one more tells whether a sentence or word ends exactly there
    ends = [end.end() for end in _SENTENCE_END.finditer(seen) if end.end() <= MAX_CHARS]
    return text[: ends[-1]] if ends else seen.rpartition(" ")[0] or text[:MAX_CHARS]


def suspicions(line: str) -> list[str]:
    """Return what is odd about a caption: markup, instructions, refusal; sorted, mostly empty.

    Rules of thumb, English only: they are there to call a person, not to make a text safe.
    """
    # <script> in full-width letters is one too
    plain = line.casefold() if line.isascii() else unicodedata.normalize("NFKC", line).casefold()
    found = []
    for kind, telltales in _TELLTALES.items():
        for one in telltales:
            if one in plain:
                if _SUSPICIONS[kind].search(plain):
                    found.append(kind)
                break
    return sorted(found)


def message_of(text: str) -> str:
    """Return what happened as one line for `Failure.message`."""
    return one_line(text)[:MAX_MESSAGE_CHARS]


def refusal_of(medium: Medium) -> Failure | None:
    """Return why a medium has no picture to look at; None where it has."""
    shape, dtype = getattr(medium.picture, "shape", None), getattr(medium.picture, "dtype", None)
    if shape is not None and len(shape) == 3 and shape[2] == 3 and min(shape) > 0 and str(dtype) == "uint8":
        return None
    return Failure("bad-picture", f"a picture is (H, W, 3) uint8, but this is {shape} {dtype}")


def drafted(
    written: str,
    *,
    confidence: float,
    language: str,
    facts: Mapping[str, object],
    cost: Mapping[str, float],
    suspicious: Sequence[str] = (),
) -> Draft | Failure:
    """Return what was written as a draft of one statement; odd texts are kept, at confidence 0.

    Args:
        written: Anything.
        confidence: Probability that it is true, in [0, 1]. Rounded, but never to the 0 of odd texts.
        language: BCP 47 primary subtag.
        facts: Facts of the draft; "cut" and "suspicious" are added where they apply.
        cost: Cost of the draft, or of the failure.
        suspicious: What the caller found odd about it.
    """
    line = one_line(written)
    if not line:
        return Failure("empty", "the model wrote nothing", dict(cost))
    if not line[0].isalpha() and not any(character.isalpha() for character in line):
        return Failure("not-text", message_of(f"no letter in {line[:80]!r}"), dict(cost))
    text, odd, facts = cut(line), suspicions(line), dict(facts)
    if suspicious:
        odd = sorted({*odd, *suspicious})
    if text != line or len(written) > LOOKED_AT_CHARS:
        facts["cut"] = True
    if odd:
        facts["suspicious"] = odd
    sure = max(round(min(confidence, 1.0), 4), _LEAST_CONFIDENCE) if confidence > 0 and not odd else 0.0
    whole = Statement(text, "whole", sure)
    return Draft(text, (whole,), language=language, facts=facts, cost=dict(cost))
