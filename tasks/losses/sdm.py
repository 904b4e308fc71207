"""The softmax of a row should be the distribution of what shows the same thing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schemas.source import Source
from tasks.losses._candidates import labels, positives

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SDM:
    """KL(p || q), p the softmax over the whole batch, q even over what shows the same thing.

    Made for batches in which things come several times; among pairs that all differ InfoNCE does better. The
    label weighs the row.

    Args:
        temperature: Divides the cosines.
        epsilon: Added to q inside the logarithm; sets what probability on a wrong text costs.

    Raises:
        ValueError: A parameter is not positive.

    Example:
        >>> import torch
        >>> everything = torch.ones(2, 2, dtype=torch.bool)
        >>> SDM()(torch.zeros(2, 2), same=everything).abs() < 1e-6
        tensor([True, True])
    """

    name: ClassVar[str] = "sdm"
    source: ClassVar[Source] = Source(
        title="Cross-Modal Implicit Relation Reasoning and Aligning for Text-to-Image Person Retrieval",
        authors="Jiang and Ye",
        year=2023,
        url="https://arxiv.org/abs/2303.12501",
        departs="groups of near-duplicates stand for identities",
    )

    temperature: float = 0.02
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.epsilon <= 0:
            raise ValueError(f"temperature and epsilon must be positive: {self}")

    def __call__(
        self, similarity: "Tensor", *, label: "Tensor | None" = None, same: "Tensor | None" = None
    ) -> "Tensor":
        """Return the divergence per row, both directions added. Shape (B,)."""
        own, right = labels(similarity, label), positives(similarity, same)
        return own * (self._one_way(similarity, right) + self._one_way(similarity.T, right.T))

    def _one_way(self, similarity: "Tensor", right: "Tensor") -> "Tensor":
        log_p = (similarity / self.temperature).log_softmax(dim=1)
        q = right / right.sum(dim=1, keepdim=True)
        return (log_p.exp() * (log_p - (q + self.epsilon).log())).sum(dim=1)
