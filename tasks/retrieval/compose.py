"""One query vector of several wishes: this picture and these words, like these, unlike those, but red.

Sums of an image's and a text's vector in one space are what ALIGN searches by (Jia et al., 2021,
https://arxiv.org/abs/2102.05918) and what UniIR calls score fusion (Wei et al., 2023,
https://arxiv.org/abs/2311.17136). A word is replaced by the difference of two texts' vectors, as differences of word
vectors carry relations (Mikolov et al., 2013, https://aclanthology.org/N13-1090): how far texts lie from media cancels
out. What is not wanted is taken off as by Rocchio (1971); see `tasks.rerankers.feedback`. Methods that train a network
to compose are not here.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

Vector = NDArray[np.float32]
_NOTHING = 1e-6  # a shorter sum of unit vectors points nowhere in particular


def summed(parts: Sequence[Vector], weights: Sequence[float] | None = None) -> Vector:
    """Return the unit vector of a weighted sum of wishes. Shape (D,), float32.

    Args:
        parts: (D,) vectors of one space: of words, of pictures, of items of the table. Each is brought to unit length
            first, so that the weights alone say what counts.
        weights: One each, not negative; None: all alike.

    Raises:
        DataError: A vector is not finite or has no length, widths differ, or the wishes cancel out.
        ValueError: There is no part, or weights do not fit.
    """
    if not parts:
        raise ValueError("there is nothing to compose; give at least one vector")
    shares = np.ones(len(parts)) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (len(parts),) or not np.isfinite(shares).all() or (shares < 0).any():
        raise ValueError(f"{len(parts)} vectors need as many weights, none negative; found {weights}")
    units = [_unit(part, f"vector {number}") for number, part in enumerate(parts)]
    _require_one_width(units)
    return _pointing(sum(share * unit for share, unit in zip(shares, units, strict=True)))


def less(wanted: Vector, unwanted: Sequence[Vector], weight: float = 0.5) -> Vector:
    """Return the unit vector of a wish less the mean of what is not wanted. Shape (D,), float32.

    Args:
        wanted: (D,) what is looked for.
        unwanted: (D,) vectors of items or words that results shall not resemble; none changes nothing.
        weight: Of the mean, against 1 for the wish.

    Raises:
        DataError: As `summed`.
        ValueError: The weight is negative or not finite.
    """
    _require_weight(weight)
    wish = _unit(wanted, "the wish")
    if not unwanted:
        return wish.astype(np.float32)
    units = [_unit(part, f"unwanted vector {number}") for number, part in enumerate(unwanted)]
    _require_one_width([wish, *units])
    return _pointing(wish - weight * np.mean(units, axis=0))


def replaced(thing: Vector, old: Vector, new: Vector, weight: float = 1.0) -> Vector:
    """Return the unit vector of a thing with one word put in place of another. Shape (D,), float32.

    Args:
        thing: (D,) of a picture, an item, or a text.
        old: (D,) of the word, or of a text that has it.
        new: (D,) of what is put in its place, or of the same text with that.
        weight: Of the difference new - old, against 1 for the thing.

    Raises:
        DataError: As `summed`.
        ValueError: The weight is negative or not finite.
    """
    _require_weight(weight)
    units = [_unit(part, name) for part, name in ((thing, "the thing"), (old, "old"), (new, "new"))]
    _require_one_width(units)
    return _pointing(units[0] + weight * (units[2] - units[1]))


def _unit(vector: Vector, name: str) -> NDArray[np.float64]:
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise DataError(
            f"{name} of the query must be finite and (D,), found shape {vector.shape}; embed it again"
        )
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if length < _NOTHING:
        raise DataError(f"{name} of the query has no length; embed it again")
    return vector.astype(np.float64) / length


def _pointing(total: NDArray[np.float64]) -> Vector:
    length = float(np.linalg.norm(total))
    if length < _NOTHING:
        raise DataError(
            "the parts of the query cancel each other out; leave one out, or weigh them differently"
        )
    return (total / length).astype(np.float32)


def _require_weight(weight: float) -> None:
    if not 0 <= weight < np.inf:
        raise ValueError(f"weight must be finite and not negative, found {weight}")


def _require_one_width(vectors: Sequence[NDArray[np.float64]]) -> None:
    if len(widths := sorted({len(vector) for vector in vectors})) > 1:
        raise DataError(f"parts of the query are of widths {widths}; use vectors of one encoder")
