"""What every divider promises."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source


@dataclass(frozen=True)
class Division:
    """Scores turned into probabilities, and how far to trust them.

    Args:
        clean: (N,) P(true correspondence), float32, in [0, 1]; where `separable` is false these are soft
            weights to train with, not probabilities to cut at.
        noise_rate: Estimated share of mismatched pairs; None: cannot tell.
        low: Lower end of its 95 % interval; None: cannot tell.
        high: Upper end.
        separable: The scores tell two kinds of pairs apart. If false, nothing should be dropped by them.
        why: What was found, for a person: why they separate or do not.
    """

    clean: NDArray[np.float32]
    noise_rate: float | None
    low: float | None
    high: float | None
    separable: bool
    why: str


class Divider(Protocol):
    """Turns scores of pairs (higher: likelier true) into probabilities and an estimate of the noise."""

    name: ClassVar[str]
    source: ClassVar[Source]

    def __call__(
        self,
        scores: NDArray[np.float32],
        *,
        mismatched: NDArray[np.float32] | None = None,
        verdict: NDArray[np.int8] | None = None,
    ) -> Division:
        """Return the division.

        Args:
            scores: (N,) in [0, 1].
            mismatched: (M,) scores of pairs known to be wrong, as from self-injected noise; None: there are none.
            verdict: (N,) what people said: 1 true, 0 false, -1 nothing; None: nobody said.

        Raises:
            DataError: Scores are not finite, lie outside [0, 1], or what the divider needs is missing.
        """
        ...
