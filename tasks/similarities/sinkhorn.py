"""Similarity with the prices at which a bank of queries would spread evenly over the items."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.similarities._bank import add_exponentials, blocks, require_vectors
from tasks.similarities._fitted import Lowered
from tasks.similarities.contract import Fitted


@dataclass(frozen=True)
class Sinkhorn:
    """Adds to an item's similarity its potential in an even matching of a bank of queries with the gallery.

    exp(beta S) of bank and gallery is scaled until columns, then rows, have equal sums, a few times over; the
    logarithm of an item's scale, over beta, is added to its similarity. The mean over items is taken off. No
    iteration at all is the inverted softmax of `bank-norm`.

    Args:
        beta: Sharpness, above 0, at most 1000; the inverse of entropic regularisation.
        iterations: Rounds of rows and columns after the first scaling of columns.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "sinkhorn"
    source: ClassVar[Source] = Source(
        title="Unified Coarse-to-Fine Alignment for Video-Text Retrieval",
        authors="Wang et al.",
        year=2023,
        url="https://arxiv.org/abs/2309.10091",
        departs="its correction of one level of similarity; in logarithms; beta takes the place of the logit scale",
    )
    fitted: ClassVar[type[Fitted]] = Lowered

    beta: float = 20.0
    iterations: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.beta <= 1000 or self.iterations < 0:
            raise ValueError(f"beta must be above 0 and at most 1000, and iterations not negative: {self}")

    def fit(
        self,
        gallery: NDArray[np.float32],
        queries: NDArray[np.float32],
        bank: NDArray[np.float32] | None = None,
    ) -> Lowered:
        """Return the similarity fitted to a gallery; the bank of items is not read. One pass an iteration."""
        gallery = require_vectors("gallery", gallery)
        queries = require_vectors("queries", queries, width=gallery.shape[1])
        potential = np.zeros(len(gallery))
        for iteration in range(self.iterations + 1):
            top, total = np.full(len(gallery), -np.inf), np.zeros(len(gallery))
            for block in blocks(queries, gallery):
                logits = self.beta * block.astype(np.float64)
                if iteration:  # the first time columns are scaled as they come
                    logits -= _log_sum(logits + potential)
                top, total = add_exponentials(top, total, logits)
            potential = -(np.log(total) + top)
        lowered: NDArray[Any] = (potential.mean() - potential) / self.beta
        return Lowered(lowered.astype(np.float32))


def _log_sum(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of each row's sum of exponentials. (B, G) to (B, 1)."""
    top = logits.max(axis=1, keepdims=True)
    return np.asarray(top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True)))
