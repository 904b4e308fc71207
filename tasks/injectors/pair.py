"""Pair rows permuted: the protocol of corpora where each medium has one text."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schemas.batch import PairBatch, row_numbers
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
class PairInjector:
    """Draws a share of the pairs and permutes their texts.

    Every pair counts by itself. A medium's key and group are read only so that nothing stays right by chance:
    no pair gets a text that its medium, or one of its group, has anyway. Fixed points are thereby excluded.
    """

    name: ClassVar[str] = "pair"
    source: ClassVar[Source] = Source(
        title="Learning with Noisy Correspondence for Cross-modal Matching",
        authors="Huang et al.",
        year=2021,
        url="https://github.com/XLearning-SCU/2021-NeurIPS-NCR",
        departs="an exact count of wrong pairs; no fixed points, no text that is right by chance",
    )

    def __call__(
        self, pairs: PairBatch, *, rate: float, seed: int, encode: Encode | None = None
    ) -> Injection:
        """Return the pairs with round(rate * N) of them wrong.

        Raises:
            DataError: Too few pairs can be exchanged.
            ValueError: The rate is not in [0, 1].
        """
        count = share_of(len(pairs), rate)
        giver = exchange(
            row_numbers(len(pairs)),
            count,
            np.random.default_rng(seed),
            wrong_for(same_medium(pairs), same_text(pairs)),
            what="pairs",
        )
        return moved(pairs, giver, protocol_of("pair", rate, seed))
