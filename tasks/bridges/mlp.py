"""XBT's projection: a small network that learns on noisy texts alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from schemas.source import Source
from tasks.bridges.contract import Crossing, Rows
from tasks.bridges.ridge import Ridge

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MLP:
    """Minimises 1 - cos of what comes out and the old vector, the input being seen with fresh noise each time.

    A hidden layer beside a linear map. It starts as the ridge bridge, so that what it learns is what no linear map
    does.

    Args:
        hidden: H, width of the hidden layer.
        noise: Standard deviation of the noise in each of the D' entries of a unit vector.
        epochs: Passes over the rows.
        batch_size: Rows a step.
        learning_rate: Of AdamW; it falls to 0 along a cosine.
        weight_decay: Of AdamW.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "mlp"
    source: ClassVar[Source] = Source(
        title="Towards Cross-modal Backward-compatible Representation Learning for Vision-Language Models",
        authors="Jang and Lim",
        year=2024,
        url="https://arxiv.org/abs/2405.14715",
        departs="the first stage only: the new encoder is not tuned; one hidden layer beside a linear map that "
        "starts as a ridge regression; cosine loss",
    )

    hidden: int = 512
    noise: float = 0.05
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"hidden, epochs and batch_size must be at least 1: {self}")
        if not self.noise >= 0 or not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(f"noise and weight_decay must be at least 0 and learning_rate positive: {self}")

    def fit(self, rows: Rows, *, seed: int = 0) -> Crossing:
        """Return the crossing: one seed, one result, bit for bit on one number of threads."""
        import torch
        from torch.nn import functional

        start = Ridge(noise=self.noise).fit(rows)
        draw = torch.Generator().manual_seed(seed)
        wide, narrow = start.matrix.shape
        inner = torch.randn(wide, self.hidden, generator=draw) * (2 / wide) ** 0.5
        learnt = [
            torch.from_numpy(start.matrix.copy()),
            torch.from_numpy(start.offset.copy()),
            inner,
            torch.zeros(self.hidden),
            torch.zeros(self.hidden, narrow),  # what comes out at first is the ridge bridge
        ]
        for tensor in learnt:
            tensor.requires_grad_()
        optimizer = torch.optim.AdamW(learnt, lr=self.learning_rate, weight_decay=self.weight_decay)
        x = torch.from_numpy(rows.new - start.centre)
        y = functional.normalize(torch.from_numpy(rows.old), dim=1)
        weight = torch.from_numpy((rows.weights * len(rows)).astype(np.float32))
        steps = self.epochs * -(-len(rows) // self.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(self.epochs):
            order = torch.randperm(len(rows), generator=draw)
            for batch in torch.split(order, self.batch_size):  # type: ignore[no-untyped-call]
                seen = x[batch] + self.noise * torch.randn(len(batch), wide, generator=draw)
                loss = (
                    weight[batch] * (1 - functional.cosine_similarity(_cross(seen, learnt), y[batch]))
                ).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        matrix, offset, inner_, bias, outer = (tensor.detach().numpy().copy() for tensor in learnt)
        return Crossing(matrix, start.centre, offset, inner_, bias, outer)


def _cross(seen: "Tensor", learnt: "list[Tensor]") -> "Tensor":
    """Return what `Crossing` computes, before it is scaled to unit length. (B, D)."""
    import torch

    matrix, offset, inner, bias, outer = learnt
    return seen @ matrix + offset + torch.relu(seen @ inner + bias) @ outer
