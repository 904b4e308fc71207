"""One matrix on frozen vectors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from schemas.source import Source

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Linear:
    """A linear map and a bias, then unit length.

    Args:
        width: K, the width of what comes out.
        init: "orthogonal" rows or columns, which keep the geometry of the input; "default" is torch's
            uniform draw.
        dropout: Share of the input's entries dropped while training.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "linear"
    source: ClassVar[Source] = Source(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        authors="Radford et al.",
        year=2021,
        url="https://arxiv.org/abs/2103.00020",
        departs="the projection only, on frozen vectors, with a bias; orthogonal start (Saxe et al., 2014)",
    )

    width: int = 128
    init: Literal["orthogonal", "default"] = "orthogonal"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"width must be at least 1 and dropout in [0, 1): {self}")
        if self.init not in ("orthogonal", "default"):
            raise ValueError(f"init must be orthogonal or default: {self}")

    def build(self, dim_in: int) -> "nn.Module":
        """Return a module (N, dim_in) -> (N, K), rows of unit length, freshly initialised from torch's generator."""
        from torch import nn

        from tasks.heads._modules import SeededDropout, UnitLength

        matrix = nn.Linear(dim_in, self.width)
        if self.init == "orthogonal":
            nn.init.orthogonal_(matrix.weight)
            nn.init.zeros_(matrix.bias)
        return nn.Sequential(SeededDropout(self.dropout), matrix, UnitLength())
