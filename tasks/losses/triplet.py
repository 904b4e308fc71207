"""A hinge against negatives, with a margin as soft as the label."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from schemas.source import Source
from tasks.losses._candidates import candidates, labels
from tasks.losses._hinge import mean_hinge
from tasks.miners.contract import Miner
from tasks.miners.hardest import Hardest
from tasks.miners.semi_hard import SemiHard

if TYPE_CHECKING:
    from torch import Tensor

_MINED: dict[str, Miner] = {"hardest": Hardest(), "semi-hard": SemiHard()}


@dataclass(frozen=True)
class Triplet:
    """[margin + S_ij - S_ii]+ of each row, over all negatives or the mined one, both directions.

    A label softens the margin of its row: a pair that is half true need not beat its negatives by as much.

    Args:
        margin: Of a true pair, in cosine.
        negatives: "mean" takes all negatives; the sum is divided by how many compete, the pair included, hence
            by B where none is masked. "hardest" and "semi-hard" take one.
        soft: The margin at label y. "exponential": margin * (10^y - 1) / 9; "linear": margin * y; "sine":
            margin * (sin(pi y - pi/2) + 1) / 2.

    Raises:
        ValueError: A parameter is out of range.

    Example:
        >>> import torch
        >>> Triplet(negatives="hardest")(torch.tensor([[0.5, 0.4], [0.1, 0.5]]))
        tensor([0.1000, 0.1000])
    """

    name: ClassVar[str] = "triplet"
    source: ClassVar[Source] = Source(
        title="Learning with Noisy Correspondence for Cross-modal Matching",
        authors="Huang et al.",
        year=2021,
        url="https://github.com/XLearning-SCU/2021-NeurIPS-NCR",
        departs="labels stay per row where the released code broadcasts them to B x B; negatives of VSE++ "
        "(Faghri et al., 2018) and FaceNet (Schroff et al., 2015); near-duplicates are masked",
    )

    margin: float = 0.2
    negatives: Literal["mean", "hardest", "semi-hard"] = "mean"
    soft: Literal["exponential", "linear", "sine"] = "exponential"

    def __post_init__(self) -> None:
        if self.margin <= 0:
            raise ValueError(f"margin must be positive: {self}")
        if self.negatives not in ("mean", *_MINED):
            raise ValueError(f"negatives must be mean, hardest or semi-hard: {self}")
        if self.soft not in ("exponential", "linear", "sine"):
            raise ValueError(f"soft must be exponential, linear or sine: {self}")

    def __call__(
        self, similarity: "Tensor", *, label: "Tensor | None" = None, same: "Tensor | None" = None
    ) -> "Tensor":
        """Return the hinge per row, both directions added. Shape (B,)."""
        margin = self._soft_margin(labels(similarity, label))
        other_way = None if same is None else same.T
        return self._one_way(similarity, margin, same) + self._one_way(similarity.T, margin, other_way)

    def _one_way(self, similarity: "Tensor", margin: "Tensor", same: "Tensor | None") -> "Tensor":
        import torch

        if self.negatives != "mean":
            return mean_hinge(similarity, margin, _MINED[self.negatives](similarity, same))
        among = candidates(similarity, same)
        violation = (margin[:, None] + similarity - similarity.diagonal()[:, None]).clamp(min=0)
        diagonal = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
        return violation.masked_fill(~among | diagonal, 0).sum(dim=1) / among.sum(dim=1)

    def _soft_margin(self, label: "Tensor") -> "Tensor":
        if self.soft == "linear":
            return self.margin * label
        if self.soft == "sine":
            return self.margin * ((math.pi * label - math.pi / 2).sin() + 1) / 2
        return self.margin * (10**label - 1) / 9
