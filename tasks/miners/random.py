"""Wrong texts at random."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schemas.source import Source
from tasks.miners._ranking import highest, negatives

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Random:
    """Negatives drawn evenly, without replacement, whatever their similarity.

    One seed and one batch size give one draw of places in the batch: it is the order of rows that varies
    from batch to batch.

    Args:
        count: H, negatives a row.
        seed: Seed of the draw.

    Raises:
        ValueError: `count` is under 1 or `seed` negative.
    """

    name: ClassVar[str] = "random"
    source: ClassVar[Source] = Source(
        title="Sampling Matters in Deep Embedding Learning",
        authors="Wu et al.",
        year=2017,
        url="https://arxiv.org/abs/1706.07567",
        departs="the uniform baseline of the paper, not its distance-weighted sampling",
    )

    count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise ValueError(f"count must be at least 1 and seed not negative: {self}")

    def __call__(self, similarity: "Tensor", same: "Tensor | None" = None) -> "Tensor":
        """Return H columns drawn among the negatives. (B, H) int64; -1 where a row has fewer."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        key = torch.rand(similarity.shape, generator=generator).to(similarity.device)
        return highest(key, negatives(similarity, same), self.count)
