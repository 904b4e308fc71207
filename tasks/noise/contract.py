"""What every noise scorer promises."""

from typing import ClassVar, Literal, Protocol

import numpy as np

from schemas.batch import PairBatch
from schemas.source import Source


class NoiseScorer(Protocol):
    """Estimates how likely each pair is a true correspondence.

    A scorer only scores. Keeping or dropping is the recipe's threshold, so a dashboard can redraw the
    decision without running the model again.

    Attributes:
        name: Name recipes use.
        source: Where the method comes from.
        scope: "shard": a pair's score depends on that pair alone. "table": on all pairs, so it must see them
            at once.
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    scope: ClassVar[Literal["shard", "table"]]

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return how likely each pair is a true correspondence. Shape (N,), float32, in [0, 1].

        Higher is likelier. Whether 0.5 means anything is the method's to say.

        Raises:
            DataError: The batch lacks something the method needs, or has vectors that are not finite.
        """
        ...
