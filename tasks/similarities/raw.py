"""The cosine as it is."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.similarities._bank import require_vectors
from tasks.similarities._fitted import Lowered
from tasks.similarities.contract import Fitted


@dataclass(frozen=True)
class Raw:
    """The dot product of unit vectors, unchanged: what every other similarity must beat to be used."""

    name: ClassVar[str] = "raw"
    source: ClassVar[Source] = Source(
        title="A Vector Space Model for Automatic Indexing",
        authors="Salton et al.",
        year=1975,
        url="https://doi.org/10.1145/361219.361220",
        departs="of dense vectors",
    )
    fitted: ClassVar[type[Fitted]] = Lowered

    def fit(
        self,
        gallery: NDArray[np.float32],
        queries: NDArray[np.float32],
        bank: NDArray[np.float32] | None = None,
    ) -> Lowered:
        """Return the identity; queries and bank are not read."""
        items: int = require_vectors("gallery", gallery).shape[0]
        zeros: NDArray[Any] = np.zeros(items, dtype=np.float32)
        return Lowered(zeros)
