"""Which texts of a batch compete for a medium, and their probabilities, without an infinity anywhere."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def positives(similarity: "Tensor", same: "Tensor | None") -> "Tensor":
    """Return which columns are right for a row: the diagonal, and what shows the same thing. (B, B) bool."""
    import torch

    diagonal = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    return diagonal if same is None else diagonal | same


def candidates(similarity: "Tensor", same: "Tensor | None") -> "Tensor":
    """Return the pair itself and its negatives, hence at least one a row. (B, B) bool."""
    import torch

    diagonal = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    return torch.ones_like(diagonal) if same is None else diagonal | ~same


def log_softmax(similarity: "Tensor", among: "Tensor", temperature: float) -> "Tensor":
    """Return log P of each column of a row. (B, B); a huge negative number outside `among`, so that P is 0.

    Args:
        similarity: (B, B) cosines.
        among: (B, B) bool, columns that take part; at least one a row.
        temperature: Divides the cosines.
    """
    import torch

    # Finite, as 0 * inf is NaN, in the value or in the gradient.
    low = torch.finfo(similarity.dtype).min / 4
    return torch.log_softmax((similarity / temperature).masked_fill(~among, low), dim=1)


def labels(similarity: "Tensor", label: "Tensor | None") -> "Tensor":
    """Return the label per row, 1 where none is given. Shape (B,), no gradient.

    Raises:
        ValueError: There are not as many labels as rows.
    """
    import torch

    if label is None:
        return torch.ones(len(similarity), dtype=similarity.dtype, device=similarity.device)
    if label.shape != (len(similarity),):
        raise ValueError(
            f"label is {tuple(label.shape)} but there are {len(similarity)} rows; one label a row"
        )
    return label.to(similarity.dtype).detach()
