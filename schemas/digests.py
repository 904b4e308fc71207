"""Identities: how media, texts, pairs and parameters get their keys."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Any


def media_digest(data: bytes) -> str:
    """Return the identity of a medium: SHA-256 of its bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def text_digest(text: str, language: str, origin: str) -> str:
    """Return the identity of a text: 32 hex digits over its NFC form, language and origin."""
    return key(unicodedata.normalize("NFC", text), language, origin)


def key(*parts: str) -> str:
    """Return 32 hex digits that name these parts in this order."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))  # lengths keep ("ab", "c") apart from ("a", "bc")
        digest.update(encoded)
    return digest.hexdigest()[:32]


def params_digest(params: Mapping[str, Any]) -> str:
    """Return 32 hex digits over the parameters, whatever their order."""
    return key(json.dumps(params, sort_keys=True, default=str, ensure_ascii=False))
