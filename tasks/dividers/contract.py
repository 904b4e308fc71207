"""What every divider promises."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.source import Source


@dataclass(frozen=True)
class Component:
    """One of the two kinds of pairs as a mixture fitted it, in units of the scores.

    Args:
        kind: normal: a bell. beta: a beta distribution, stretched from [0, 1] to [loc, loc + scale].
        share: Share of the pairs, in (0, 1); those of both kinds add up to 1.
        loc: Mean of a bell; where a beta distribution begins.
        scale: Standard deviation of a bell; width of a beta distribution.
        a: First shape of a beta distribution; 0 of a bell.
        b: Second.
    """

    kind: Literal["normal", "beta"]
    share: float
    loc: float
    scale: float
    a: float = 0.0
    b: float = 0.0

    def below(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the share of all pairs that is of this kind and scores under each of (E,) scores."""
        if self.kind == "normal":
            return np.asarray(self.share * scipy.stats.norm.cdf(scores, self.loc, self.scale))
        return np.asarray(self.share * scipy.stats.beta.cdf(scores, self.a, self.b, self.loc, self.scale))


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
        components: The wrong and the true kind, where a mixture was fitted and is believed.
    """

    clean: NDArray[np.float32]
    noise_rate: float | None
    low: float | None
    high: float | None
    separable: bool
    why: str
    components: tuple[Component, Component] | None = None


class Divider(Protocol):
    """Turns scores of pairs (higher: likelier true) into probabilities and an estimate of the noise."""

    name: ClassVar[str]
    source: ClassVar[Source]
    reads_shape: ClassVar[bool]  # by the shape of the scores: their ranks alone would tell nothing

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
