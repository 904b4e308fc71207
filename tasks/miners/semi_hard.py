"""The hardest wrong text that is still told apart."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schemas.source import Source
from tasks.miners._ranking import highest, negatives

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SemiHard:
    """The most similar negative that is less similar than the pair itself.

    Where every negative beats the pair, the least similar one: the nearest to being told apart.
    """

    name: ClassVar[str] = "semi-hard"
    source: ClassVar[Source] = Source(
        title="FaceNet: A Unified Embedding for Face Recognition and Clustering",
        authors="Schroff et al.",
        year=2015,
        url="https://arxiv.org/abs/1503.03832",
        departs="cosines for distances; the easiest negative where none is semi-hard, which the paper leaves open",
    )

    def __call__(self, similarity: "Tensor", same: "Tensor | None" = None) -> "Tensor":
        """Return the column of the semi-hard negative. (B, 1) int64; -1 where a row has none."""
        import torch

        allowed = negatives(similarity, same)
        below = allowed & (similarity.detach() < similarity.detach().diagonal()[:, None])
        semi_hard = highest(similarity, below, 1)
        return torch.where(semi_hard >= 0, semi_hard, highest(-similarity, allowed, 1))
