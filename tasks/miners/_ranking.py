"""Picking columns by rank among those that are allowed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def negatives(similarity: "Tensor", same: "Tensor | None") -> "Tensor":
    """Return which columns are wrong for a row. (B, B) bool."""
    import torch

    diagonal = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    return ~diagonal if same is None else ~(diagonal | same)


def highest(key: "Tensor", allowed: "Tensor", count: int) -> "Tensor":
    """Return the columns of the highest keys among the allowed ones, the first of equals first.

    Args:
        key: (B, B) what to rank by.
        allowed: (B, B) bool.
        count: H, columns a row.

    Returns:
        (B, H) int64; -1 where a row has fewer.
    """
    import torch

    order = key.detach().masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True)
    picked = order[:, :count].masked_fill(~allowed.gather(1, order[:, :count]), -1)
    return torch.nn.functional.pad(picked, (0, count - picked.shape[1]), value=-1)
