"""A real, small cross-modal encoder without weights: for tests, demonstrations and laptops."""

import colorsys
import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.encoders.contract import Items, kind_of

Vector = NDArray[np.float32]

COLOURS = ("black", "white", "grey", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink")
NGRAM_WEIGHT = 0.3  # of a word's 3-grams together: near spellings are near, equal words nearer
SHADE_WEIGHT = 0.3  # "dark" and "bright" against the colours
LAYOUT_WEIGHT = 0.2  # tells pictures of one palette apart without outvoting its words
SAMPLES, CELLS = 32, 8  # points looked at and cells kept, per side


@dataclass(frozen=True)
class Hashing:
    """Texts by their words, pictures by the names of their colours, hashed into one space.

    A text is the sum of pseudo-random signs drawn from each word and its 3-grams. A picture is the same sum
    over the colour names it would be described with, each weighted by the root of its share, plus a weak
    projection of an 8 x 8 colour grid. So a red square lies nearer to "red" than to "blue".

    Args:
        dim: D. Unrelated words have a similarity of about 1 / sqrt(dim).
        seed: Another seed is another space.

    Raises:
        ValueError: `dim` is under 1.
    """

    name: ClassVar[str] = "hashing"
    source: ClassVar[Source] = Source(
        title="Feature Hashing for Large Scale Multitask Learning",
        authors="Weinberger et al.",
        year=2009,
        url="https://arxiv.org/abs/0902.2206",
        departs="each feature hashes to a dense vector of signs, not to one signed bucket; pictures enter as"
        " the words for their colours",
    )
    modalities: ClassVar[frozenset[str]] = frozenset({"image", "text"})

    dim: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim must be at least 1, but is {self.dim}")

    def weights_digest(self) -> str:
        """Return "": there are no weights."""
        return ""

    def __call__(self, items: Items) -> Vector:
        """Return unit vectors of texts or of pictures. Shape (N, D), float32.

        Raises:
            ValueError: The items are not all texts or all pictures.
        """
        kind = kind_of(items)
        if kind == "audio":
            raise ValueError("hashing encodes texts and pictures, but the items are sounds")
        encode = self._text if kind == "text" else self._image
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        for row, item in zip(vectors, items, strict=True):
            row[:] = encode(item)  # type: ignore[arg-type]  # kind_of has looked
        return vectors

    def _text(self, text: str) -> Vector:
        folded = unicodedata.normalize("NFKC", text).casefold()
        words = re.findall(r"\w+", folded) or [folded.strip()]
        return self._unit(np.sum([word_vector(word, self.dim, self.seed) for word in words], axis=0))

    def _image(self, picture: NDArray[np.uint8]) -> Vector:
        points = sample(picture)
        red, green, blue = (points >> 4).reshape(-1, 3).T
        share = np.bincount(colour_table()[red, green, blue], minlength=len(COLOURS)) / SAMPLES**2
        palette = np.stack([word_vector(colour, self.dim, self.seed) for colour in COLOURS])  # (11, D)
        vector = np.sqrt(share) @ palette

        light = float(points.mean()) / 255
        if abs(light - 0.5) > 0.2:
            vector += SHADE_WEIGHT * word_vector("dark" if light < 0.5 else "bright", self.dim, self.seed)

        side = SAMPLES // CELLS
        grid = points.reshape(CELLS, side, CELLS, side, 3).mean(axis=(1, 3)).ravel() / 255  # (8 * 8 * 3,)
        layout = (grid - grid.mean()) @ layout_signs(self.dim, self.seed)
        return self._unit(vector + LAYOUT_WEIGHT * layout / max(float(np.linalg.norm(layout)), 1e-6))

    def _unit(self, vector: Vector) -> Vector:
        length = float(np.linalg.norm(vector))
        return vector / length if length > 1e-6 else word_vector("", self.dim, self.seed)


def sample(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 32 x 32 evenly spaced points of a picture, whatever its size. Shape (32, 32, 3)."""
    rows, columns = ((np.arange(SAMPLES) * 2 + 1) * side // (2 * SAMPLES) for side in picture.shape[:2])
    points: NDArray[np.uint8] = picture[rows[:, None], columns]
    return points


def signs(features: Sequence[str], count: int, seed: int) -> Vector:
    """Return signs, +1 or -1, that follow from each feature alone: the same on every machine.

    Shape (len(features), count).
    """
    width = (count + 7) // 8
    streams = [
        hashlib.shake_128(f"{seed}:{feature}".encode("utf-8", "surrogatepass")).digest(width)
        for feature in features
    ]
    stacked = np.frombuffer(b"".join(streams), dtype=np.uint8).reshape(-1, width)
    return np.unpackbits(stacked, axis=1, count=count).astype(np.float32) * 2 - 1


@functools.lru_cache(maxsize=1 << 16)
def word_vector(word: str, dim: int, seed: int) -> Vector:
    """Return a word's unit vector: its own signs, and a little of its 3-grams'."""
    marked = f"<{word}>"
    grams = [f"gram {marked[i : i + 3]}" for i in range(len(marked) - 2)]
    drawn = signs([f"word {word}", *grams], dim, seed)
    weights = np.full(len(drawn), NGRAM_WEIGHT / max(1, len(grams)) ** 0.5, dtype=np.float32)
    weights[0] = 1
    vector: Vector = weights @ drawn
    vector /= np.sqrt(vector @ vector)
    vector.flags.writeable = False  # shared by all callers
    return vector


@functools.lru_cache(maxsize=16)
def layout_signs(dim: int, seed: int) -> Vector:
    """Return the projection of the colour grid. Shape (192, D)."""
    return signs(["layout"], CELLS * CELLS * 3 * dim, seed).reshape(-1, dim)


@functools.cache
def colour_table() -> NDArray[np.intp]:
    """Return the index into `COLOURS` of each RGB value of 4 bits a channel. Shape (16, 16, 16)."""
    levels = [(level * 16 + 8) / 255 for level in range(16)]
    names = [colour_name(red, green, blue) for red in levels for green in levels for blue in levels]
    return np.array([COLOURS.index(name) for name in names]).reshape(16, 16, 16)


def colour_name(red: float, green: float, blue: float) -> str:
    """Return the basic colour term for an RGB value in [0, 1]."""
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < 0.2:
        return "black"
    if saturation < 0.15:
        return "white" if value > 0.85 else "grey"
    degrees = hue * 360
    if degrees < 15 or degrees >= 345:
        return "pink" if saturation < 0.5 and value > 0.8 else "red"
    if degrees < 42:
        return "orange" if value > 0.7 else "brown"
    for name, up_to in (("yellow", 70), ("green", 170), ("blue", 260), ("purple", 290)):
        if degrees < up_to:
            return name
    return "pink" if value > 0.6 else "purple"
