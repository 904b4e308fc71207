"""Self-refining labels of CRCL: a slow mean of how often a pair is matched with itself."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.source import Source
from tasks.soft_labels._evidence import batches, require_evidence
from tasks.soft_labels.contract import Evidence


@dataclass(frozen=True)
class CRCLLabel:
    """y = momentum * previous + (1 - momentum) * (P_ii + P'_ii) / 2, and 0 below the floor.

    P and P' are the softmax over the texts and over the media of a pair's batch. In the first round the label
    is that mean itself. The divider's probabilities are not read.

    Args:
        momentum: Weight of the round before.
        floor: Lower labels become 0.
        temperature: Divides cosines.
        batch: Pairs that compete.
        seed: Which pairs share a batch.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "crcl"
    source: ClassVar[Source] = Source(
        title="Cross-modal Active Complementary Learning with Self-refining Correspondence",
        authors="Qin et al.",
        year=2023,
        url="https://github.com/QinYang79/CRCL",
        departs="once a round over all pairs, not as each batch is trained",
    )

    momentum: float = 0.8
    floor: float = 0.1
    temperature: float = 0.05
    batch: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1 or not 0 <= self.floor < 1:
            raise ValueError(f"momentum and floor must be in [0, 1), found {self.momentum} and {self.floor}")
        if self.temperature <= 0 or self.batch < 2:
            raise ValueError(f"temperature must be positive and batch at least 2: {self}")

    def __call__(self, evidence: Evidence) -> NDArray[np.float32]:
        """Return y per pair. Shape (N,), float32, in [0, 1].

        Raises:
            DataError: The evidence is not finite, not in range, or not of the same pairs.
        """
        require_evidence(evidence)
        matched = np.empty(len(evidence.clean), dtype=np.float64)
        for rows in batches(len(matched), self.batch, self.seed):
            logits = (evidence.media_vec[rows] @ evidence.text_vec[rows].T).astype(
                np.float64
            ) / self.temperature
            matched[rows] = (
                np.diag(scipy.special.softmax(logits, axis=1) + scipy.special.softmax(logits, axis=0)) / 2
            )
        label = matched
        if evidence.previous is not None:
            label = self.momentum * evidence.previous + (1 - self.momentum) * matched
        return np.where(label < self.floor, 0, np.clip(label, 0, 1)).astype(np.float32)
