"""What a picture shows, said as precisely as the class probabilities bear."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from schemas.errors import EncoderError
from tasks.encoders.lite import HEAD

NAMES = Path(__file__).with_name("imagenet_hypernyms.json")

# Logit, above what drawings on average have, of a picture that shows none of the 1,000 classes: a letter, a face.
# Fitted together with the temperature; without it the softmax would be sure of something in every picture.
NOTHING = 8.25


class Terms(NamedTuple):
    """Words for what the classes have in common.

    Args:
        names: K words; several classes of one plain name share it.
        holds: (1000, K) float32, 1 where a class is of the kind.
        classes: The 1,000 classes' own names.
        expected: (1000,) float32, mean logits of drawings. Drawings all look a little like an envelope or a
            comic book, and what they have in common says nothing of what they show.
    """

    names: tuple[str, ...]
    holds: NDArray[np.float32]
    classes: tuple[str, ...]
    expected: NDArray[np.float32]


class Said(NamedTuple):
    """A word for what a picture shows, and its probability."""

    name: str
    probability: float


def class_probabilities(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Return the classes' probabilities, (N, 1000); they add up to less than 1 by that of none of them."""
    scaled = (logits.astype(np.float64) - terms().expected) / temperature
    none = NOTHING / temperature
    top = np.maximum(scaled.max(axis=1, keepdims=True), none)
    weight = np.exp(scaled - top)
    return weight / (weight.sum(axis=1, keepdims=True) + np.exp(none - top))


def hedge(probabilities: NDArray[np.float64], sure: float) -> list[Said | None]:
    """Return for each picture the most specific word whose probability is at least `sure`, or None.

    A word's probability is the sum over its classes. The fewer the classes, the more it says; of equals the
    more probable wins.
    """
    known = terms()
    of_words = probabilities @ known.holds  # (N, K)
    size = known.holds.sum(axis=0)
    said: list[Said | None] = []
    for row in of_words:
        likely = np.flatnonzero(row >= sure)
        if not len(likely):
            said.append(None)
            continue
        best = min(likely, key=lambda word: (size[word], -row[word], word))
        said.append(Said(known.names[best], min(1.0, float(row[best]))))
    return said


@functools.lru_cache(maxsize=1)
def terms() -> Terms:
    """Return the words, read once.

    Raises:
        EncoderError: The file of names, or the lite encoder's head, cannot be read.
    """
    try:
        table = json.loads(NAMES.read_text(encoding="utf-8"))
        with safe_open(HEAD, "np") as head:
            expected = head.get_tensor("class_prior")
    except (OSError, ValueError, SafetensorError) as error:
        raise EncoderError(
            f"cannot read {NAMES.name} or {HEAD.name}: {error}; reinstall this package"
        ) from error
    hypernyms = [name for _, name in table["hypernyms"]]
    kinds = [{name, *(hypernyms[row] for row in above)} for _, name, above in table["classes"]]
    names = tuple(sorted(set().union(*kinds)))
    place = {name: column for column, name in enumerate(names)}
    holds = np.zeros((len(kinds), len(names)), np.float32)
    for row, kind in enumerate(kinds):
        holds[row, [place[name] for name in kind]] = 1
    return Terms(names, holds, tuple(name for _, name, _ in table["classes"]), expected)
