"""What every loss promises."""

from typing import TYPE_CHECKING, ClassVar, Protocol

from schemas.source import Source

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Protocol):
    """Says how badly each row of a batch is aligned. Owns no parameters: what learns is a head.

    Losses see cosines only, so one loop trains them all, and each can be checked by a loop over B x B numbers.
    """

    name: ClassVar[str]
    source: ClassVar[Source]

    def __call__(
        self, similarity: "Tensor", *, label: "Tensor | None" = None, same: "Tensor | None" = None
    ) -> "Tensor":
        """Return the loss per row, both directions added. Shape (B,), differentiable in `similarity`.

        Args:
            similarity: (B, B) cosines, row i the medium and column j the text; the diagonal holds the pairs.
            label: (B,) in [0, 1], how true each pair is taken to be; None: all true. What a loss makes of it
                (soft margin, soft target, exponent) is its own to say.
            same: (B, B) bool, pairs of rows that show the same thing: no negatives. None: only the diagonal.
        """
        ...
