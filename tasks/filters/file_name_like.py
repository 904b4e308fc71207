"""How much of a text is a file name or a code in place of words."""

# ruff: noqa: E501 (a pattern stays on one line)

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import each

# Tried on whole pieces between blanks; the classes of neighbouring quantifiers are disjoint, so all are linear.
PATTERNS: dict[str, str] = {
    "camera": r"(?i:dsc[nf]?|img|imgp|pict?|dcp|dcim|mvi|gopr|vid|pxl|sam|cimg|hpim|kif|pano|scan|screenshot|photo|image|untitled)[_-]?\d{3,}\w{0,40}",
    "underscores": r"(?=[^_]*_)[^\W_]+(?:[_-]+[^\W_]+)+",
    "camel case": r"[a-z]{2,}(?:[A-Z]+[a-z0-9]+)+|(?:[A-Z][a-z0-9]+){3,}",
    "hex": r"(?i:0x[0-9a-f]+|\{?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?)",
    "digits": r"\d{7,}",
}
_PIECE = re.compile("|".join(PATTERNS.values()))
_SUFFIX = re.compile(
    r"\.(?:jpe?g|jpe|png|gif|svgz?|webp|tiff?|bmp|eps|ai|psd|pdf|cdr|ico|heic|raw|wmf|emf|xcf|wav|mp3|ogg|flac|mp4|mov|avi|mkv|webm|docx?|zip|html?|php)\Z",
    re.IGNORECASE,
)
_HEX_RUN = re.compile(r"(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}", re.IGNORECASE)


@dataclass(frozen=True)
class FileNameLike:
    """Share of the text's characters in pieces that look like file names or codes.

    A piece is what stands between blanks, without punctuation around it. It counts if it ends as a file does
    (.png), or is a camera's name (DSC_0001), words joined by underscores, camelCase, hexadecimal or a long
    number. A text without characters scores 0.
    """

    name: ClassVar[str] = "file-name-like"
    source: ClassVar[Source] = Source(
        title="WIT: Wikipedia-based Image Text Dataset for Multimodal Multilingual Machine Learning",
        authors="Srinivasan et al.",
        year=2021,
        url="https://arxiv.org/abs/2103.01913",
        departs="also codes, not only file suffixes; a share in place of a yes or no",
    )
    subject: ClassVar[Literal["media", "text"]] = "text"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("text",)

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the share of name-like characters. Shape (N,), float32, in [0, 1]; NaN where there is no text."""
        return each(rows, "text", self._score)

    def _score(self, text: str) -> float:
        pieces = text.split()
        total = sum(map(len, pieces))
        return sum(len(piece) for piece in pieces if _is_name(piece)) / total if total else 0.0


def _is_name(piece: str) -> bool:
    bare = piece.strip(".,;:!?()[]\"'")
    return any((_SUFFIX.search(bare), _PIECE.fullmatch(bare), _HEX_RUN.fullmatch(bare)))
