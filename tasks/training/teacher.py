"""What a teacher believes of pairs that nobody made: targets for the share of a pair that is taken as wrong."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from schemas.batch import PairBatch
from tasks.training._batches import shows_the_same
from tasks.training._trusted import Embeds

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 512  # rows whose similarities to all others exist at once


@dataclass(frozen=True)
class Believed:
    """P(text | medium) and P(medium | text) over all pairs but those that show the same thing.

    A batch sees its part of them, not scaled up: where a teacher's favourite is not in the batch, little is asked of
    the row, instead of something wrong.

    Args:
        pairs: The N pairs.
        rows: (M,) those that take part; of the others nothing is believed.
        media: (N, K) unit vectors of the media under the teacher.
        text: (N, K) unit vectors of the texts.
        temperature: Divides the cosines.
    """

    pairs: PairBatch
    rows: NDArray[np.int64]
    media: NDArray[np.float32]
    text: NDArray[np.float32]
    temperature: float

    @classmethod
    def by(
        cls, teacher: Embeds, pairs: PairBatch, temperature: float, rows: NDArray[np.integer] | None = None
    ) -> "Believed":
        """Return what a teacher, which brings both sides into one space, believes of pairs, or of some rows."""
        taking_part = np.arange(len(pairs)) if rows is None else rows.astype(np.int64)
        return cls(
            pairs, taking_part, teacher.media(pairs.media_vec), teacher.text(pairs.text_vec), temperature
        )

    def of(self, batch: NDArray[np.int64]) -> "tuple[Tensor, Tensor]":
        """Return both (B, B) probabilities of a batch: row i its medium, then row i its text; 0 on what is the same."""
        import torch

        logits = self.media[batch] @ self.text[batch].T / self.temperature
        same = shows_the_same(self.pairs, batch)
        forth, back = (totals[batch] for totals in self._totals)
        found = (logits - forth[:, None], logits.T - back[:, None])
        return tuple(torch.from_numpy(np.where(same, 0, np.exp(p)).astype(np.float32)) for p in found)  # type: ignore[return-value]

    @cached_property
    def _totals(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log of the sum of exponentials over all others, per medium and per text. Both (N,)."""
        found = np.zeros((2, len(self.pairs)))
        for start in range(0, len(self.rows), _CHUNK):
            rows = self.rows[start : start + _CHUNK]
            same = shows_the_same(self.pairs, rows, self.rows)
            for side, (ours, theirs) in enumerate(((self.media, self.text), (self.text, self.media))):
                logits = (ours[rows] @ theirs[self.rows].T / self.temperature).astype(np.float64)
                logits[same] = -np.inf
                found[side, rows] = logsumexp(logits, axis=1)
        found[~np.isfinite(found)] = 0.0  # nobody else: there is nothing to believe
        return found[0], found[1]
