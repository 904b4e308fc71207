"""Captions from what a classifier and a few statistics say of a picture alone."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InvalidParameter
from schemas.source import Source
from tasks.captioners._classes import Said, class_probabilities, hedge, terms
from tasks.captioners._grammar import Part, Seen, countable, say
from tasks.captioners._parts import MOST_PARTS, Look, look
from tasks.captioners._writing import PACKAGE, can_read, read_writing
from tasks.captioners.contract import MAX_CHARS, Corpus, Draft, Failure, Medium
from tasks.encoders._lite_features import image_features

# How often the commonest colour is in captions that name a colour grows with its share about so: .82 at .9 and
# .53 at .5. Captions are silent on many a true colour, so this is rather too low.
_COLOUR_FLOOR, _COLOUR_SLOPE = 0.15, 0.75
_COLOUR_SHARE = 0.35  # of the content; smaller ones are not said
_FACT_SHARE = 0.1  # of the content; smaller ones are no fact either
_COUNT_CONFIDENCE = 0.7  # of pictures with parts of a kind, those that show as many things
_BACKGROUND_CONFIDENCE = 0.9
_SHAPE_CONFIDENCE = 0.8
_STRIKING = 3.0  # the longer side of the content over the shorter; from there on it is said
_TOP_CLASSES = 5  # in the facts


@dataclass(frozen=True)
class Labels:
    """Says what a picture shows, in which colours, how many, and how it is made, from its pixels alone.

    The thing is the most specific word that is sure enough: where the probability is spread over breeds, the
    sum over all dogs may still be high, and "dog" is said. Words are the ImageNet classes' and their WordNet
    hypernyms' in plain English. The colours are the eleven basic terms (Berlin and Kay, 1969), by the nearest
    example in CIELAB, of what is not background. A number is said only of two to six separate parts of one
    size and colour. Style goes by grain, number of colours and lines. Writing is read where `ocr` asks for it.

    It knows photographs of 1,000 kinds of things; of drawings it often knows colours and style only, and says
    no more. People, letters and scenes it does not know at all.

    Args:
        sure: Probability from which a word is said of the thing, in (0, 1].
        temperature: Divides the class logits.
        colours: Colours that are said at most.
        ocr: Whether writing in the picture is read and quoted. Needs the extra `ocr`; takes about a second each.
        seed: Which of the forms a sentence takes.

    Raises:
        ValueError: A parameter is out of range.
        InvalidParameter: `ocr` is asked for and its reader is not installed.

    Example:
        >>> picture = np.full((64, 64, 3), 255, np.uint8)
        >>> picture[16:48, 16:48] = (200, 0, 0)
        >>> Labels()([Medium("a", picture)])[0].facts["colours"]
        ['red']
    """

    name: ClassVar[str] = "labels"
    source: ClassVar[Source] = Source(
        title="Hedging Your Bets: Optimizing Accuracy-Specificity Trade-offs in Large Scale Visual Recognition",
        authors="Deng et al.",
        year=2012,
        url="https://doi.org/10.1109/CVPR.2012.6248086",
        departs="one threshold on the summed probability in place of the paper's DARTS, which searches the reward "
        "that meets a wanted accuracy; a further outcome 'none of the classes'; people's hypernyms only; "
        "colours, number, style and writing from elsewhere",
    )
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = False
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})

    sure: float = 0.6
    temperature: float = 1.1
    colours: int = 2
    ocr: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.sure <= 1 or not 0 < self.temperature < np.inf:
            raise ValueError(
                f"sure must be in (0, 1] and temperature positive, found {self.sure} and {self.temperature}"
            )
        if self.colours < 0 or self.seed < 0:
            raise ValueError(f"colours and seed must be at least 0, found {self.colours} and {self.seed}")
        if self.ocr and not can_read():
            raise InvalidParameter(
                f"labels cannot read writing: {PACKAGE} is not installed; install the extra with "
                "pip install 'xmodal[ocr]', or leave ocr off"
            )

    def learn(self, corpus: Corpus) -> Self:
        """Return itself: there is nothing to learn."""
        return self

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return a draft, or why there is none, for each medium in order.

        Raises:
            EncoderError: The backbone's weights, or the names of its classes, cannot be read.
        """
        # One picture a pass: the last bits of a larger pass depend on what else is in it, and on one thread it
        # is a third slower, because the maps of one picture stay in the processor's cache.
        out: list[Draft | Failure] = [Failure("no-picture")] * len(media)
        rows = []
        for row, medium in enumerate(media):
            if wrong := _what_is_wrong(medium.picture):
                out[row] = Failure("no-picture", wrong)
            else:
                rows.append(row)
        logits = image_features([media[row].picture for row in rows], batch_size=1).logits
        chances = class_probabilities(logits, self.temperature)
        for row, chance, said in zip(rows, chances, hedge(chances, self.sure), strict=True):
            out[row] = self._draft(media[row], chance, said)
        return out

    def _draft(self, medium: Medium, chance: NDArray[np.float64], said: Said | None) -> Draft | Failure:
        seen = look(medium.picture)
        facts: dict[str, object] = {
            "colours": [term for term, share in seen.colours if share >= _FACT_SHARE],
            "shares": {term: round(share, 3) for term, share in seen.colours if share >= _FACT_SHARE},
            "background": seen.background,
            "parts": seen.parts,
            "style": seen.style,
            "orientation": "wide" if seen.aspect > 1.25 else "tall" if seen.aspect < 0.8 else "square",
            "classes": _top(chance),
        }
        if seen.plain:
            if seen.plain == "white":  # most of them were transparent or failed to be drawn
                return Failure("nothing-to-say", "the picture is white all over")
            text, statements = say(_plain(seen), medium.media_id, self.seed)
            return Draft(text, statements, facts=facts)
        if seen.alike:
            facts["count"] = seen.parts
        writing = None
        if self.ocr and (lines := read_writing(medium.picture)):
            facts["writing"] = [line.text for line in lines]
            words = " ".join(line.text for line in lines)[:MAX_CHARS]
            writing = Part(words, round(float(np.mean([line.confidence for line in lines])), 3))
        text, statements = say(self._sayable(seen, said, writing), medium.media_id, self.seed)
        if not text:
            return Failure("nothing-to-say", "no class, colour or number is clear enough")
        return Draft(unicodedata.normalize("NFC", text), statements, facts=facts)

    def _sayable(self, seen: Look, said: Said | None, writing: Part | None) -> Seen:
        """Return what of the things seen is sure enough to be said."""
        line_drawing = seen.style == "line drawing"
        colours = [(term, share) for term, share in seen.colours[: self.colours] if share >= _COLOUR_SHARE]
        counted = seen.alike and seen.parts <= MOST_PARTS and (said is None or countable(said.name))
        shape = "wide" if seen.aspect >= _STRIKING else "tall" if seen.aspect <= 1 / _STRIKING else ""
        return Seen(
            thing=Part(said.name, round(said.probability, 3)) if said else None,
            # Black and white are what a line drawing is made of, and not the colours of what it shows.
            colours=() if line_drawing else tuple(_colour(*colour) for colour in colours),
            count=seen.parts if counted else 0,
            count_confidence=_COUNT_CONFIDENCE,
            shape=Part(shape, _SHAPE_CONFIDENCE) if shape and said and not counted else None,
            style=seen.style,
            style_confidence=round(seen.style_confidence, 3),
            background=Part(seen.background, _BACKGROUND_CONFIDENCE)
            if seen.background not in (None, "white")
            else None,
            writing=writing,
        )


def _what_is_wrong(picture: object) -> str:
    """Return why this is no picture, "" if it is one."""
    if not isinstance(picture, np.ndarray):
        return f"a picture must be an array, found {type(picture).__name__}"
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        return f"a picture must be (H, W, 3) uint8, found {picture.shape} {picture.dtype}"
    return ""


def _colour(term: str, share: float) -> Part:
    return Part(term, round(_COLOUR_FLOOR + _COLOUR_SLOPE * share, 3))


def _plain(seen: Look) -> Seen:
    return Seen(colours=(Part(f"plain {seen.plain}", 0.95),))


def _top(chance: NDArray[np.float64]) -> list[list[object]]:
    """Return the likeliest classes and their probabilities, [["tabby cat", 0.41], ...]."""
    best = np.argsort(-chance, kind="stable")[:_TOP_CLASSES]
    return [[terms().classes[row], round(float(chance[row]), 3)] for row in best]
