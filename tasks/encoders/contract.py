"""What every encoder promises: items of one kind in, unit vectors out."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source

Items = Sequence[str] | Sequence[NDArray[np.uint8]] | Sequence[NDArray[np.float32]]


class Encoder(Protocol):
    """Says where texts and media lie in one shared space.

    An item is a text (`str`), a picture (uint8 array (H, W, 3), RGB) or a sound (float32 array (T,), mono, at
    the encoder's `sampling_rate_hz`; encoders of sound have that property).
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    modalities: ClassVar[frozenset[str]]  # of "text", "image", "audio"

    @property
    def dim(self) -> int:
        """Return D, the width of the vectors."""
        ...

    def weights_digest(self) -> str:
        """Return SHA-256 hex over every file the vectors depend on; "" when there is none."""
        ...

    def __call__(self, items: Items) -> NDArray[np.float32]:
        """Return where each item lies. Shape (N, D), float32, unit length; (0, D) for no items.

        An item's vector does not depend on what else is in `items`.
        """
        ...


def kind_of(items: Items) -> str:
    """Return the modality of the items: "text", "image" or "audio"; "" when there are none.

    Raises:
        ValueError: The items are of different kinds, of none of the three, or one bare text.
    """
    if isinstance(items, str):
        raise ValueError(f"items is one text, {items[:40]!r}; pass a list of texts")
    kinds = {_kind(item) for item in items}
    if len(kinds) > 1:
        raise ValueError(f"items are of several kinds, {', '.join(sorted(kinds))}; encode one kind at a time")
    return kinds.pop() if kinds else ""


def _kind(item: object) -> str:
    if isinstance(item, str):
        return "text"
    if isinstance(item, np.ndarray) and item.size:
        if item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3:
            return "image"
        if item.dtype == np.float32 and item.ndim == 1:
            return "audio"
    found = type(item).__name__
    if isinstance(item, np.ndarray):
        found = f"{item.dtype} array of shape {item.shape}"
    raise ValueError(f"an item is a str, a uint8 (H, W, 3) picture or a float32 (T,) sound; found {found}")
