"""Writing found in pictures, by the optional reader `rapidocr_onnxruntime`."""

import functools
import importlib.util
import threading
import unicodedata
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PACKAGE = "rapidocr_onnxruntime"
MOST_CHARS = 80  # of writing quoted in a caption
_SURE = 0.7  # confidence of the reader below which a line is left out
_READING = threading.Lock()  # opening it twice would cost its memory twice


class Line(NamedTuple):
    """One line of writing and how sure the reader is of it, in [0, 1]."""

    text: str
    confidence: float


def can_read() -> bool:
    """Whether the reader is installed. Opens nothing."""
    return importlib.util.find_spec(PACKAGE) is not None


def read_writing(picture: NDArray[np.uint8]) -> list[Line]:
    """Return the lines of writing in a picture, (H, W, 3) uint8 RGB, from top to bottom."""
    if min(picture.shape[:2]) < 8:  # less than a letter, and the reader's scaling fails
        return []
    with _READING:
        found, _ = _reader()(np.ascontiguousarray(picture[:, :, ::-1]))  # it reads BGR
    lines = [Line(clean(text), float(confidence)) for _, text, confidence in found or ()]
    return [line for line in lines if line.text and line.confidence >= _SURE]


def clean(text: str) -> str:
    """Return writing fit for quoting on one line: NFC, no control characters, no double quotes, bounded."""
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text.replace('"', "'"))
    words = " ".join(unicodedata.normalize("NFC", shown).split())
    return words if len(words) <= MOST_CHARS else words[:MOST_CHARS].rsplit(" ", 1)[0]


@functools.lru_cache(maxsize=1)
def _reader() -> Any:
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
