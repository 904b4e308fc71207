"""Soft labels of BiCro: like media should have like texts, measured at trusted pairs."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.soft_labels._evidence import require_evidence
from tasks.soft_labels.contract import Evidence

_CHUNK = 1024  # pairs whose similarities to the anchors exist at once


@dataclass(frozen=True)
class BiCroLabel:
    """How alike a pair's two sides are to those of its nearest anchors.

    Anchors are the clean pairs that match best. With u the cosine to the nearest anchor's medium and v that to
    the same anchor's text, r = min(u / v, v / u); once by the nearest medium, once by the nearest text. Noisy
    pairs get the mean r of both, clean ones 1/2 + half of it, anchors 1. A cosine of 0 or less makes r 0. A
    pair is never its own anchor. Without anchors nothing can be measured and y is the divider's probability.

    Args:
        anchors: Share of the clean pairs that are anchors.
        most: Anchors at most.
        floor: Labels of at most this become 0; 0 leaves all.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "bicro"
    source: ClassVar[Source] = Source(
        title="BiCro: Noisy Correspondence Rectification for Multi-modality Data via Bi-directional "
        "Cross-modal Similarity Consistency",
        authors="Yang et al.",
        year=2023,
        url="https://arxiv.org/abs/2303.12419",
        departs="anchors of all clean pairs, not of each batch",
    )

    anchors: float = 0.1
    most: int = 4096
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.anchors <= 1 or self.most < 1 or not 0 <= self.floor < 1:
            raise ValueError(f"anchors must be in (0, 1], most at least 1 and floor in [0, 1): {self}")

    def __call__(self, evidence: Evidence) -> NDArray[np.float32]:
        """Return y per pair. Shape (N,), float32, in [0, 1].

        Raises:
            DataError: The evidence is not finite, not in range, or not of the same pairs.
        """
        require_evidence(evidence)
        media, text = evidence.media_vec, evidence.text_vec
        clean = evidence.clean > 0.5
        trusted = np.flatnonzero(clean)
        if len(trusted) == 0:
            return evidence.clean.astype(np.float32)
        match = np.einsum("nk,nk->n", media[trusted], text[trusted])
        count = min(self.most, max(1, round(self.anchors * len(trusted))))
        anchor = trusted[np.argsort(-match, kind="stable")[:count]]

        consistent = np.empty(len(clean), dtype=np.float64)
        for start in range(0, len(clean), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            by_media, by_text = media[chunk] @ media[anchor].T, text[chunk] @ text[anchor].T  # (<=CHUNK, A)
            consistent[chunk] = (_ratio(by_media, by_text) + _ratio(by_text, by_media)) / 2
        label = np.where(clean, 0.5 + consistent / 2, consistent)
        label[label <= self.floor] = 0
        label[anchor] = 1  # whatever it is nearest to, so none needs to be kept from being its own anchor
        return label.astype(np.float32)


def _ratio(near: NDArray[np.float32], same: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return min(u / v, v / u) at the anchor of highest `near`; 0 where a cosine is not positive. Shape (M,).

    Args:
        near: (M, A) similarities on the side that chooses the anchor.
        same: (M, A) similarities on the other side.
    """
    nearest = near.argmax(axis=1)[:, None]
    u = np.take_along_axis(near, nearest, axis=1)[:, 0].astype(np.float64)
    v = np.take_along_axis(same, nearest, axis=1)[:, 0].astype(np.float64)
    both = (u > 0) & (v > 0)
    return np.where(both, np.minimum(u, v) / np.where(both, np.maximum(u, v), 1), 0)
