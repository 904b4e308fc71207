"""What tests of losses share: cosines of real vectors, and groups that repeat."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch


@dataclass(frozen=True)
class Batch:
    """A batch as a loss sees it, and as a loop reads it."""

    similarity: torch.Tensor
    label: torch.Tensor
    same: torch.Tensor

    def numbers(self) -> tuple[list[list[float]], list[float], list[list[bool]]]:
        """The same as plain lists."""
        return self.similarity.tolist(), self.label.tolist(), self.same.tolist()


def make(size: int, *, seed: int = 0, groups: int | None = None, spread: float = 0.5) -> Batch:
    """Cosines of `size` pairs in 6 dimensions, float64; a text lies near its medium.

    Args:
        size: B.
        seed: Of the vectors, labels and groups.
        groups: Rows are of one of so many groups; None: all differ.
        spread: How far texts lie from their media.
    """
    rng = np.random.default_rng(seed)
    media = rng.normal(size=(size, 6))
    text = media + spread * rng.normal(size=(size, 6))
    media /= np.linalg.norm(media, axis=1, keepdims=True)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    group = np.arange(size) if groups is None else rng.integers(0, groups, size)
    return Batch(
        torch.from_numpy(media @ text.T),
        torch.from_numpy(rng.uniform(0.05, 0.95, size)),
        torch.from_numpy(group[:, None] == group),
    )


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Make batches of any size, seed and number of groups."""
    return make
