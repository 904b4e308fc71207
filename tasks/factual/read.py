"""Take a text apart: what it names, what it says of it, and whether it says that it is there."""

from schemas.source import Source
from tasks.factual._chunks import Chunk, Chunker
from tasks.factual._negation import NO_LIMIT, Cue, Scope, mark_cues
from tasks.factual._style import mark_style
from tasks.factual._tokens import Token, tokens
from tasks.factual.attributes import COUNT
from tasks.factual.contract import Assertion, Factual, Phrase

MAX_CHARS = 20_000  # what stands behind is not read
_MOST_SCOPES = 8  # cues at work at once; "no no no ..." without an end would cost its square

SOURCE = Source(
    title="Structural Entities Extraction and Patient Indications Incorporation for Chest X-ray Report Generation",
    authors="Liu et al.",
    year=2024,
    url="https://arxiv.org/abs/2405.14905",
    departs=(
        "for texts of any domain: word lists and rules in place of a trained recogniser of anatomy and findings;"
        ' phrases carry attributes; "no" and "maybe" stand before the phrases they belong to, not before a whole'
        " sentence; what is denied and doubted at once is uncertain, not absent; style is dropped"
    ),
)


def factual(text: str, language: str = "en") -> Factual:
    """Return what a text says, without style and boilerplate.

    Rules and closed lists of English words; a word in no list is taken for a noun. The first 20,000 characters
    are read. A text in another language comes back whole, as one phrase without a head, taken to be true.

    Two things the contract leaves open. What is said of a noun in another place ("the car outside is red", "red
    vector car") is a phrase of its own, with that noun as head. Where "is" joins them directly the phrase runs
    over both ("car is red"). Words of place between two things ("a cat above a dog") are an attribute of the
    first, outside its words.

    Args:
        text: Any text.
        language: BCP 47 tag of the text's language.

    Returns:
        Phrases with exact offsets into `text`.
    """
    text = text[:MAX_CHARS]
    if language.replace("_", "-").split("-")[0].lower() != "en":
        return _whole(text)
    words = tokens(text)
    mark_style(words)
    dropped = tuple(word.text for word in words if word.role == "style")
    cues = mark_cues(words)
    chunks = Chunker(words).cut()
    assertions = _assertions(words, cues, chunks)
    phrases = tuple(_phrases(text, words, chunks, assertions))
    return Factual(_said(phrases), phrases, dropped)


def _whole(text: str) -> Factual:
    stripped = text.strip()
    if not stripped:
        return Factual("", (), ())
    start = text.index(stripped)
    return Factual(stripped, (Phrase(stripped, "", (), "present", start, start + len(stripped)),), ())


def _assertions(words: list[Token], cues: dict[int, Cue], chunks: list[Chunk]) -> list[Assertion]:
    """Return, for each chunk, whether the text says that it is there."""
    found: list[Assertion] = ["present"] * len(chunks)
    or_follows = _or_follows(words)
    scopes: list[Scope] = []
    depth = at = clause_began = sentence_began = 0
    i = 0
    while i < len(words):
        word = words[i]
        if at < len(chunks) and chunks[at].first == i:
            effects = {scope.cue.effect for scope in scopes if scope.reaches()}
            if "uncertain" in effects:  # "maybe no dog" leaves it open
                found[at] = "uncertain"
            elif "absent" in effects:
                found[at] = "absent"
            i = chunks[at].last + 1
            at += 1
            continue
        if word.role == "open":
            depth += 1
        elif word.role == "close":
            depth = max(0, depth - 1)
        for scope in scopes:
            scope.pass_word(words, i, or_follows[i], depth)
        if word.role == "stop":
            if word.low == "?":
                found[sentence_began:at] = ["uncertain"] * (at - sentence_began)
            scopes.clear()
            sentence_began = clause_began = at
        elif word.role in ("clause", "dash"):
            clause_began = at
        scopes = [scope for scope in scopes if not scope.ended]
        if i in cues:
            cue = cues[i]
            if cue.reach == "backward" and cue.effect != "none":
                nearest = at - 1 if cue.most < NO_LIMIT else _spoken_of(chunks, at, clause_began)
                if nearest >= clause_began:
                    found[nearest] = "uncertain" if cue.effect == "uncertain" else "absent"
            elif cue.effect == "none":
                pass
            else:
                scopes = [*scopes[1 - _MOST_SCOPES :], Scope(cue, depth)]
        i += 1
    return found


def _spoken_of(chunks: list[Chunk], at: int, clause_began: int) -> int:
    """Return the chunk that "is not visible" says it of: the first of its clause with a head."""
    for k in range(clause_began, at):
        if chunks[k].head:
            return k
    return at - 1


def _or_follows(words: list[Token]) -> list[bool]:
    """Return, for each word, whether "or" or "nor" follows in its clause."""
    follows, ahead = [False] * len(words), False
    for i in range(len(words) - 1, -1, -1):
        if words[i].role in ("stop", "clause", "dash"):
            ahead = False
        follows[i] = ahead
        if words[i].low in ("or", "nor"):
            ahead = True
    return follows


def _phrases(text: str, words: list[Token], chunks: list[Chunk], assertions: list[Assertion]) -> list[Phrase]:
    """Return the chunks as phrases; a predicate right behind its subject joins it."""
    phrases: list[Phrase] = []
    last_head = -1  # the last chunk with a head so far
    joined = False
    for k, chunk in enumerate(chunks):
        head = chunk.head
        if not head and any(attribute.kind != COUNT for attribute in chunk.attributes):
            about = _about(words, chunks, k, last_head)
            head = chunks[about].head if about >= 0 else ""
        before = chunks[k - 1] if k else None
        joins = (
            before is not None
            and chunk.predicate
            and not chunk.head
            and chunk.subject == k - 1
            and not joined
            and assertions[k] == assertions[k - 1]
            and all(word.role in ("copula", "adverb") for word in words[before.last + 1 : chunk.first])
        )
        if joins:
            start, attributes = phrases[-1].start, (*phrases[-1].attributes, *chunk.attributes)
            phrases.pop()
        else:
            start, attributes = chunk.start, tuple(chunk.attributes)
        joined = joins
        phrases.append(
            Phrase(text[start : chunk.end], head, tuple(attributes), assertions[k], start, chunk.end)
        )
        if chunk.head:
            last_head = k
    return phrases


def _about(words: list[Token], chunks: list[Chunk], k: int, last_head: int) -> int:
    """Return the chunk whose noun a chunk without one speaks of, -1 where there is none in its sentence."""
    chunk = chunks[k]
    if chunk.predicate and chunk.subject >= 0:
        return chunk.subject
    following = k + 1 if k + 1 < len(chunks) and chunks[k + 1].sentence == chunk.sentence else -1
    if following >= 0 and chunks[following].head:
        between = words[chunk.last + 1 : chunks[following].first]
        if all(word.role in ("style", "quote") for word in between):
            return following
    else:
        following = -1
    if last_head >= 0 and chunks[last_head].sentence == chunk.sentence:
        return last_head
    return following


def _said(phrases: tuple[Phrase, ...]) -> str:
    """Return the factual text."""
    parts: list[str] = []
    for assertion, mark in (("present", ""), ("uncertain", "maybe "), ("absent", "no ")):
        if said := ", ".join(" ".join(p.text.split()) for p in phrases if p.assertion == assertion):
            parts.append(mark + said)
    return ", ".join(parts)
