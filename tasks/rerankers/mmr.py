"""Candidates that are relevant and not yet said."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.rerankers._vectors import cosines, require_finite
from tasks.rerankers.contract import Asked, Found


@dataclass(frozen=True)
class MMR:
    """Takes one candidate after the other: relevant to the query, and unlike what was taken before.

    Each step takes the largest trade * relevance - (1 - trade) * highest cosine with those taken. The score of
    a candidate is that value when it was taken; it falls from step to step, so sorting by it gives the order. It
    costs K steps over K candidates: rerank hundreds, not all.

    Args:
        trade: 1 is relevance alone, 0 is diversity alone.
        relevance: cosine with the query; or the candidates' own scores, scaled to [0, 1], for those that were fused
            or reranked before.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "mmr"
    source: ClassVar[Source] = Source(
        title="The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries",
        authors="Carbonell and Goldstein",
        year=1998,
        url="https://doi.org/10.1145/290941.291025",
        departs="relevance may be scaled scores; before the first is taken all are as unlike as can be, so that values "
        "fall throughout",
    )
    learns: ClassVar[bool] = False
    calibrated: ClassVar[bool] = False

    trade: float = 0.7
    relevance: Literal["cosine", "score"] = "cosine"

    def __post_init__(self) -> None:
        if not 0 <= self.trade <= 1:
            raise ValueError(f"trade must lie in [0, 1], found {self.trade}")
        if self.relevance not in ("cosine", "score"):
            raise ValueError(f"relevance must be cosine or score, found {self.relevance!r}")

    def __call__(self, query: Asked, candidates: Found) -> NDArray[np.float32]:
        """Return values that fall in the order the candidates are taken. Shape (K,), float32, no two alike.

        Of equal values the smaller id is taken first.

        Raises:
            DataError: A vector or score is not finite, or widths differ.
        """
        require_finite(query, candidates)
        count = len(candidates)
        wanted = self.trade * self._relevance(query, candidates)
        by_id = np.argsort(np.array(candidates.item_ids, dtype=np.str_), kind="stable")
        nearest = np.full(count, -1.0)  # highest cosine with what was taken
        left = np.ones(count, bool)
        scores = np.empty(count, np.float32)
        before = np.float32(np.inf)
        for _ in range(count):
            value = np.where(left, wanted - (1 - self.trade) * nearest, -np.inf)
            taken = by_id[np.argmax(value[by_id])]
            # the values never rise, but may stay: the next lower number keeps the order
            before = min(np.float32(value[taken]), np.nextafter(before, np.float32(-np.inf)))
            scores[taken], left[taken] = before, False
            nearest = np.maximum(nearest, cosines(candidates.vectors[taken], candidates.vectors))
        return scores

    def _relevance(self, query: Asked, candidates: Found) -> NDArray[np.float64]:
        if self.relevance == "cosine":
            return cosines(query.vector, candidates.vectors)
        scores = candidates.scores.astype(np.float64)
        low, high = scores.min(initial=np.inf), scores.max(initial=-np.inf)
        return (scores - low) / (high - low) if high > low else np.ones(len(scores))
