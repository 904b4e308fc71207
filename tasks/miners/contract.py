"""What every miner promises."""

from typing import TYPE_CHECKING, ClassVar, Protocol

from schemas.source import Source

if TYPE_CHECKING:
    from torch import Tensor


class Miner(Protocol):
    """Picks, for each row of a batch, the wrong texts worth learning from. Transpose for wrong media.

    H is the miner's own to say.
    """

    name: ClassVar[str]
    source: ClassVar[Source]

    def __call__(self, similarity: "Tensor", same: "Tensor | None" = None) -> "Tensor":
        """Return H columns per row. Shape (B, H), int64, distinct in a row; -1 where a row has fewer negatives.

        Args:
            similarity: (B, B) cosines; the diagonal holds the pairs.
            same: (B, B) bool, pairs of rows that show the same thing: no negatives. None: only the diagonal.
        """
        ...
