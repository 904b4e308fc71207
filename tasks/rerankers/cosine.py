"""Candidates by their cosine with the query: what approximate or fused first stages leave out."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.rerankers._vectors import cosines, require_finite
from tasks.rerankers.contract import Asked, Found


@dataclass(frozen=True)
class Cosine:
    """Cosine of query and candidate. After a search over codes or by words it brings the exact order back.

    It is the baseline of all others: cut nowhere, it is plain search.
    """

    name: ClassVar[str] = "cosine"
    source: ClassVar[Source] = Source(
        title="A Vector Space Model for Automatic Indexing",
        authors="Salton et al.",
        year=1975,
        url="https://doi.org/10.1145/361219.361220",
        departs="vectors of an encoder in place of counted words",
    )
    learns: ClassVar[bool] = False
    calibrated: ClassVar[bool] = False

    def __call__(self, query: Asked, candidates: Found) -> NDArray[np.float32]:
        """Return the cosines. Shape (K,), float32, in [-1, 1].

        Raises:
            DataError: A vector or score is not finite, or widths differ.
        """
        require_finite(query, candidates)
        return cosines(query.vector, candidates.vectors).astype(np.float32)
