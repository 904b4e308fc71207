"""What every rule for soft labels promises."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source


@dataclass(frozen=True)
class Evidence:
    """What a training run knows of N pairs, from a network other than the one the labels are for.

    Args:
        clean: (N,) P(true correspondence) by the divider, w.
        media_vec: (N, K) unit vectors under the head.
        text_vec: (N, K) unit vectors under the head.
        previous: (N,) labels of the round before; None in the first.
        stability: (N,) P(the pair's pseudo-class has settled), where a method keeps track; else None.
    """

    clean: NDArray[np.float32]
    media_vec: NDArray[np.float32]
    text_vec: NDArray[np.float32]
    previous: NDArray[np.float32] | None = None
    stability: NDArray[np.float32] | None = None


class SoftLabel(Protocol):
    """Says how true each pair should be taken to be in training: y in [0, 1] instead of keep or drop."""

    name: ClassVar[str]
    source: ClassVar[Source]

    def __call__(self, evidence: Evidence) -> NDArray[np.float32]:
        """Return y per pair. Shape (N,), float32, in [0, 1]."""
        ...
