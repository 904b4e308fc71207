"""Two trainings side by side, so that neither has to judge its own mistakes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from tasks.heads.contract import Head
from tasks.losses.contract import Loss
from tasks.training.fit import BestEpoch, Schedule, Targets, Towers, Training


@dataclass(frozen=True)
class Twins:
    """Two towers that are used as one: a similarity is the mean of both.

    Args:
        first: One of them.
        second: The other.
    """

    first: Towers
    second: Towers

    def media(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where media lie. (N, Dm) to (N, 2K), float32, unit length."""
        return _joined(self.first.media(vectors), self.second.media(vectors))

    def text(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where texts lie. (N, Dt) to (N, 2K), float32, unit length."""
        return _joined(self.first.text(vectors), self.second.text(vectors))


def fit_two(
    pairs: PairBatch,
    *,
    head: Head,
    loss: Loss,
    schedule: Schedule,
    seeds: tuple[int, int],
    rows: NDArray[np.integer[Any]] | None = None,
    targets: tuple[Targets, Targets] | None = None,
    trusted: PairBatch | None = None,
    on_epoch: Callable[[int, Towers, Towers], tuple[Targets | None, Targets | None]] | None = None,
    start: Twins | None = None,
) -> Twins:
    """Train two pairs of heads on the same rows, epoch by epoch side by side.

    They differ by their seed, hence in what they get wrong. Where each takes its weights and labels from the
    other (Han et al., 2018, https://arxiv.org/abs/1804.06872), a mistake does not confirm itself.

    Args:
        pairs: The N pairs. Those that share a group, a medium or a text are not each other's negatives.
        head: What to train.
        loss: What to make small.
        schedule: How long and how fast, both alike.
        seeds: Of the first and of the second; different.
        rows: (M,) rows to train on; all by default.
        targets: Weights and labels of the first epoch, for the first and for the second. None: all count, and
            all are true.
        trusted: Pairs known to be right, not trained on: both stop when their mean similarity gets no better,
            and go back to the epoch where it was best. None: all epochs.
        on_epoch: Called after each epoch with its number from 0 and both towers as they are; returns weights
            and labels for the first and for the second from the next epoch on, None to keep what there is. To
            co-teach, divide by the second for the first, and by the first for the second.
        start: Twins to go on from, as after a warm-up.

    Raises:
        DataError: There is nothing to train on, or a vector, weight or label is not finite or out of range.
        ValueError: The seeds are equal, or rows, weights or labels do not fit the pairs.
    """
    if seeds[0] == seeds[1]:
        raise ValueError(f"both seeds are {seeds[0]}; two trainings that are alike teach each other nothing")
    current = list(targets or (Targets(), Targets()))
    starts = (start.first, start.second) if start else (None, None)
    trainings = [
        Training(
            pairs, head=head, loss=loss, schedule=schedule, seed=seed, rows=rows, targets=given, start=before
        )
        for seed, given, before in zip(seeds, current, starts, strict=True)
    ]
    twins = Twins(trainings[0].towers, trainings[1].towers)
    best = BestEpoch(trusted, schedule)
    for epoch in range(schedule.epochs):
        for training, given in zip(trainings, current, strict=True):
            training.epoch(given)
        stops = best.stops(twins, trainings)
        if on_epoch is not None:
            fresh = on_epoch(epoch, twins.first, twins.second)
            current = [new or old for new, old in zip(fresh, current, strict=True)]
        if stops:
            break
    best.restore(trainings)
    return twins


def _joined(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors whose dot products are the means of both dot products."""
    joined: NDArray[np.float32] = np.concatenate([first, second], axis=1, dtype=np.float32)
    return joined * np.float32(0.5**0.5)
