"""Aligned arrays that methods receive."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairBatch:
    """N media-text pairs, row i of every array being pair i.

    Args:
        media_vec: (N, D) unit vectors, float32.
        text_vec: (N, D) unit vectors, float32.
        loss: (N,) training loss per pair, where a head was trained; else None.
        group: (N,) integers; pairs of one group show the same thing (near-duplicates, repeated texts),
            so they are never each other's negatives and never split between folds. None: each its own.
    """

    media_vec: NDArray[np.float32]
    text_vec: NDArray[np.float32]
    loss: NDArray[np.float32] | None = None
    group: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.media_vec.shape != self.text_vec.shape or self.media_vec.ndim != 2:
            raise ValueError(
                f"media is {self.media_vec.shape} but text is {self.text_vec.shape}; both must be (N, D)"
            )
        for name in ("loss", "group"):
            column = getattr(self, name)
            if column is not None and column.shape != (len(self),):
                raise ValueError(f"{name} is {column.shape} but there are {len(self)} pairs")

    def __len__(self) -> int:
        return int(self.media_vec.shape[0])
