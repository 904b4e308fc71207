"""Rectified labels of PC2: a pair is also trusted where its pseudo-class has settled."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source
from tasks.soft_labels._evidence import require_evidence
from tasks.soft_labels.contract import Evidence


@dataclass(frozen=True)
class PC2Label:
    """y = w + (1 - w) c b where w > 1/2, with c the stability and b = 1 where c > 1/2; else 0.

    The text of a noisy pair gets no label: PC2 trains such a medium with a text from elsewhere (the repair
    `pseudo-caption`), and that a medium's class has settled says nothing for the text it came with.
    """

    name: ClassVar[str] = "pc2"
    source: ClassVar[Source] = Source(
        title="PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in "
        "Cross-Modal Retrieval",
        authors="Duan et al.",
        year=2024,
        url="https://arxiv.org/abs/2408.01349",
        departs="",
    )

    def __call__(self, evidence: Evidence) -> NDArray[np.float32]:
        """Return y per pair. Shape (N,), float32, in [0, 1].

        Raises:
            DataError: There is no stability, or the evidence is not finite, not in range, or not of the same pairs.
        """
        require_evidence(evidence)
        if evidence.stability is None:
            raise DataError("pc2 needs stability, of a training that keeps track of pseudo-classes; use ncr")
        clean, stability = evidence.clean.astype(np.float64), evidence.stability.astype(np.float64)
        settled = np.where(stability > 0.5, stability, 0)
        return np.where(clean > 0.5, clean + (1 - clean) * settled, 0).astype(np.float32)
