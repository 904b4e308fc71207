"""Learning only from what does not belong together."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from schemas.source import Source
from tasks.losses._candidates import candidates, labels, log_softmax

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Complementary:
    """Pushes away the texts that are not the medium's, and never pulls its own closer.

    Of all labels in a batch "this is not the text" is almost always right, even where most pairs are wrong.
    With P the softmax over the pair and its negatives, a row's loss is the sum over its negatives of a
    penalty that grows with P.

    The label of a pair plays no part: the loss does not rely on it.

    Args:
        temperature: Divides the cosines.
        penalty: "log": -log(1 - P); "tan": tan P; "mae": P; "exp": exp(P - 1); "gce": (1 - (1 - P)^q) / q.
        q: Of "gce", in (0, 1]: 1 is "mae", towards 0 it becomes "log".

    Raises:
        ValueError: A parameter is out of range.

    Example:
        >>> import torch
        >>> Complementary(penalty="mae")(torch.zeros(2, 2))  # P = 1/2, both ways
        tensor([1., 1.])
    """

    name: ClassVar[str] = "complementary"
    source: ClassVar[Source] = Source(
        title="Cross-Modal Retrieval with Partially Mismatched Pairs",
        authors="Hu et al.",
        year=2023,
        url="https://doi.org/10.1109/TPAMI.2023.3247939",
        departs="all negatives, no random subset of them; near-duplicates are masked; 1 - P in logarithms, "
        "so nothing needs an epsilon",
    )

    temperature: float = 0.05
    penalty: Literal["log", "tan", "mae", "exp", "gce"] = "log"
    q: float = 0.5

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0 < self.q <= 1:
            raise ValueError(f"temperature must be positive and q in (0, 1]: {self}")
        if self.penalty not in ("log", "tan", "mae", "exp", "gce"):
            raise ValueError(f"penalty must be log, tan, mae, exp or gce: {self}")

    def __call__(
        self, similarity: "Tensor", *, label: "Tensor | None" = None, same: "Tensor | None" = None
    ) -> "Tensor":
        """Return the penalties per row, both directions added. Shape (B,)."""
        labels(similarity, label)  # refuses those that do not fit
        among = candidates(similarity, same)
        return self._one_way(similarity, among) + self._one_way(similarity.T, among.T)

    def _one_way(self, similarity: "Tensor", among: "Tensor") -> "Tensor":
        import torch

        log_p = log_softmax(similarity, among, self.temperature)
        diagonal = torch.eye(len(log_p), dtype=torch.bool, device=log_p.device)
        return self._penalty(log_p).masked_fill(~among | diagonal, 0).sum(dim=1)

    def _penalty(self, log_p: "Tensor") -> "Tensor":
        if self.penalty == "log":
            return -_log_of_the_rest(log_p)
        if self.penalty == "gce":
            return (1 - (self.q * _log_of_the_rest(log_p)).exp()) / self.q
        p = log_p.exp()
        return {"tan": p.tan(), "mae": p, "exp": (p - 1).exp()}[self.penalty]


def _log_of_the_rest(log_p: "Tensor") -> "Tensor":
    """Return log(1 - P), finite also where P rounds to 1. (B, B)."""
    import torch

    # Only the highest P of a row can be near 1: it alone is summed from the others.
    top = torch.zeros_like(log_p, dtype=torch.bool).scatter(
        1, log_p.detach().argmax(dim=1, keepdim=True), True
    )
    low = torch.finfo(log_p.dtype).min / 4
    of_top = log_p.masked_fill(top, low).logsumexp(dim=1, keepdim=True)
    of_others = torch.log1p(-log_p.exp().masked_fill(top, 0))
    return torch.where(top, of_top, of_others)
