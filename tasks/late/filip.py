"""The mean of best matches, asked from the query, from the item, or from both."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.late._similarities import Floats, best_of_item, mean_of_item, scored
from tasks.late.contract import Tokens


@dataclass(frozen=True)
class FILIP:
    """Averages over tokens of one side the largest cosine with a token of the other.

    Args:
        direction: "query": whether everything asked for is there; "item": whether everything there was asked for;
            "both": the mean of the two.

    Raises:
        ValueError: `direction` is none of the three.
    """

    name: ClassVar[str] = "filip"
    source: ClassVar[Source] = Source(
        title="FILIP: Fine-grained Interactive Language-Image Pre-Training",
        authors="Yao et al.",
        year=2022,
        url="https://arxiv.org/abs/2111.07783",
        departs="the similarity only; the mean of both directions is ours, the paper uses each for its own task",
    )

    direction: Literal["query", "item", "both"] = "both"

    def __post_init__(self) -> None:
        if self.direction not in ("query", "item", "both"):
            raise ValueError(f"direction must be query, item or both: {self}")

    def __call__(self, query: NDArray[np.float32], items: Tokens) -> NDArray[np.float32]:
        """Return a score per item. Shape (K,), float32, in [-1, 1].

        Raises:
            DataError: The query has no token, another width than the items, or an entry that is not finite.
        """
        return scored(query, items, self._score)

    def _score(self, cosines: Floats, mask: NDArray[np.bool_]) -> Floats:
        if self.direction == "query":
            return np.asarray(best_of_item(cosines, mask).mean(axis=1))
        asked = mean_of_item(cosines.max(axis=2), mask)
        if self.direction == "item":
            return asked
        return np.asarray((best_of_item(cosines, mask).mean(axis=1) + asked) / 2)
