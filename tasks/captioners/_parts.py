"""What can be read off a picture without a network: background, colours, separate parts, style."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tasks.captioners._colours import TERMS, lab, name_pixels

REDUCED_PX = 128  # colours and parts are read off a picture of at most this
MOST_PARTS = 6  # more are a pattern, not a number
PAPER = 238  # a pixel whose darkest channel reaches this is paper
_BORDER_PAPER = 0.25  # share of the border that is paper, and the background is: cut-outs touch their border
_BORDER_EQUAL = 0.7  # share of the border of one other colour, and that colour is the background
_NEAR = 20  # levels of a channel around the background's colour that belong to it
_SPECK = 0.02  # of the largest part; smaller ones are dust
_SIMILAR = 0.7  # of the largest area, width and height; parts that reach it are of a kind
_SAME_COLOUR = 15.0  # distance in CIELAB from the parts' mean; further away, and they are not
_FLAT, _SHARP = 3, 24  # levels between neighbours: up to the first they are alike, above the second an edge
_THICK = 0.1  # share of the foreground that lies in areas rather than lines, and the lines do not count


@dataclass(frozen=True)
class Look:
    """What a picture looks like.

    Args:
        background: Term of the colour around the content; None where there is no one such colour.
        colours: Terms in the content and their shares of it, the largest first; they add up to 1.
        parts: Number of separate parts of the content that are not specks; 0 where nothing stands out.
        alike: Whether they are several of a kind: similar in size and colour.
        style: "photo", "drawing", "icon", "line drawing", or "" where it cannot tell.
        style_confidence: Probability of the style, in [0, 1]; 0 without one.
        aspect: Width over height of the content.
        plain: The term of the whole picture where it is of one colour, else None.
    """

    background: str | None
    colours: tuple[tuple[str, float], ...]
    parts: int
    alike: bool
    style: str
    style_confidence: float
    aspect: float
    plain: str | None


def look(picture: NDArray[np.uint8]) -> Look:
    """Return what an RGB picture, (H, W, 3) uint8 with H and W at least 1, looks like."""
    small = reduce(picture)
    terms = name_pixels(small)
    behind, background = find_background(small)
    content = ~behind
    if _nearly_one_colour(small) or not content.any():
        term = TERMS[int(np.bincount(terms.ravel()).argmax())]
        return Look(term, ((term, 1.0),), 0, False, "", 0.0, small.shape[1] / small.shape[0], term)
    parts, alike = count_parts(small, content) if background is not None else (1, False)
    rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    colours = colour_shares(terms, content)
    style, confidence = style_of(picture, small, content)
    return Look(
        background=background,
        colours=colours,
        parts=parts,
        alike=alike,
        style=style,
        style_confidence=confidence,
        aspect=float((columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1)),
        plain=None,
    )


def reduce(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture with both sides at most `REDUCED_PX`, by the mean of whole blocks."""
    factor = -(-max(picture.shape[:2]) // REDUCED_PX)
    if factor == 1:
        return picture
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).reduce(factor))


def find_background(picture: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], str | None]:
    """Return where the background is, (H, W), and its term; nowhere and None where the border is of many colours.

    White paper wins over other colours of the border, because cut-outs are often trimmed to their content.
    Only what is connected to the border is background: the white of an eye belongs to the content.
    """
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    if (border.min(axis=1) >= PAPER).mean() >= _BORDER_PAPER:
        like, term = _channels(np.minimum, picture) >= PAPER, "white"
    else:
        middle = np.median(border, axis=0)
        like = _channels(np.maximum, np.abs(picture - middle)) <= _NEAR
        if (np.abs(border - middle).max(axis=1) <= _NEAR).mean() < _BORDER_EQUAL:
            return np.zeros(picture.shape[:2], bool), None
        term = TERMS[name_pixels(middle.astype(np.uint8))]
    areas, _ = ndimage.label(like)
    touching = np.zeros(areas.max() + 1, bool)
    touching[np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])] = True
    touching[0] = False
    return touching[areas], term


def count_parts(picture: NDArray[np.uint8], content: NDArray[np.bool_]) -> tuple[int, bool]:
    """Return the number of separate parts that are no specks, and whether they are several of a kind.

    Of a kind are parts of similar area, width, height and mean colour. A head above shoulders is not.
    """
    areas, _ = ndimage.label(content, structure=np.ones((3, 3)))
    size = np.bincount(areas.ravel())
    size[0] = 0
    parts = np.flatnonzero(size >= max(4, _SPECK * size.max()))
    if not 2 <= len(parts) <= MOST_PARTS:
        return max(len(parts), 1), False
    boxes = ndimage.find_objects(areas)
    spans = np.array([[box.stop - box.start for box in boxes[part - 1]] for part in parts])  # (P, 2)
    extent = np.column_stack([size[parts], spans])
    if (extent.min(axis=0) < _SIMILAR * extent.max(axis=0)).any():
        return len(parts), False
    colours = lab(np.array([picture[areas == part].mean(axis=0) for part in parts]))
    apart = np.linalg.norm(colours - colours.mean(axis=0), axis=1).max()
    return len(parts), bool(apart <= _SAME_COLOUR)


