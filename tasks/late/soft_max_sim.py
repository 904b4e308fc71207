"""Matches weighted by how well they fit, instead of the best alone."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.late._similarities import Floats, mean_of_item, scored
from tasks.late.contract import Tokens


@dataclass(frozen=True)
class SoftMaxSim:
    """Averages over tokens of one side the softmax-weighted cosine with the tokens of the other, both ways.

    As the temperature falls to 0, this becomes the mean of largest cosines.

    Args:
        temperature: Of the softmax over the other side's tokens.
        balance: Weight of the query's tokens; the item's have the rest.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "soft-max-sim"
    source: ClassVar[Source] = Source(
        title="CiCo: Domain-Aware Sign Language Retrieval via Cross-Lingual Contrastive Learning",
        authors="Cheng et al.",
        year=2023,
        url="https://arxiv.org/abs/2303.12793",
        departs="the similarity only, without the learned scale, on any two sides",
    )

    temperature: float = 0.07
    balance: float = 0.5

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0 <= self.balance <= 1:
            raise ValueError(f"temperature must be positive and balance in [0, 1]: {self}")

    def __call__(self, query: NDArray[np.float32], items: Tokens) -> NDArray[np.float32]:
        """Return a score per item. Shape (K,), float32, in [-1, 1].

        Raises:
            DataError: The query has no token, another width than the items, or an entry that is not finite.
        """
        return scored(query, items, self._score)

    def _score(self, cosines: Floats, mask: NDArray[np.bool_]) -> Floats:
        seen = np.where(mask[:, :, None], cosines, -np.inf)  # (K, m, n)
        of_query = self._soft(seen, cosines, axis=1).mean(axis=1)
        of_item = mean_of_item(self._soft(cosines, cosines, axis=2), mask)
        return np.asarray(self.balance * of_query + (1 - self.balance) * of_item)

    def _soft(self, seen: Floats, cosines: Floats, *, axis: int) -> Floats:
        """Return the mean of cosines along an axis, weighted by the softmax of what is seen there."""
        shares = np.exp((seen - seen.max(axis=axis, keepdims=True)) / self.temperature)
        return np.asarray((shares * cosines).sum(axis=axis) / shares.sum(axis=axis))
