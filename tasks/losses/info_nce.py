"""Contrastive cross-entropy, with targets as soft as the labels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from schemas.source import Source
from tasks.losses._candidates import candidates, labels, log_softmax

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class InfoNCE:
    """Tells the text of a medium from the other texts of the batch, and the medium of a text.

    The loss of a row is the cross-entropy between a target and the softmax over the pair and its negatives.
    The target is y on the pair; `rest` says what becomes of 1 - y.

    Args:
        temperature: Divides the cosines.
        rest: "similar" spreads 1 - y over the negatives in proportion to their softmax now, which finds false
            negatives; "uniform" spreads it evenly; "dropped" leaves it out: y weighs the row.
        smoothing: Share of the target that goes evenly to all candidates (ALIGN: 0.1).
        teacher_temperature: Divides a teacher's cosines, where training has one.

    Raises:
        ValueError: A parameter is out of range.

    Example:
        >>> import torch
        >>> InfoNCE(temperature=1.0)(torch.zeros(2, 2))  # 2 log 2 each
        tensor([1.3863, 1.3863])
    """

    name: ClassVar[str] = "info-nce"
    source: ClassVar[Source] = Source(
        title="Representation Learning with Contrastive Predictive Coding",
        authors="van den Oord et al.",
        year=2018,
        url="https://arxiv.org/abs/1807.03748",
        departs="both directions added and temperature fixed; soft targets after CREAM (Ma et al., 2024) "
        "without its filter of small weights; smoothing as in ALIGN (Jia et al., 2021)",
    )

    temperature: float = 0.05
    rest: Literal["similar", "uniform", "dropped"] = "similar"
    smoothing: float = 0.0
    teacher_temperature: float = 0.05

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.teacher_temperature <= 0:
            raise ValueError(f"temperatures must be positive: {self}")
        if self.rest not in ("similar", "uniform", "dropped"):
            raise ValueError(f"rest must be similar, uniform or dropped: {self}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1: {self}")

    def __call__(
        self,
        similarity: "Tensor",
        *,
        label: "Tensor | None" = None,
        same: "Tensor | None" = None,
        believed: "tuple[Tensor, Tensor] | None" = None,
    ) -> "Tensor":
        """Return the cross-entropy per row, both directions added. Shape (B,).

        Args:
            similarity: (B, B) cosines.
            label: (B,) in [0, 1]; None: all 1.
            same: (B, B) bool, no negatives.
            believed: A teacher's P(text | medium) and P(medium | text), each (B, B), 0 on what is the same and
                with rows of at most 1: takes the share 1 - y in place of what `rest` says.
        """
        own, among = labels(similarity, label), candidates(similarity, same)
        forth, back = (None, None) if believed is None else believed
        return self._one_way(similarity, own, among, forth) + self._one_way(similarity.T, own, among.T, back)

    def _one_way(
        self, similarity: "Tensor", own: "Tensor", among: "Tensor", believed: "Tensor | None"
    ) -> "Tensor":
        import torch

        log_p = log_softmax(similarity, among, self.temperature)
        if believed is None:
            target = self._target(log_p.detach(), own, among)
        else:
            target = torch.diag(own) + (1 - own)[:, None] * believed.to(own.dtype)
        return -(target * log_p).sum(dim=1)

    def _target(self, log_p: "Tensor", own: "Tensor", among: "Tensor") -> "Tensor":
        """Return the target distributions. (B, B); rows sum to 1, or to y where nothing can take the rest."""
        import torch

        diagonal = torch.eye(len(log_p), dtype=torch.bool, device=log_p.device)
        target = torch.diag(own)
        if self.rest != "dropped":
            # Normalised among the negatives alone, in logarithms: beside a sure pair all their P may be 0.
            low = torch.finfo(log_p.dtype).min / 4
            wish = log_p if self.rest == "similar" else torch.zeros_like(log_p)
            share = torch.softmax(wish.masked_fill(~among | diagonal, low), dim=1)
            target = target + (1 - own)[:, None] * share.masked_fill(~among | diagonal, 0)
        even = among / among.sum(dim=1, keepdim=True)
        return (1 - self.smoothing) * target + self.smoothing * even * target.sum(dim=1, keepdim=True)
