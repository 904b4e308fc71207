"""A query moved towards what is right and away from what is wrong."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source
from tasks.rerankers._vectors import cosines, require_finite
from tasks.rerankers.contract import Asked, Found


@dataclass(frozen=True)
class Feedback:
    """Cosine with the query plus the mean of liked items less the mean of disliked ones (Rocchio).

    Where nobody said what is right, the first few candidates may be taken for it (pseudo relevance feedback): it helps
    where most of them are right and does harm where they are not, so it is off unless `trusted` is set.

    Args:
        liked: Weight of the mean of liked items.
        disliked: Weight of the mean of disliked ones.
        trusted: How many of the first candidates count as liked where the query has no liked items.

    Raises:
        ValueError: A parameter is negative or not finite.
    """

    name: ClassVar[str] = "feedback"
    source: ClassVar[Source] = Source(
        title="Introduction to Information Retrieval, section 9.1.1: The Rocchio algorithm",
        authors="Manning et al.",
        year=2008,
        url="https://nlp.stanford.edu/IR-book/html/htmledition/the-rocchio-algorithm-for-relevance-feedback-1.html",
        departs="unit vectors of an encoder in place of counted words, and negative entries are kept; reorders the "
        "candidates without another search",
    )
    learns: ClassVar[bool] = False
    calibrated: ClassVar[bool] = False

    liked: float = 0.75
    disliked: float = 0.25
    trusted: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.liked < np.inf and 0 <= self.disliked < np.inf) or self.trusted < 0:
            raise ValueError(f"liked, disliked and trusted must be finite and not negative: {self}")

    def __call__(self, query: Asked, candidates: Found) -> NDArray[np.float32]:
        """Return the cosines with the moved query. Shape (K,), float32, in [-1, 1].

        Raises:
            DataError: A vector or score is not finite, or widths differ.
        """
        require_finite(query, candidates)
        moved = query.vector.astype(np.float64)
        liked = query.liked
        if (liked is None or len(liked) == 0) and self.trusted:
            liked = candidates.vectors[: self.trusted]
        for weight, given in ((self.liked, liked), (-self.disliked, query.disliked)):
            if given is not None and len(given):
                if not np.isfinite(given).all():
                    raise DataError("a liked or disliked item's vector is not finite; embed it again")
                moved = moved + weight * given.astype(np.float64).mean(axis=0)
        return cosines(moved, candidates.vectors).astype(np.float32)
