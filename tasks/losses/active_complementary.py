"""Pull as far as the label is believed, push in any case."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schemas.source import Source
from tasks.losses._candidates import candidates, labels, log_softmax

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ActiveComplementary:
    """Cross-entropy weighed by the label, and a complementary term that takes over where the label is low.

    With P the softmax over the pair and its negatives, a row's loss in one direction is
    y * -log P_ii + beta * sum_{j != i} tan P_ij / (sum_j tan P_ij)^(1 - y).

    Args:
        temperature: Divides the cosines.
        beta: Weight of the complementary term.

    Raises:
        ValueError: A parameter is out of range.

    Example:
        >>> import torch
        >>> ActiveComplementary()(torch.zeros(2, 2), label=torch.zeros(2))  # half of tan P is off the pair
        tensor([5., 5.])
    """

    name: ClassVar[str] = "active-complementary"
    source: ClassVar[Source] = Source(
        title="Cross-modal Active Complementary Learning with Self-refining Correspondence",
        authors="Qin et al.",
        year=2023,
        url="https://arxiv.org/abs/2310.17468",
        departs="near-duplicates are masked; labels are refined outside of the loss",
    )

    temperature: float = 0.05
    beta: float = 5.0

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.beta < 0:
            raise ValueError(f"temperature must be positive and beta not negative: {self}")

    def __call__(
        self, similarity: "Tensor", *, label: "Tensor | None" = None, same: "Tensor | None" = None
    ) -> "Tensor":
        """Return both terms per row, both directions added. Shape (B,)."""
        own, among = labels(similarity, label), candidates(similarity, same)
        return self._one_way(similarity, own, among) + self._one_way(similarity.T, own, among.T)

    def _one_way(self, similarity: "Tensor", own: "Tensor", among: "Tensor") -> "Tensor":
        log_p = log_softmax(similarity, among, self.temperature)
        tan = log_p.exp().tan()  # P is at most 1, tan P at most 1.56; rows sum to 1 at least
        pushed = tan.sum(dim=1) - tan.diagonal()
        return -own * log_p.diagonal() + self.beta * pushed / tan.sum(dim=1) ** (1 - own)
