"""One hidden layer on frozen vectors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schemas.source import Source

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MLP:
    """A hidden layer with GELU, then unit length.

    Args:
        width: K, the width of what comes out.
        hidden: Width of the hidden layer.
        residual: Adds a linear map of the input: the hidden layer learns only what that cannot do.
        dropout: Share of the input's entries dropped while training.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "mlp"
    source: ClassVar[Source] = Source(
        title="A Simple Framework for Contrastive Learning of Visual Representations",
        authors="Chen et al.",
        year=2020,
        url="https://arxiv.org/abs/2002.05709",
        departs="GELU for ReLU; what comes out is used, not only trained through; residual map after He et al. (2016)",
    )

    width: int = 128
    hidden: int = 512
    residual: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.hidden < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"width and hidden must be at least 1 and dropout in [0, 1): {self}")

    def build(self, dim_in: int) -> "nn.Module":
        """Return a module (N, dim_in) -> (N, K), rows of unit length, freshly initialised from torch's generator."""
        from torch import nn

        from tasks.heads._modules import Residual, SeededDropout, UnitLength

        bent = nn.Sequential(nn.Linear(dim_in, self.hidden), nn.GELU(), nn.Linear(self.hidden, self.width))
        body = Residual(nn.Linear(dim_in, self.width, bias=False), bent) if self.residual else bent
        return nn.Sequential(SeededDropout(self.dropout), body, UnitLength())
