"""A noisy medium gets the text of the clean medium that is most alike in pseudo-classes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source
from tasks.repairs._candidates import its_own, require_aligned
from tasks.repairs.contract import Proposals

_CHUNK = 512  # noisy media compared at once
_FITTED = 20_000  # clean media that the classes are found among


@dataclass(frozen=True)
class PseudoCaption:
    """Proposes the text of the clean pair whose pseudo-classes agree best.

    A medium's pseudo-classes are the softmax of its cosines to the centres of clean media. Agreement is the
    cosine of two such distributions; among equal ones the first row wins. It is the confidence, and below
    `least` nothing is proposed. A medium never gets a text it came with.

    Args:
        noisy_below: Pairs of a lower probability are noisy.
        clean_above: Pairs of at least this probability give texts.
        classes: Pseudo-classes, at most; there are no more than one for four clean media.
        temperature: Divides cosines to the centres.
        least: Agreement below which nothing is proposed.
        seed: Seed of the classes.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "pseudo-caption"
    source: ClassVar[Source] = Source(
        title="PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in "
        "Cross-Modal Retrieval",
        authors="Duan et al.",
        year=2024,
        url="https://arxiv.org/abs/2408.01349",
        departs="pseudo-classes are soft k-means centres of clean media, not a trained head; all clean pairs are "
        "searched, not one batch",
    )

    noisy_below: float = 0.5
    clean_above: float = 0.5
    classes: int = 128
    temperature: float = 0.1
    least: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.noisy_below <= self.clean_above <= 1:
            raise ValueError(
                "thresholds must be 0 < noisy_below <= clean_above <= 1, found "
                f"{self.noisy_below} and {self.clean_above}"
            )
        if self.classes < 1 or self.temperature <= 0 or not 0 <= self.least <= 1:
            raise ValueError(f"classes must be at least 1, temperature positive and least in [0, 1]: {self}")

    def __call__(
        self,
        pairs: PairBatch,
        clean: NDArray[np.float32],
        media: NDArray[np.float32],
        text: NDArray[np.float32],
    ) -> Proposals:
        """Return proposals for the noisy pairs that agree with a clean one.

        Raises:
            DataError: The arrays are not of the same pairs, or hold what is not finite or not in range.
        """
        require_aligned(pairs, clean, media, text)
        noisy, trusted = np.flatnonzero(clean < self.noisy_below), np.flatnonzero(clean >= self.clean_above)
        nearest, agreement = np.zeros(len(noisy), np.int64), np.zeros(len(noisy), np.float64)
        if len(noisy) and len(trusted):
            centres = self._centres(media[trusted])
            known = self._classes(media[trusted], centres)
            for start in range(0, len(noisy), _CHUNK):
                chunk = noisy[start : start + _CHUNK]
                agrees = self._classes(media[chunk], centres) @ known.T  # (<=CHUNK, clean)
                agrees[its_own(pairs, chunk, trusted)] = -1
                best = agrees.argmax(axis=1)
                nearest[start : start + _CHUNK] = trusted[best]
                agreement[start : start + _CHUNK] = agrees[np.arange(len(chunk)), best]
        enough = agreement >= max(self.least, 1e-6)  # 0 stands for no candidate
        return Proposals(noisy[enough], nearest[enough], np.clip(agreement[enough], 0, 1).astype(np.float32))

    def _centres(self, media: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit centres of the media. Shape (C, K)."""
        from sklearn.cluster import KMeans

        rows = np.random.default_rng(self.seed).permutation(len(media))[:_FITTED]
        distinct = len(np.unique(media[rows], axis=0))
        count = max(1, min(self.classes, len(rows) // 4, distinct))
        centres = KMeans(count, n_init=1, random_state=self.seed).fit(media[np.sort(rows)]).cluster_centers_
        length = np.linalg.norm(centres, axis=1, keepdims=True)
        return np.asarray(centres / np.maximum(length, 1e-12), dtype=np.float32)

    def _classes(self, media: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pseudo-class distributions, scaled to unit length. Shape (M, C)."""
        shares = scipy.special.softmax(media @ centres.T / self.temperature, axis=1)
        return np.asarray(shares / np.linalg.norm(shares, axis=1, keepdims=True), dtype=np.float32)
