"""Texts and facts about an item, from a sidecar or a row."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.digests import key
from schemas.errors import BadInput
from schemas.items import ItemText

# What each fact may be called. The first name with a value wins; the others stay in `extra`.
ALIASES: dict[str, tuple[str, ...]] = {
    "media": ("media", "path", "image", "file_name", "url", "filepath"),
    "text": ("text", "caption"),
    "texts": ("texts",),
    "language": ("language",),
    "licence": ("licence", "license"),
    "credit": ("credit", "source"),
    "concept": ("concept",),
}
ORIGINS = ("raw", "file-name", "synthetic")


@dataclass(frozen=True)
class Described:
    """What a source says about an item besides where it is. Fields are those of `Item`."""

    texts: tuple[ItemText, ...] = ()
    concept: str = ""
    licence: str = ""
    credit: str = ""
    extra: str = ""

    def digest(self, *further: str) -> str:
        """Return 32 hex digits over every fact and `further`."""
        parts = [part for text in self.texts for part in (text.text, text.language, text.origin, text.role)]
        return key(*parts, self.concept, self.licence, self.credit, self.extra, *further)


def pick(record: Mapping[str, Any], names: Iterable[str]) -> tuple[str, Any]:
    """Return the first of `names` that has a value in `record`, and the value; ("", None) for none."""
    for name in names:
        value = record.get(name)
        if value is not None and value not in ("", [], {}):
            return name, value
    return "", None


def describe(
    record: Mapping[str, Any],
    *,
    max_chars: int,
    columns: Mapping[str, tuple[str, ...]] = ALIASES,
    media: str = "",
) -> Described:
    """Read texts and facts from a record.

    Args:
        record: A sidecar's object or a row.
        max_chars: Longest text, in characters.
        columns: What each fact may be called.
        media: The key that named the medium; it is left out of `extra`.

    Raises:
        BadInput: bad-row, bad-encoding, nul-bytes or text-too-long.
    """
    used = {media} if media else set()
    found: dict[str, Any] = {}
    for fact in ("text", "texts", "language", "licence", "credit", "concept"):
        name, found[fact] = pick(record, columns[fact])
        used.add(name)
    language = (
        primary(string(found["language"], "language", max_chars)) if found["language"] is not None else ""
    )
    texts = []
    if found["text"] is not None:
        texts.append(ItemText(string(found["text"], "text", max_chars), language))
    texts += [_text(entry, language, max_chars) for entry in _entries(found["texts"])]
    further = {
        name: _plain(value) for name, value in record.items() if name not in used and value is not None
    }
    extra = json.dumps(further, ensure_ascii=False, sort_keys=True) if further else ""
    if extra:
        checked(extra, "a further column", None)
    return Described(
        tuple(dict.fromkeys(text for text in texts if text.text.strip())),  # each once, in order
        concept=string(found["concept"], "concept", max_chars),
        licence=string(found["licence"], "licence", max_chars),
        credit=string(found["credit"], "credit", max_chars),
        extra=extra,
    )


def described_json(text: str, what: str, *, max_chars: int) -> Described:
    """Read texts and facts from a JSON sidecar: a string, or an object as in `describe`.

    Raises:
        BadInput: bad-row, bad-encoding, nul-bytes or text-too-long.
    """
    record = parsed(text, what)
    if isinstance(record, str):
        record = {"text": record.strip()}
    if not isinstance(record, dict):
        raise BadInput(
            "bad-row", f"{what} holds a {type(record).__name__}; it must hold a string or an object"
        )
    return describe(record, max_chars=max_chars)


def checked(text: str, what: str, max_chars: int | None) -> str:
    """Return `text` if it can be stored.

    Raises:
        BadInput: nul-bytes, bad-encoding (surrogates) or text-too-long.
    """
    if "\0" in text:
        raise BadInput("nul-bytes", f"{what} holds NUL at character {text.index(chr(0))}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput("bad-encoding", f"{what} is not UTF-8 at character {error.start}") from error
    if max_chars is not None and len(text) > max_chars:
        raise BadInput("text-too-long", f"{what} has {len(text)} characters; the limit is {max_chars}")
    return text


def decoded(data: bytes, what: str) -> str:
    """Return bytes as UTF-8 text, without a byte order mark.

    Raises:
        BadInput: nul-bytes or bad-encoding.
    """
    try:
        return checked(data.decode("utf-8-sig"), what, None)
    except UnicodeDecodeError as error:
        message = f"{what} is not UTF-8: byte {data[error.start]:#04x} at {error.start}"
        raise BadInput("bad-encoding", message, error_class="UnicodeDecodeError") from error


def parsed(text: str, what: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        BadInput: bad-row.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of too many digits
        raise BadInput("bad-row", f"{what} is not JSON: {error}", error_class=type(error).__name__) from error


def primary(language: str) -> str:
    """Return the primary subtag of a language tag, in lower case."""
    return language.strip().replace("_", "-").split("-")[0].lower()


def string(value: Any, what: str, max_chars: int) -> str:
    """Return `value` if it is a text that can be stored; "" for none.

    Raises:
        BadInput: It is something else, or cannot be stored.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadInput("bad-row", f"{what} is {type(value).__name__} {value!r:.60}; it must be a string")
    return checked(value, what, max_chars)


def _entries(value: Any) -> list[Any]:
    if isinstance(value, str):  # a CSV or Parquet column of JSON
        value = parsed(value, "texts")
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInput("bad-row", f"texts is {type(value).__name__}; it must be a list")
    return value


def _text(entry: Any, language: str, max_chars: int) -> ItemText:
    if not isinstance(entry, dict):
        return ItemText(string(entry, "an entry of texts", max_chars), language)
    origin = string(entry.get("origin"), "origin", max_chars) or "raw"
    if origin not in ORIGINS:
        raise BadInput("bad-row", f"origin is {origin!r:.60}; it must be one of {', '.join(ORIGINS)}")
    return ItemText(
        string(entry.get("text"), "an entry of texts", max_chars),
        primary(string(entry.get("language"), "language", max_chars)) or language,
        origin,
        string(entry.get("role"), "role", max_chars) or "caption",
    )


def _plain(value: Any) -> Any:
    """Return `value` as JSON has it: NaN and infinities are null, what JSON lacks is written out."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value if value is None or isinstance(value, str | int | bool) else str(value)
