"""Media permuted: all captions of a medium move together and agree on one wrong medium."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.source import Source
from tasks.injectors._exchange import (
    Allowed,
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
class ImageInjector:
    """Draws a share of the media and permutes them; the captions of each go, in their order, to one other.

    This is the protocol of DECL's, RCL's and L2RM's files. Media exchange captions with media that have as many,
    so every medium keeps its number of captions and every caption is used once.
    """

    name: ClassVar[str] = "image"
    source: ClassVar[Source] = Source(
        title="Deep Evidential Learning with Noisy Correspondence for Cross-modal Retrieval",
        authors="Qin et al.",
        year=2022,
        url="https://github.com/QinYang79/DECL",
        departs="media of any number of captions, exchanged among those of equal number; no fixed points",
    )

    def __call__(
        self, pairs: PairBatch, *, rate: float, seed: int, encode: Encode | None = None
    ) -> Injection:
        """Return the pairs with all captions of round(rate * M) of the M media wrong.

        Raises:
            DataError: The pairs do not say which share a medium, or too few media of equal numbers of captions
                can be exchanged.
            ValueError: The rate is not in [0, 1].
        """
        if pairs.media_key is None:
            raise DataError(
                "image moves all captions of a medium together and needs media_key; use pair instead"
            )
        medium = np.unique(pairs.media_key, return_inverse=True)[1]
        number = np.bincount(medium)
        count = share_of(len(number), rate)
        # Rows in order of media: those of medium m are rows[first[m] : first[m] + number[m]].
        rows = np.argsort(medium, kind="stable")
        first = np.cumsum(number) - number
        media_giver = exchange(
            np.arange(len(number), dtype=np.int64),
            count,
            np.random.default_rng(seed),
            _all_wrong_for(wrong_for(same_medium(pairs), same_text(pairs)), rows, first, number),
            block=number,
            what="media",
        )
        giver = np.arange(len(pairs), dtype=np.int64)
        for taker in np.flatnonzero(media_giver != np.arange(len(number))):
            own, other = (rows[first[m] : first[m] + number[m]] for m in (taker, media_giver[taker]))
            giver[own] = other
        return moved(pairs, giver, protocol_of("image", rate, seed))


def _all_wrong_for(
    allowed: Allowed, rows: NDArray[np.int64], first: NDArray[np.int64], number: NDArray[np.int64]
) -> Allowed:
    """Return the test whether all captions of one medium are wrong for another of the same number of them."""

    def all_allowed(taker: NDArray[np.int64], giver: NDArray[np.int64]) -> NDArray[np.bool_]:
        fits = np.ones(len(taker), dtype=bool)
        for place in range(int(number[giver].max(initial=0))):
            there = number[giver] > place
            fits[there] &= allowed(rows[first[taker[there]]], rows[first[giver[there]] + place])
        return fits

    return all_allowed
