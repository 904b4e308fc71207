"""How well each phrase fits its medium, against how well it fits others."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.assessors._gallery import rivals
from tasks.assessors._vectors import encoded, require_finite
from tasks.assessors.contract import Assessed, Drafts


@dataclass(frozen=True)
class Support:
    """Share of other media that a phrase fits worse than its own; equals count half.

    Cosines of different phrases are not comparable, since common words are close to everything. The place of a
    phrase's own medium among the gallery is: 0.5 is chance, whatever the phrase, and 0.95 says that one other
    medium in twenty fits better.

    Args:
        over: How phrases make a score of the text: "min", since one wrong phrase makes it wrong, or "mean".

    Raises:
        ValueError: `over` is neither.
    """

    name: ClassVar[str] = "support"
    source: ClassVar[Source] = Source(
        title="CLIPScore: A Reference-free Evaluation Metric for Image Captioning",
        authors="Hessel et al.",
        year=2021,
        url="https://arxiv.org/abs/2104.08718",
        departs="phrase by phrase; a percentile among the gallery's media in place of 2.5 times the cosine",
    )
    scope: ClassVar[Literal["row", "table"]] = "row"

    over: Literal["min", "mean"] = "min"

    def __post_init__(self) -> None:
        if self.over not in ("min", "mean"):
            raise ValueError(f"over must be 'min' or 'mean', found {self.over!r}")

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return the support of each text, and of each phrase. In [0, 1]; NaN where the gallery has no other.

        Raises:
            DataError: A vector is not finite, or texts and media are of different widths.
        """
        require_finite(drafts)
        vectors, at = encoded(drafts.encode, drafts.phrases, dim=drafts.media_vec.shape[1])
        count = np.array([len(found) for found in at], dtype=np.int64)
        row = np.repeat(np.arange(len(drafts)), count)
        phrases = vectors[np.concatenate(at)] if len(row) else vectors
        similarity = np.einsum("pd,pd->p", phrases, drafts.media_vec[row])
        better, equal = rivals(phrases, similarity, drafts.own[row], drafts.gallery_vec)
        others = len(drafts.gallery_vec) - 1
        share = 1 - (better + equal / 2) / others if others > 0 else np.full(len(row), np.nan)
        per_phrase = np.split(share.astype(np.float32), np.cumsum(count)[:-1]) if len(count) else []
        return Assessed(self._texts(per_phrase), per_phrase)

    def _texts(self, per_phrase: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        fold = np.min if self.over == "min" else np.mean
        return np.array([fold(share) if len(share) else np.nan for share in per_phrase], dtype=np.float32)
