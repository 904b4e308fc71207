"""Layers that heads are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class UnitLength(nn.Module):
    """Scales rows to unit length; a zero row stays zero."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (N, K) rows of unit length."""
        return functional.normalize(vectors, dim=1)


class SeededDropout(nn.Module):
    """Dropout with a generator of its own, so that two trainings in two threads do not disturb each other.

    Args:
        rate: Probability of dropping an entry.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self._generator = torch.Generator().manual_seed(int(torch.randint(2**62, ()).item()))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the rows with entries dropped while training, as they are otherwise."""
        if not self.training or self.rate == 0:
            return vectors
        kept = torch.rand(vectors.shape, generator=self._generator) >= self.rate
        return vectors * kept.to(vectors) / (1 - self.rate)


class Residual(nn.Module):
    """Adds what a branch makes of the input to what a plain map makes of it.

    Args:
        plain: (N, D) -> (N, K).
        branch: (N, D) -> (N, K).
    """

    def __init__(self, plain: nn.Module, branch: nn.Module) -> None:
        super().__init__()
        self.plain, self.branch = plain, branch

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the sum. (N, K)."""
        total: Tensor = self.plain(vectors) + self.branch(vectors)
        return total
