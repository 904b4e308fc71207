"""A hinge against a soft maximum of the negatives."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schemas.source import Source
from tasks.losses._candidates import labels, log_softmax, positives

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TAL:
    """[margin - mean of the right similarities + temperature * log-sum-exp of the wrong ones]+.

    The log-sum-exp is an upper bound of the hardest negative that takes all of them along, and so does not
    collapse where the hardest one is a false negative. The right similarities are those of everything that
    shows the same thing, weighed by their softmax. The label weighs the row.

    Args:
        margin: In cosine.
        temperature: Softness of the maximum.

    Raises:
        ValueError: A parameter is out of range.

    Example:
        >>> import torch
        >>> TAL()(torch.tensor([[0.5, 0.45], [0.45, 0.5]]))  # 0.1 - 0.5 + 0.45, both ways
        tensor([0.1000, 0.1000])
    """

    name: ClassVar[str] = "tal"
    source: ClassVar[Source] = Source(
        title="Noisy-Correspondence Learning for Text-to-Image Person Re-identification",
        authors="Qin et al.",
        year=2024,
        url="https://arxiv.org/abs/2308.09911",
        departs="groups of near-duplicates stand for identities",
    )

    margin: float = 0.1
    temperature: float = 0.015

    def __post_init__(self) -> None:
        if self.margin <= 0 or self.temperature <= 0:
            raise ValueError(f"margin and temperature must be positive: {self}")

    def __call__(
        self, similarity: "Tensor", *, label: "Tensor | None" = None, same: "Tensor | None" = None
    ) -> "Tensor":
        """Return the hinge per row, both directions added. Shape (B,); 0 where nothing is wrong for a row."""
        own, right = labels(similarity, label), positives(similarity, same)
        return own * (self._one_way(similarity, right) + self._one_way(similarity.T, right.T))

    def _one_way(self, similarity: "Tensor", right: "Tensor") -> "Tensor":
        import torch

        weight = log_softmax(similarity.detach(), right, self.temperature).exp()
        pulled = (weight * similarity).sum(dim=1)
        low = torch.finfo(similarity.dtype).min / 4
        pushed = self.temperature * (similarity / self.temperature).masked_fill(right, low).logsumexp(dim=1)
        return (self.margin - pulled + pushed).clamp(min=0)
