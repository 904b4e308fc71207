"""By how much negatives come closer than a margin to the pair."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mean_hinge(similarity: "Tensor", margin: "Tensor", columns: "Tensor") -> "Tensor":
    """Return the mean over chosen columns of [margin + S_ij - S_ii]+. Shape (B,); 0 where none is chosen.

    Args:
        similarity: (B, B) similarities.
        margin: (B,) margin of each row.
        columns: (B, H) columns as miners give them; -1 is none.
    """
    there = columns >= 0
    violation = margin[:, None] + similarity.gather(1, columns.clamp(min=0)) - similarity.diagonal()[:, None]
    return (violation.clamp(min=0) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
