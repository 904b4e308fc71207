"""Similarity normalised by what banks of queries and of items find near an item."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.similarities._bank import activated, require_vectors, soft_maximum
from tasks.similarities._fitted import per_item, require_candidates, require_items
from tasks.similarities.contract import Fitted, State

_ARRAYS = ("by_queries", "by_gallery", "active_queries", "active_gallery")


@dataclass(frozen=True)
class Normalised:
    """The similarity less what each bank says of the item, where the bank has a say.

    Args:
        by_queries: (G,) float32, taken off by the bank of queries.
        by_gallery: (G,) float32, taken off by the bank of items.
        active_queries: (G,) bool; the bank of queries has a say where the best candidate is one of these.
        active_gallery: (G,) bool; likewise for the bank of items.
    """

    by_queries: NDArray[np.float32]
    by_gallery: NDArray[np.float32]
    active_queries: NDArray[np.bool_]
    active_gallery: NDArray[np.bool_]

    def state(self) -> State:
        """Return the four arrays."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return what the state was taken of."""
        return cls(*per_item(state, *_ARRAYS))

    def gallery(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors as they are."""
        require_items(vectors, len(self.by_queries))
        return vectors

    def __call__(
        self, similarity: NDArray[np.float32], rows: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return the adjusted scores. Shape (Q, K). Of equal best candidates the smallest row decides."""
        require_candidates(similarity, rows, len(self.by_queries))
        if not similarity.shape[1]:
            return np.empty(similarity.shape, dtype=np.float32)
        best = similarity == similarity.max(axis=1, keepdims=True)
        first = np.where(best, rows, len(self.by_queries)).min(axis=1)
        lowered = np.where(self.active_queries[first, None], self.by_queries[rows], 0)
        lowered = lowered + np.where(self.active_gallery[first, None], self.by_gallery[rows], 0)
        return np.asarray(similarity - lowered, dtype=np.float32)


@dataclass(frozen=True)
class BankNorm:
    """Inverted softmax: how likely an item is to be meant by this query rather than by those of a bank.

    With both banks, an item's score is exp(bq s) / sum over past queries of exp(bq s(query, item)), times exp(bg s) /
    sum over items of exp(bg s(other, item)). Kept is its logarithm divided by bq + bg and without constants: the
    similarity less a soft maximum of each bank's, weighed by its beta. A small beta takes off the bank's mean (not
    nothing), a large one the highest similarity in the bank. One bank: that bank's beta alone.

    Dynamic: a bank has a say only in queries whose best candidate lies among the nearest of some row of that bank;
    other queries are left as they are.

    Args:
        banks: Which banks have a say.
        beta_queries: Sharpness of the bank of queries, above 0, at most 1000; tune it.
        beta_gallery: Of the bank of items.
        dynamic: Only for queries that would get an item the bank gets.
        activated_by: How many nearest items of each row of a bank count as those it gets.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "bank-norm"
    source: ClassVar[Source] = Source(
        title="Balance Act: Mitigating Hubness in Cross-Modal Retrieval with Query and Gallery Banks",
        authors="Wang et al.",
        year=2023,
        url="https://arxiv.org/abs/2310.11612",
        departs="in logarithms, in units of the similarity; the bank of queries alone is the inverted softmax of "
        "QB-Norm (Bogolin et al., 2022); the gallery may be its own bank, an item left out of its own sum; its published "
        "code hands the function other banks than the paper says, ours follows the paper",
    )
    fitted: ClassVar[type[Fitted]] = Normalised

    banks: Literal["queries", "gallery", "both"] = "queries"
    beta_queries: float = 20.0
    beta_gallery: float = 1.0
    dynamic: bool = False
    activated_by: int = 1

    def __post_init__(self) -> None:
        if self.banks not in ("queries", "gallery", "both"):
            raise ValueError(f"banks must be queries, gallery or both, found {self.banks!r}")
        if not 0 < self.beta_queries <= 1000 or not 0 < self.beta_gallery <= 1000:
            raise ValueError(
                f"betas must be above 0 and at most 1000, found {self.beta_queries} and {self.beta_gallery}"
            )
        if self.activated_by < 1:
            raise ValueError(f"activated_by must be at least 1, found {self.activated_by}")

    def fit(
        self,
        gallery: NDArray[np.float32],
        queries: NDArray[np.float32],
        bank: NDArray[np.float32] | None = None,
    ) -> Normalised:
        """Return the similarity fitted to a gallery; only the banks that have a say are read."""
        gallery = require_vectors("gallery", gallery)
        width = gallery.shape[1]
        by = {side: np.zeros(len(gallery), dtype=np.float32) for side in ("queries", "gallery")}
        active = {side: np.zeros(len(gallery), dtype=np.bool_) for side in by}
        betas = {"queries": self.beta_queries, "gallery": self.beta_gallery}
        asked = {side: beta for side, beta in betas.items() if self.banks in (side, "both")}
        for side, beta in asked.items():
            own = side == "gallery" and bank is None
            if side == "queries":
                others = require_vectors("queries", queries, width=width)
            else:
                others = gallery if bank is None else require_vectors("bank", bank, width=width)
            share = beta / sum(asked.values())
            by[side] = (share * soft_maximum(others, gallery, beta, own=own)).astype(np.float32)
            active[side][:] = True
            if self.dynamic:
                active[side] = activated(others, gallery, self.activated_by, own=own)
        return Normalised(by["queries"], by["gallery"], active["queries"], active["gallery"])
