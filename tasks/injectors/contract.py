"""What every injector of noise promises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source

Encode = Callable[[Sequence[str]], NDArray[np.float32]]  # texts -> (N, Dt) unit vectors


@dataclass(frozen=True)
class Injection:
    """Pairs with noise put in, and the truth, which only an evaluation may read.

    Args:
        pairs: The pairs as a curator would meet them.
        true: (N,) bool, whether pair i is still right.
        text_from: (N,) row whose text pair i has now; i itself where untouched or rewritten in place.
        protocol: Unit and parameters in words, as in "caption, 40 %, seed 0".
    """

    pairs: PairBatch
    true: NDArray[np.bool_]
    text_from: NDArray[np.int64]
    protocol: str


class Injector(Protocol):
    """Makes a share of pairs wrong in a named way. Results of different protocols are never comparable."""

    name: ClassVar[str]
    source: ClassVar[Source]

    def __call__(
        self, pairs: PairBatch, *, rate: float, seed: int, encode: Encode | None = None
    ) -> Injection:
        """Return the pairs with a share `rate` of units made wrong; none of those stays right by chance.

        Args:
            pairs: Pairs taken as right.
            rate: Share of units, in [0, 1].
            seed: Which units, and what they get.
            encode: Encodes rewritten texts; only the injector that rewrites needs it.

        Raises:
            DataError: The pairs lack what the protocol is about (classes, texts), or too few can be exchanged.
        """
        ...