def colour_shares(terms: NDArray[np.uint8], content: NDArray[np.bool_]) -> tuple[tuple[str, float], ...]:
    """Return the terms of the content and their shares, the largest first.

    A pixel counts if its four neighbours have its term: outlines and blurred edges then do not, and a red
    apple with a black outline is red. Content that is all lines counts as it is.

    Args:
        terms: (H, W) rows of `TERMS`.
        content: (H, W) what is not background; somewhere true.
    """
    inner = content.copy()
    for axis in (0, 1):
        equal = np.diff(terms.astype(np.int16), axis=axis) == 0
        ends = [(0, 0), (0, 0)]
        for ends[axis] in ((1, 0), (0, 1)):  # outside the picture all is different
            inner &= np.pad(equal, ends)
    counted = inner if inner.sum() >= _THICK * content.sum() else content
    count = np.bincount(terms[counted], minlength=len(TERMS))
    order = np.argsort(-count, kind="stable")
    return tuple((TERMS[row], float(count[row] / count.sum())) for row in order if count[row])


def style_of(
    picture: NDArray[np.uint8], small: NDArray[np.uint8], content: NDArray[np.bool_]
) -> tuple[str, float]:
    """Return the style, "" if unclear, and its probability.

    A photograph has grain: neighbours that differ a little. A drawing has areas of few colours.
    """
    picture = picture[::2]  # neighbours in a row stay neighbours
    levels = picture.astype(np.int16)
    ink = _channels(np.minimum, picture) < PAPER
    if not ink.any():
        ink[:] = True
    step = _channels(np.maximum, np.abs(np.diff(levels, axis=1)))[ink[:, 1:] & ink[:, :-1]]
    busy = float(((step > _FLAT) & (step <= _SHARP)).mean()) if len(step) else 0.0
    cells = (picture[ink] >> 4).astype(np.int32) @ np.array([256, 16, 1], np.int32)
    largest = np.sort(np.bincount(cells))[-4:].sum() / len(cells)
    photo = 1 / (1 + exp(-(_STYLE[0] + _STYLE[1] * busy + _STYLE[2] * float(largest))))
    if _is_line_drawing(small, content):
        return "line drawing", _LINES_CONFIDENCE
    if photo >= _PHOTO:
        return "photo", photo
    if photo > _DRAWING:
        return "", 0.0
    if largest >= _FEW_COLOURS:
        return "icon", min(_ICON_CONFIDENCE, 1 - photo)
    return "drawing", 1 - photo


# A logistic fit: (constant, share of neighbours that differ a little, share of the four commonest colours).
_STYLE = (0.7, 6.6, -5.3)
_PHOTO, _DRAWING = 0.7, 0.35  # above the one it is a photo, below the other a drawing
_FEW_COLOURS = 0.85
_ICON_CONFIDENCE = 0.9  # smooth dark things in photographs have few colours, too
_LINES_CONFIDENCE = 0.85


def _is_line_drawing(small: NDArray[np.uint8], content: NDArray[np.bool_]) -> bool:
    """Whether the content is dark lines around white: no colours, little grey, and mostly paper inside."""
    pixels = small[content].astype(np.int16)
    chroma = _channels(np.maximum, pixels) - _channels(np.minimum, pixels)
    if (chroma > _SHARP).mean() > 0.02:
        return False
    filled = ndimage.binary_fill_holes(content)
    bright = _channels(np.minimum, small)
    paper, dark = (bright[filled] >= PAPER - 20).mean(), (bright[filled] < 100).mean()
    return bool(paper >= 0.4 and dark >= 0.03)


def _channels(
    reduce_two: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]], picture: NDArray[Any]
) -> NDArray[Any]:
    """Return the least or greatest of the three channels, (..., 3) -> (...); numpy's own is ten times slower."""
    return reduce_two(reduce_two(picture[..., 0], picture[..., 1]), picture[..., 2])


def _nearly_one_colour(small: NDArray[np.uint8]) -> bool:
    return bool(np.ptp(small.reshape(-1, 3), axis=0).max() <= _FLAT * 2)
