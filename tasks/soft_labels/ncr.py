"""Rectified labels of NCR: how well a pair does against its batch."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.soft_labels._evidence import batches, require_evidence
from tasks.soft_labels.contract import Evidence


@dataclass(frozen=True)
class NCRLabel:
    """y = w + (1 - w) p where w > 1/2, else p.

    The match score p is the margin less the mean hinge of the pair in its batch, in units of the mean of the
    batch's best scores, at most 1. The division is one head's, the vectors another's.

    Args:
        margin: Margin of the hinge, in units of the cosine.
        best: Share of a batch whose mean score counts as 1.
        batch: Pairs that compete.
        seed: Which pairs share a batch.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "ncr"
    source: ClassVar[Source] = Source(
        title="Learning with Noisy Correspondence for Cross-modal Matching",
        authors="Huang et al.",
        year=2021,
        url="https://github.com/XLearning-SCU/2021-NeurIPS-NCR",
        departs="one label per row, where the released code broadcasts to a matrix; noisy rows by one network's "
        "score instead of the mean of two",
    )

    margin: float = 0.2
    best: float = 0.1
    batch: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.margin <= 0 or not 0 < self.best <= 1 or self.batch < 2:
            raise ValueError(f"margin must be positive, best in (0, 1] and batch at least 2: {self}")

    def __call__(self, evidence: Evidence) -> NDArray[np.float32]:
        """Return y per pair. Shape (N,), float32, in [0, 1].

        Raises:
            DataError: The evidence is not finite, not in range, or not of the same pairs.
        """
        require_evidence(evidence)
        match = np.empty(len(evidence.clean), dtype=np.float64)
        for rows in batches(len(match), self.batch, self.seed):
            score = self._match(evidence.media_vec[rows] @ evidence.text_vec[rows].T)
            top = np.sort(score)[-max(1, round(self.best * len(rows))) :].mean()
            match[rows] = np.minimum(score / max(top, 1e-12), 1)
        clean = evidence.clean.astype(np.float64)
        return np.where(clean > 0.5, clean + (1 - clean) * match, match).astype(np.float32)

    def _match(self, similarity: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the margin less the mean hinge of both directions, in [0, margin]. Shape (B,).

        Args:
            similarity: (B, B), rows media, columns texts.
        """
        own = np.diag(similarity).astype(np.float64)
        against_texts = np.maximum(self.margin + similarity - own[:, None], 0)
        against_media = np.maximum(self.margin + similarity.T - own[:, None], 0)
        np.fill_diagonal(against_texts, 0)
        np.fill_diagonal(against_media, 0)
        hinge = (against_texts.mean(axis=1) + against_media.mean(axis=1)) / 2
        return np.asarray(np.clip(self.margin - hinge, 0, self.margin))
