"""Token vectors of frozen backbones: a picture's 7 x 7 feature map, a text's states in front of the mean."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.encoders import _lite_features

CELLS = 7  # a side of the last feature map
REGIONS = 3  # a side of what it is pooled to
FEATURES = _lite_features.FEATURES
TEXT_FEATURES = _lite_features.TEXT_FEATURES


def image_tokens(images: Sequence[NDArray[np.uint8]], batch_size: int = 16) -> NDArray[np.float32]:
    """Return the last feature map of uint8 (H, W, 3) RGB pictures, row by row. Shape (N, 49, 1280).

    The mean over the 49 is the pooled feature of the picture as it is, without its mirror image.
    """
    import torch

    found = np.empty((len(images), CELLS * CELLS, FEATURES), np.float32)
    for start in range(0, len(images), batch_size):
        inputs = np.stack([_lite_features.square(image) for image in images[start : start + batch_size]])
        scaled = (torch.from_numpy(inputs).float() - 127) / 128  # as it was trained
        scaled = scaled.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            seen = _lite_features._image_network().extract_features(scaled)  # (B, 1280, 7, 7)
        found[start : start + len(inputs)] = seen.flatten(2).transpose(1, 2).numpy()
    return found


def regions(cells: NDArray[np.float32], side: int = REGIONS) -> NDArray[np.float32]:
    """Return a feature map, (N, 49, D), pooled to `side` x `side` regions that cover it, (N, side * side, D).

    Regions overlap by a row where 7 is no multiple of `side`.

    Raises:
        ValueError: `side` is not between 1 and 7.
    """
    if not 1 <= side <= CELLS:
        raise ValueError(f"a map of {CELLS} x {CELLS} cells has no {side} x {side} regions")
    grid = cells.reshape(len(cells), CELLS, CELLS, -1)
    spans = [slice(n * CELLS // side, -(-(n + 1) * CELLS // side)) for n in range(side)]
    parts = [grid[:, rows, columns].mean(axis=(1, 2)) for rows in spans for columns in spans]
    return np.stack(parts, axis=1)


def text_tokens(
    texts: Sequence[str], max_tokens: int = 32, batch_size: int = 64
) -> list[NDArray[np.float32]]:
    """Return the states of each text's tokens, without the two that mark begin and end. Each (m, 384).

    An empty text has the state of its begin mark, so that every text has a token.

    Args:
        texts: In any order.
        max_tokens: Of a text that are read, the marks included.
        batch_size: Texts in one pass.
    """
    found: list[NDArray[np.float32]] = [np.empty((0, TEXT_FEATURES), np.float32)] * len(texts)
    by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # little padding in a batch
    for start in range(0, len(texts), batch_size):
        rows = by_length[start : start + batch_size]
        read = [texts[row] for row in rows]
        states, masks = _lite_features.token_states(read, max_tokens)
        for row, state, mask in zip(rows, states.numpy(), masks.numpy(), strict=True):
            last = int(mask.sum()) - 1  # where the end mark is
            found[row] = np.array(state[1:last] if last > 1 else state[:1])
    return found
