"""Cosine less how close query and item are to their neighbours on the other side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source
from tasks.similarities._bank import nearest_mean, require_vectors
from tasks.similarities._fitted import per_item, require_candidates, require_items, wanted
from tasks.similarities.contract import Fitted, State


@dataclass(frozen=True)
class LocallyScaled:
    """Twice the similarity less both neighbourhoods.

    Args:
        lowered: (G,) mean similarity of the item to its nearest queries of the bank, float32.
        k: (), how many candidates make a query's neighbourhood.
    """

    lowered: NDArray[np.float32]
    k: NDArray[np.int64]

    def state(self) -> State:
        """Return both arrays."""
        return {"lowered": self.lowered, "k": self.k}

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return what the state was taken of."""
        (lowered,) = per_item(state, "lowered")
        (k,) = wanted(state, "k")
        if k.shape != () or k < 1:
            raise DataError(f"k must be one positive number, found {k}; fit it again")
        return cls(lowered, k)

    def gallery(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors as they are."""
        require_items(vectors, len(self.lowered))
        return vectors

    def __call__(
        self, similarity: NDArray[np.float32], rows: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return the adjusted scores. Shape (Q, K).

        A query's neighbourhood is taken from its candidates. It is one number a query, so what it lacks where a
        first stage left a near item out changes no order.
        """
        require_candidates(similarity, rows, len(self.lowered))
        k = min(int(self.k), similarity.shape[1])
        if k == 0:
            return np.empty(similarity.shape, dtype=np.float32)
        nearest = np.sort(np.partition(similarity, -k, axis=1)[:, -k:], axis=1)
        around = nearest.mean(axis=1, dtype=np.float64, keepdims=True)
        return np.asarray(2 * similarity - around - self.lowered[rows], dtype=np.float32)


@dataclass(frozen=True)
class CSLS:
    """Cross-domain similarity local scaling: 2 cos(q, g) - r(q) - r(g).

    r(g) is the mean cosine of an item with its k nearest queries of the bank, and r(q) that of the query with its k
    nearest candidates.

    Args:
        k: Neighbours.

    Raises:
        ValueError: k is under 1.
    """

    name: ClassVar[str] = "csls"
    source: ClassVar[Source] = Source(
        title="Word Translation Without Parallel Data",
        authors="Conneau et al.",
        year=2018,
        url="https://arxiv.org/abs/1710.04087",
        departs="neighbours of an item come from a bank of past queries, not from those asked now; those of a "
        "query from its candidates",
    )
    fitted: ClassVar[type[Fitted]] = LocallyScaled

    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, found {self.k}")

    def fit(
        self,
        gallery: NDArray[np.float32],
        queries: NDArray[np.float32],
        bank: NDArray[np.float32] | None = None,
    ) -> LocallyScaled:
        """Return the similarity fitted to a gallery; the bank of items is not read."""
        gallery = require_vectors("gallery", gallery)
        queries = require_vectors("queries", queries, width=gallery.shape[1])
        return LocallyScaled(nearest_mean(queries, gallery, self.k).astype(np.float32), np.array(self.k))
