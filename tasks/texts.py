"""Check texts that came from outside, and say what language they are in."""

import unicodedata
from functools import lru_cache
from typing import Any

from schemas.errors import BadInput

UNKNOWN = "und"
MIN_WORDS = 5  # shorter texts are guessed wrongly too often to be worth a guess
MIN_PROBABILITY = 0.9


def checked(text: str, max_chars: int) -> str:
    """Return the text in NFC, ends stripped.

    Raises:
        BadInput: It is empty, too long, or holds NUL bytes or half a surrogate pair.
    """
    if "\x00" in text:
        raise BadInput(
            "nul-bytes", f"NUL at character {text.index(chr(0))} of {len(text)}; remove it from the source"
        )
    if len(text) > max_chars:
        raise BadInput(
            "text-too-long", f"{len(text):,} characters; the limit is {max_chars:,} (inspect.text_max_chars)"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(
            "bad-encoding", f"not valid Unicode: {error.reason}", error_class="UnicodeEncodeError"
        ) from error
    if not (stripped := unicodedata.normalize("NFC", text).strip()):
        raise BadInput("missing-text", "the text is empty or white space")
    return stripped


def primary_language(code: str) -> str:
    """Return the BCP 47 primary subtag in lower case: "pt_BR.utf8" -> "pt"; "und" for none."""
    subtag = code.replace("_", "-").split("-")[0].split(".")[0].split("@")[0].strip().lower()
    return subtag if subtag.isalpha() and 2 <= len(subtag) <= 8 else UNKNOWN


def detected_language(text: str) -> str:
    """Return a guess for texts of at least `MIN_WORDS` words, else "und"."""
    if len(text.split()) < MIN_WORDS:
        return UNKNOWN
    language, probability = language_identifier().classify(text)
    return str(language) if probability >= MIN_PROBABILITY else UNKNOWN


@lru_cache(maxsize=1)
def language_identifier() -> Any:
    """Return the one detector of this process; its model takes 87 MB."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # reads its model for a second

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
