"""The several wrong texts that look most right."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schemas.source import Source
from tasks.miners._ranking import highest, negatives

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Top:
    """The negatives of highest similarity: milder than the single hardest one, which may be a false negative.

    Args:
        count: H, negatives a row.

    Raises:
        ValueError: `count` is under 1.
    """

    name: ClassVar[str] = "top"
    source: ClassVar[Source] = Source(
        title="Deep Evidential Learning with Noisy Correspondence for Cross-modal Retrieval",
        authors="Qin et al.",
        year=2022,
        url="https://doi.org/10.1145/3503161.3547922",
        departs="its dynamic hardness chooses H; here H is given",
    )

    count: int = 5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1: {self}")

    def __call__(self, similarity: "Tensor", same: "Tensor | None" = None) -> "Tensor":
        """Return the columns of the H hardest negatives, hardest first. (B, H) int64; -1 where a row has fewer."""
        return highest(similarity, negatives(similarity, same), self.count)
