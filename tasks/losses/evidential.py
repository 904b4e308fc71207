"""Evidence for each candidate, so that a pair may be found to match nothing."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from schemas.source import Source
from tasks.losses._candidates import candidates, labels
from tasks.losses._hinge import mean_hinge
from tasks.miners.top import Top

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Evidential:
    """Fits a Dirichlet over the candidates of each row, and a hinge against ever fewer, harder negatives.

    Evidence is exp(tanh(S) / temperature), alpha = evidence + 1, and A its sum over the pair and its
    negatives. The target is y on the pair and 0 elsewhere: at label 0 the row should find evidence for
    nothing. A direction of a row is

        sum_j (target_j - alpha_j / A)^2 + alpha_j (A - alpha_j) / (A^2 (A + 1))
        + divergence * KL(Dir(evidence off the target + 1) || Dir(1))
        + B * y * hinge * mean over the H hardest negatives of [margin + tanh S_ij - tanh S_ii]+

    with H = max(B - anneal * step, hardest). The factor B is the released code's, which averages the other
    terms over the batch and sums the hinge: without it the divergence, itself a sum over B candidates, wins,
    and hardly anything is learnt.

    Args:
        temperature: Divides tanh of the cosines.
        divergence: Weight of the divergence.
        hinge: Weight of the hinge, times B.
        margin: Of the hinge.
        hardest: Negatives of the hinge in the end.
        anneal: Negatives that drop out per step.
        step: Training steps done so far.

    Raises:
        ValueError: A parameter is out of range.

    Example:
        >>> import torch
        >>> Evidential(hinge=0, divergence=0)(torch.zeros(1, 1))  # one candidate is no choice
        tensor([0.])
    """

    name: ClassVar[str] = "evidential"
    source: ClassVar[Source] = Source(
        title="Deep Evidential Learning with Noisy Correspondence for Cross-modal Retrieval",
        authors="Qin et al.",
        year=2022,
        url="https://doi.org/10.1145/3503161.3547922",
        departs="a label between 0 and 1 is a target and a weight of the hinge; near-duplicates are masked",
    )

    temperature: float = 0.1
    divergence: float = 0.1
    hinge: float = 0.8
    margin: float = 0.2
    hardest: int = 5
    anneal: float = 0.025
    step: int = 0

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.margin <= 0 or self.hardest < 1:
            raise ValueError(f"temperature and margin must be positive and hardest at least 1: {self}")
        if min(self.divergence, self.hinge, self.anneal, self.step) < 0:
            raise ValueError(f"divergence, hinge, anneal and step must not be negative: {self}")

    def at_step(self, step: int) -> Self:
        """Return the loss as it is after so many training steps."""
        return replace(self, step=step)

    def __call__(
        self, similarity: "Tensor", *, label: "Tensor | None" = None, same: "Tensor | None" = None
    ) -> "Tensor":
        """Return all terms per row, both directions added. Shape (B,)."""
        # lgamma of a sum of evidence is in the millions: float32 would leave it without decimals.
        bounded = similarity.double().tanh()
        own, among = labels(bounded, label), candidates(similarity, same)
        forth, back = self._one_way(bounded, own, among), self._one_way(bounded.T, own, among.T)
        return (forth + back).to(similarity.dtype)

    def _one_way(self, bounded: "Tensor", own: "Tensor", among: "Tensor") -> "Tensor":
        import torch

        evidence = (bounded / self.temperature).exp().masked_fill(~among, 0)
        target = torch.diag(own)
        negatives = max(int(len(bounded) - self.anneal * self.step), self.hardest)
        hinge = mean_hinge(bounded, torch.full_like(own, self.margin), Top(negatives)(bounded, ~among))
        return (
            squared_error(evidence, target, among)
            + self.divergence * divergence_from_uniform(evidence * (1 - target), among)
            + len(bounded) * self.hinge * own * hinge
        )


def squared_error(evidence: "Tensor", target: "Tensor", among: "Tensor") -> "Tensor":
    """Return the expected squared error of a draw from the Dirichlet. Shape (B,).

    Args:
        evidence: (B, B), 0 outside `among`.
        target: (B, B), 0 outside `among`.
        among: (B, B) bool, the candidates.
    """
    alpha = evidence + among
    strength = alpha.sum(dim=1, keepdim=True)
    missed = (target - alpha / strength) ** 2
    variance = alpha * (strength - alpha) / (strength**2 * (strength + 1))
    return (missed + variance).sum(dim=1)


def divergence_from_uniform(evidence: "Tensor", among: "Tensor") -> "Tensor":
    """Return KL(Dir(evidence + 1) || Dir(1)) over the candidates. Shape (B,).

    Args:
        evidence: (B, B), 0 outside `among`.
        among: (B, B) bool, the candidates.
    """
    alpha = evidence + 1  # lgamma(1) = 0 and no evidence: what is no candidate adds nothing below
    count = among.sum(dim=1).to(alpha.dtype)
    strength = evidence.sum(dim=1) + count
    expected = evidence * (alpha.digamma() - strength.digamma()[:, None])
    return strength.lgamma() - count.lgamma() - alpha.lgamma().sum(dim=1) + expected.sum(dim=1)
