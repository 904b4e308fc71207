"""Weight of a pair by how far its similarity lies above that of pairs with nothing in common."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source
from tasks.noise._groups import group_of
from tasks.noise._vectors import require_common, require_finite

_CHUNK = 8192  # rows read at once


@dataclass(frozen=True)
class FrozenEstimator:
    """Similarity s of a frozen joint encoder, measured from that of mismatched pairs.

    With beta the mean similarity of mismatched pairs, x = (s - beta) / top, cut to [0, 1], where `top` is the
    highest s - beta but for a share `outliers`. The score is x^2 (2 - x^2), which rises throughout, or under
    `osa` x^2 (1 - x^2), which peaks at x = 0.71 and gives 0 to the best pair of all: that is a weight for
    training, where pairs already learnt need none, and no ranking.

    Pairs no more alike than mismatched ones score 0. Where no pair is more alike, or no two pairs can be
    mismatched, every pair scores 0.5 ("cannot tell").

    Args:
        weighting: `monotone` or `osa`, see above.
        mismatched: Mismatched pairs that beta is the mean of.
        outliers: Share of pairs that `top` does not reach.
        seed: Seed of the mismatched pairs.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "frozen-estimator"
    source: ClassVar[Source] = Source(
        title="One-step Noisy Label Mitigation",
        authors="Li et al.",
        year=2024,
        url="https://arxiv.org/abs/2410.01944",
        departs="mismatched pairs of the corpus in place of encoded random noise, as a scorer has vectors and no "
        "encoder, and as they lie where the corpus does; a quantile in place of the maximum of a batch; "
        "monotone unless asked",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    weighting: Literal["monotone", "osa"] = "monotone"
    mismatched: int = 100_000
    outliers: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weighting not in ("monotone", "osa"):
            raise ValueError(f"weighting must be 'monotone' or 'osa', found {self.weighting!r}")
        if self.mismatched < 1 or not 0 <= self.outliers < 1:
            raise ValueError(
                f"mismatched must be at least 1 and outliers in [0, 1[, found {self.mismatched} and {self.outliers}"
            )

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1].

        Raises:
            DataError: The sides share no space, or a vector is not finite.
        """
        require_common(pairs, self.name)
        require_finite(pairs)
        media, text = _mismatched(group_of(pairs), self.mismatched, np.random.default_rng(self.seed))
        if not len(media):
            return np.full(len(pairs), 0.5, dtype=np.float32)
        beta = _similarities(pairs, media, text).mean(dtype=np.float64)
        rows = np.arange(len(pairs), dtype=np.int64)
        above = np.maximum(_similarities(pairs, rows, rows) - np.float32(beta), 0)
        top = float(np.quantile(above, 1 - self.outliers))
        if top < 1e-6:  # equal similarities differ by rounding only
            return np.full(len(pairs), 0.5, dtype=np.float32)
        squared = np.clip(above / np.float32(top), 0, 1) ** 2
        return np.asarray(squared * ((1 if self.weighting == "osa" else 2) - squared), dtype=np.float32)


def _mismatched(
    group: NDArray[np.int64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of media and rows of texts of other groups: up to `count` of each, none if all are of one group."""
    size = min(len(group), count)
    media = rng.permutation(len(group))[:size]
    text = rng.integers(0, max(len(group), 1), size)
    apart = group[media] != group[text]
    return media[apart], text[apart]


def _similarities(pairs: PairBatch, media: NDArray[np.int64], text: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the cosine of media `media[i]` with text `text[i]`. Shape (M,)."""
    found = np.empty(len(media), dtype=np.float32)
    for start in range(0, len(media), _CHUNK):
        at = slice(start, start + _CHUNK)
        found[at] = np.einsum("nd,nd->n", pairs.media_vec[media[at]], pairs.text_vec[text[at]])
    return found
