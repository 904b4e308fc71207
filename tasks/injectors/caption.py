"""Captions permuted over all media: a medium of several captions usually keeps some right ones."""

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
class CaptionInjector:
    """Draws a share of the captions and permutes them, whichever media they belong to.

    This is the protocol of NCR's generator, of BiCro's and of PC2's files: of five captions of one image, some
    stay right. It needs to know which captions share a medium, though it does not keep them together: on
    media of one caption each it is the protocol `pair` and no caption protocol.
    """

    name: ClassVar[str] = "caption"
    source: ClassVar[Source] = Source(
        title="Learning with Noisy Correspondence for Cross-modal Matching",
        authors="Huang et al.",
        year=2021,
        url="https://github.com/XLearning-SCU/2021-NeurIPS-NCR",
        departs="no fixed points, no caption that another of the medium's right ones equals",
    )

    def __call__(
        self, pairs: PairBatch, *, rate: float, seed: int, encode: Encode | None = None
    ) -> Injection:
        """Return the pairs with round(rate * N) captions wrong.

        Raises:
            DataError: The pairs do not say which share a medium, or too few can be exchanged.
            ValueError: The rate is not in [0, 1].
        """
        if pairs.media_key is None:
            raise DataError(
                "caption permutes the captions of media that have several and needs media_key; "
                "use pair where each medium has one text"
            )
        count = share_of(len(pairs), rate)
        giver = exchange(
            np.arange(len(pairs), dtype=np.int64),
            count,
            np.random.default_rng(seed),
            wrong_for(same_medium(pairs), same_text(pairs)),
            what="captions",
        )
        return moved(pairs, giver, protocol_of("caption", rate, seed))
