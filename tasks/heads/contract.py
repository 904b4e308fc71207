"""What every head promises."""

from typing import TYPE_CHECKING, ClassVar, Protocol

from schemas.source import Source

if TYPE_CHECKING:
    from torch import nn


class Head(Protocol):
    """Describes what is trained on frozen vectors; hyper-parameters only, the weights are the module's."""

    name: ClassVar[str]
    source: ClassVar[Source]

    @property
    def width(self) -> int:
        """Return K, the width of what comes out."""
        ...

    def build(self, dim_in: int) -> "nn.Module":
        """Return a module (N, dim_in) -> (N, K), rows of unit length, freshly initialised from torch's generator."""
        ...
