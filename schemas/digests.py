"""Identities: how media, texts, pairs and parameters get their keys."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

_SIZES = [size.to_bytes(8, "big") for size in range(256)]


def media_digest(data: bytes) -> str:
    """Return the identity of a medium: SHA-256 of its bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def text_digest(text: str, language: str, origin: str) -> str:
    """Return the identity of a text: 32 hex digits over its NFC form, language and origin."""
    return key(unicodedata.normalize("NFC", text), language, origin)


def key(*parts: str) -> str:
    """Return 32 hex digits that name these parts in this order."""
    if len(parts) > 64:
        return key_of(parts)
    told: list[bytes] = []
    for part in parts:  # written out: most of what a listing digests are parts of a few characters
        encoded = part.encode("utf-8", "surrogatepass")
        size = len(encoded)
        told += (_SIZES[size] if size < 256 else size.to_bytes(8, "big"), encoded)
    return hashlib.sha256(b"".join(told)).hexdigest()[:32]


def keys(firsts: Iterable[str], *others: str) -> list[str]:
    """Return `key(first, *others)` of each of many: what follows is encoded once."""
    after = b"".join(_told(part) for part in others)
    return [hashlib.sha256(_told(first) + after).hexdigest()[:32] for first in firsts]


def _told(part: str) -> bytes:
    """Return a part with its length before it, which keeps ("ab", "c") apart from ("a", "bc")."""
    encoded = part.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "big") + encoded


def key_of(parts: Iterable[str]) -> str:
    """Return what `key` does of parts that come one by one: only a few of them are in memory."""
    digest = hashlib.sha256()
    pending: list[bytes] = []
    for part in parts:
        pending.append(_told(part))
        if len(pending) >= 64:  # one update of many bytes costs a fifth of many of a few
            digest.update(b"".join(pending))
            pending.clear()
    digest.update(b"".join(pending))
    return digest.hexdigest()[:32]


def params_digest(params: Mapping[str, Any]) -> str:
    """Return 32 hex digits over the parameters, whatever their order."""
    return key(json.dumps(params, sort_keys=True, default=str, ensure_ascii=False))
