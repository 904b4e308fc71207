"""The wrong text that looks most right."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schemas.source import Source
from tasks.miners._ranking import highest, negatives

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Hardest:
    """The negative of highest similarity. On noisy pairs it is often a right text: warm up without it."""

    name: ClassVar[str] = "hardest"
    source: ClassVar[Source] = Source(
        title="VSE++: Improving Visual-Semantic Embeddings with Hard Negatives",
        authors="Faghri et al.",
        year=2018,
        url="https://arxiv.org/abs/1707.05612",
    )

    def __call__(self, similarity: "Tensor", same: "Tensor | None" = None) -> "Tensor":
        """Return the column of the hardest negative. (B, 1) int64; -1 where a row has none."""
        return highest(similarity, negatives(similarity, same), 1)
