"""Cosine similarity of a pair: training-free, and only as good as the encoder's common space."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from schemas.batch import PairBatch
from schemas.source import Source
from tasks.noise._vectors import require_common, require_finite


@dataclass(frozen=True)
class CosineScore:
    """(1 + cosine) / 2, so that no order among pairs is lost, below zero either.

    A threshold quoted on the cosine c is (1 + c) / 2 here: the 0.28 of LAION-5B is 0.64.

    Example:
        >>> vectors = np.eye(2, dtype=np.float32)
        >>> CosineScore()(PairBatch(vectors, np.stack([vectors[0], -vectors[1]])))
        array([1., 0.], dtype=float32)
    """

    name: ClassVar[str] = "cosine"
    source: ClassVar[Source] = Source(
        title="LAION-5B: An open large-scale dataset for training next generation image-text models",
        authors="Schuhmann et al.",
        year=2022,
        url="https://arxiv.org/abs/2210.08402",
        departs="mapped from [-1, 1] to [0, 1]; the threshold is the recipe's",
    )
    scope: ClassVar[Literal["shard", "table"]] = "shard"

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return (1 + cosine) / 2 per pair. Shape (N,), float32, in [0, 1].

        Raises:
            DataError: The sides share no space, or a vector is not finite.
        """
        require_common(pairs, self.name)
        require_finite(pairs)
        cosine = np.einsum("nd,nd->n", pairs.media_vec, pairs.text_vec)
        return np.asarray(np.clip((1 + cosine) / 2, 0, 1), dtype=np.float32)
