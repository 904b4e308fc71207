"""What every repair promises."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source


@dataclass(frozen=True)
class Proposals:
    """Texts proposed for media whose own text was found wrong. A proposal is a new row; nothing is overwritten.

    Args:
        row: (P,) pairs that get a proposal, ascending.
        text_from: (P,) row whose text is proposed.
        confidence: (P,) float32 in [0, 1]; also the label y to train the new pair with.
    """

    row: NDArray[np.int64]
    text_from: NDArray[np.int64]
    confidence: NDArray[np.float32]


class Repair(Protocol):
    """Proposes, for pairs whose text is wrong, a text from elsewhere in the corpus."""

    name: ClassVar[str]
    source: ClassVar[Source]

    def __call__(
        self,
        pairs: PairBatch,
        clean: NDArray[np.float32],
        media: NDArray[np.float32],
        text: NDArray[np.float32],
    ) -> Proposals:
        """Return proposals for noisy pairs only.

        Args:
            pairs: The N pairs.
            clean: (N,) P(true correspondence).
            media: (N, K) unit vectors of the media under a trained head.
            text: (N, K) unit vectors of the texts under the same head.
        """
        ...
