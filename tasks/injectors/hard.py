"""Texts permuted inside a class: wrong ones that look right."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.source import Source
from tasks.injectors._exchange import (
    exchange,
    moved,
    protocol_of,
    same_medium,
    same_text,
    share_of,
    wrong_for,
)
from tasks.injectors.contract import Encode, Injection


@dataclass(frozen=True)
class HardInjector:
    """Draws a share of the pairs and permutes their texts among media of the same class.

    The share is of all pairs. Pairs of no class (label -1) are never drawn, so a high share may be out of
    reach.
    """

    name: ClassVar[str] = "hard"
    source: ClassVar[Source] = Source(
        title="Learning with Noisy Correspondence for Cross-modal Matching",
        authors="Huang et al.",
        year=2021,
        url="https://github.com/XLearning-SCU/2021-NeurIPS-NCR",
        departs="texts stay inside a class, where the paper permutes over all; no fixed points",
    )

    def __call__(
        self, pairs: PairBatch, *, rate: float, seed: int, encode: Encode | None = None
    ) -> Injection:
        """Return the pairs with round(rate * N) of them wrong, each by a text of its own class.

        Raises:
            DataError: The pairs have no classes, or too few can be exchanged inside them.
            ValueError: The rate is not in [0, 1].
        """
        if pairs.label is None:
            raise DataError(
                "hard exchanges texts inside classes and needs label; use pair where there are none"
            )
        count = share_of(len(pairs), rate)
        giver = exchange(
            np.flatnonzero(pairs.label >= 0),
            count,
            np.random.default_rng(seed),
            wrong_for(same_medium(pairs), same_text(pairs)),
            block=pairs.label,
            what="pairs",
        )
        return moved(pairs, giver, protocol_of("hard", rate, seed))
