"""The picture of a medium as pixels."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from schemas.errors import DataError


def pixels(thumbnail: bytes, mode: str) -> NDArray[np.uint8]:
    """Return a thumbnail's pixels, (H, W) in mode "L", (H, W, 3) in mode "RGB".

    Raises:
        DataError: The bytes are no picture.
    """
    try:
        with Image.open(io.BytesIO(thumbnail)) as picture:
            return np.asarray(picture.convert(mode))
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(
            f"a thumbnail of {len(thumbnail)} bytes is no picture ({error}); inspect the media again"
        ) from error
