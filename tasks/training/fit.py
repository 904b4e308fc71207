"""The loop that trains a head a side on stored vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.errors import DataError
from tasks.heads.contract import Head
from tasks.losses.contract import Loss
from tasks.training import _trusted
from tasks.training._batches import same_tensor, shuffled_batches
from tasks.training._seeding import build_seeded
from tasks.training._trusted import Embeds
from tasks.training.per_row import match_probabilities, row_losses
from tasks.training.teacher import Believed
from tasks.training.towers import Tower, Towers

__all__ = [
    "BestEpoch",
    "Schedule",
    "Targets",
    "Tower",
    "Towers",
    "Training",
    "fit",
    "match_probabilities",
    "row_losses",
]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Args:
        epochs: Passes over the rows, at most.
        batch_size: Rows per step; their pairs are each other's negatives.
        learning_rate: Of AdamW, constant.
        weight_decay: Of AdamW.
        patience: Epochs without a better trusted score before training stops; no matter without trusted pairs.
        clip_norm: Gradients of both heads together are scaled down to this norm; None: never.
        select: What the trusted score is: recall@1, or the mean margin, which moves where recall stands still.

    Raises:
        ValueError: A parameter is out of range.
    """

    epochs: int = 15
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 3
    clip_norm: float | None = None
    select: Literal["recall", "margin"] = "recall"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.patience < 1:
            raise ValueError(f"epochs and patience must be at least 1 and batch_size 2: {self}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(f"learning_rate must be positive and weight_decay not negative: {self}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive or None: {self}")
        if self.select not in ("recall", "margin"):
            raise ValueError(f"select must be recall or margin: {self}")


@dataclass(frozen=True)
class Targets:
    """How much each of N pairs counts, and how true it is taken to be.

    Args:
        weight: (N,) not negative; a pair of weight 0 is skipped, as a negative too. None: all 1.
        label: (N,) in [0, 1]; what a loss makes of it is its own to say. None: all true.
    """

    weight: NDArray[np.floating[Any]] | None = None
    label: NDArray[np.floating[Any]] | None = None

    def require(self, n: int) -> None:
        """Refuse targets that do not fit n pairs.

        Raises:
            ValueError: There are not n of them.
            DataError: A weight is negative, a label outside [0, 1], or one of them NaN.
        """
        for name, values, top in (("weight", self.weight, np.inf), ("label", self.label, 1)):
            if values is None:
                continue
            if values.shape != (n,):
                raise ValueError(f"{name} is {values.shape} but there are {n} pairs")
            wrong = np.flatnonzero(~((values >= 0) & (values <= top) & np.isfinite(values)))
            if len(wrong):
                raise DataError(
                    f"{name} of pair {wrong[0]} is {values[wrong[0]]:g}; "
                    f"it must be {'at least 0' if name == 'weight' else 'in [0, 1]'}"
                )


class Training:
    """Two towers, and all that moves while they learn.

    Args:
        pairs: All pairs.
        head: Built once a side.
        loss: What is made small.
        schedule: How.
        seed: Of the heads' first weights and of the order of rows.
        rows: (M,) rows to train on; all by default. Nothing else is read.
        targets: Of the first epoch. The scale of the input is that of rows that count then.
        start: Towers to go on from; their scale is kept. None: fresh ones.
        believed: What a teacher believes of other pairs; goes to losses that take it. None: no teacher.

    Raises:
        DataError: There is nothing to train on, or a vector is not finite.
        ValueError: Rows or targets do not fit the pairs.
    """

    def __init__(
        self,
        pairs: PairBatch,
        *,
        head: Head,
        loss: Loss,
        schedule: Schedule,
        seed: int,
        rows: NDArray[np.integer[Any]] | None = None,
        targets: Targets,
        start: Towers | None = None,
        believed: Believed | None = None,
    ) -> None:
        import torch

        self._believed = believed
        self._pairs, self._loss, self._schedule = pairs, loss, schedule
        self._rows = _checked_rows(pairs, rows)
        self._rng = np.random.default_rng(seed)
        self._steps = 0
        counted = self._counted(targets)
        if start is None:
            # Torch reads 32 bits of a seed; two drawn from it keep the sides from starting alike.
            media_seed, text_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
            self.towers = Towers(
                _fresh(head, pairs.media_vec, counted, seed=media_seed),
                _fresh(head, pairs.text_vec, counted, seed=text_seed),
            )
        else:
            self.towers = Towers.from_state(start.state(), head, seed=seed)
        self._modules = torch.nn.ModuleList([self.towers.media_tower.head, self.towers.text_tower.head])
        self._optimizer = torch.optim.AdamW(
            self._modules.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )

    def epoch(self, targets: Targets) -> None:
        """Take one pass over the rows that count."""
        counted = self._counted(targets)
        self._modules.train()
        for batch in shuffled_batches(counted, self._schedule.batch_size, self._rng):
            self._step(batch, targets)
        self._modules.eval()

    def _step(self, batch: NDArray[np.int64], targets: Targets) -> None:
        import torch

        media_tower, text_tower = self.towers.media_tower, self.towers.text_tower
        media = media_tower.head(media_tower.standardised(self._pairs.media_vec[batch]))
        text = text_tower.head(text_tower.standardised(self._pairs.text_vec[batch]))
        label = None if targets.label is None else _tensor(targets.label[batch])
        loss = at_step(self._loss, self._steps)
        taught = {} if self._believed is None else {"believed": self._believed.of(batch)}
        rows = loss(media @ text.T, label=label, same=same_tensor(self._pairs, batch), **taught)  # (B,)
        if targets.weight is None:
            mean = rows.mean()
        else:
            weight = _tensor(
                targets.weight[batch] / targets.weight[batch].max()
            )  # tiny ones must not underflow
            mean = (weight * rows).sum() / weight.sum()
        self._optimizer.zero_grad()
        mean.backward()  # type: ignore[no-untyped-call]
        if self._schedule.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._modules.parameters(), self._schedule.clip_norm)
        self._optimizer.step()
        self._steps += 1

    def _counted(self, targets: Targets) -> NDArray[np.int64]:
        """Return the rows whose weight is not 0."""
        targets.require(len(self._pairs))
        rows = self._rows if targets.weight is None else self._rows[targets.weight[self._rows] > 0]
        if not len(rows):
            raise DataError(
                f"none of {len(self._rows)} rows has a weight over 0, so there is nothing to train on; "
                "keep more pairs"
            )
        return rows


class BestEpoch:
    """Remembers the epoch that did best on trusted pairs.

    Args:
        trusted: Pairs known to be right, none of them trained on; None: the last epoch is the best.
        schedule: Says by what and with what patience.

    Raises:
        DataError: There are no trusted pairs in it.
    """

    def __init__(self, trusted: PairBatch | None, schedule: Schedule) -> None:
        if trusted is not None and not len(trusted):
            raise DataError("the trusted pairs are empty; give some, or None to train all epochs")
        self._trusted, self._schedule = trusted, schedule
        self._score, self._waited = -np.inf, 0
        self._states: list[dict[str, Any]] = []

    def stops(self, embeds: Embeds, trainings: list[Training]) -> bool:
        """Look at an epoch; return whether it is time to stop."""
        if self._trusted is None:
            return False
        score = (_trusted.recall if self._schedule.select == "recall" else _trusted.margin)(
            embeds, self._trusted
        )
        self._waited += 1
        if score > self._score:
            self._score, self._waited = score, 0
            self._states = [
                {name: tensor.clone() for name, tensor in training._modules.state_dict().items()}
                for training in trainings
            ]
        return self._waited >= self._schedule.patience

    def restore(self, trainings: list[Training]) -> None:
        """Bring the towers back to the best epoch."""
        if self._trusted is not None:
            for training, state in zip(trainings, self._states, strict=True):
                training._modules.load_state_dict(state)


def fit(
    pairs: PairBatch,
    *,
    head: Head,
    loss: Loss,
    schedule: Schedule,
    seed: int,
    rows: NDArray[np.integer[Any]] | None = None,
    weight: NDArray[np.floating[Any]] | None = None,
    label: NDArray[np.floating[Any]] | None = None,
    trusted: PairBatch | None = None,
    on_epoch: Callable[[int, Towers], Targets | None] | None = None,
    start: Towers | None = None,
    teacher: Embeds | None = None,
) -> Towers:
    """Train a head a side and return the towers: one seed, one result, bit for bit on one number of threads.

    Args:
        pairs: The N pairs. Those that share a group, a medium or a text are not each other's negatives.
        head: What to train.
        loss: What to make small; its mean over a batch weighs rows by `weight`.
        schedule: How long and how fast.
        seed: Of the first weights and of the order of rows, not negative.
        rows: (M,) rows to train on; all by default. Vectors of other rows are not read.
        weight: (N,) how much a pair counts; 0 skips it, as a negative too.
        label: (N,) in [0, 1], how true each pair is taken to be.
        trusted: Pairs known to be right, not trained on: training stops when they get no better, and the best
            epoch is returned. None: all epochs, the last is returned.
        on_epoch: Called after each epoch with its number from 0 and the towers as they are; may return
            weights and labels for the epochs to come. The towers go on learning: keep their state, not them.
        start: Towers to go on from, as after a warm-up.
        teacher: Brings both sides into one space; what it believes of other pairs takes the share 1 - y of
            each. Only for losses with a field `teacher_temperature`.

    Raises:
        DataError: There is nothing to train on, or a vector, weight or label is not finite or out of range.
        ValueError: Rows, weights or labels do not fit the pairs.
    """
    targets = Targets(weight, label)
    believed = None if teacher is None else Believed.by(teacher, pairs, _teacher_temperature(loss), rows)
    training = Training(
        pairs,
        head=head,
        loss=loss,
        schedule=schedule,
        seed=seed,
        rows=rows,
        targets=targets,
        start=start,
        believed=believed,
    )
    best = BestEpoch(trusted, schedule)
    for epoch in range(schedule.epochs):
        training.epoch(targets)
        stops = best.stops(training.towers, [training])
        if on_epoch is not None:
            targets = on_epoch(epoch, training.towers) or targets
        if stops:
            break
    best.restore([training])
    return training.towers


def _teacher_temperature(loss: Loss) -> float:
    if (temperature := getattr(loss, "teacher_temperature", None)) is None:
        raise ValueError(f"{loss.name} has no use for a teacher; train with info-nce, or without one")
    return float(temperature)


def at_step(loss: Loss, step: int) -> Loss:
    """Return the loss as it is after so many steps: itself, unless it is one that anneals."""
    anneal = getattr(loss, "at_step", None)
    return loss if anneal is None else anneal(step)


def _fresh(head: Head, vectors: NDArray[np.float32], rows: NDArray[np.int64], *, seed: int) -> Tower:
    """Return an untrained tower that standardises by these rows."""
    mean, scale = _standardisation(vectors, rows)
    return Tower(build_seeded(head, vectors.shape[1], seed=seed).eval(), mean, scale)


def _standardisation(
    vectors: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and scale of each entry over some rows. Both (D,)."""
    seen = vectors[rows]
    mean, spread = seen.mean(axis=0, dtype=np.float64), seen.std(axis=0, dtype=np.float64)
    # An entry that hardly ever moved would turn its first move into an outlier of hundreds of units.
    floor = max(1e-2 * float(np.sqrt((spread**2).mean())), 1e-6)
    return mean.astype(np.float32), np.maximum(spread, floor).astype(np.float32)


def _checked_rows(pairs: PairBatch, rows: NDArray[np.integer[Any]] | None) -> NDArray[np.int64]:
    everyone = np.arange(len(pairs))
    if rows is not None:
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(f"rows must be (M,) integers, found {rows.dtype} {rows.shape}")
        if len(rows) and (rows.min() < 0 or rows.max() >= len(pairs) or len(np.unique(rows)) < len(rows)):
            raise ValueError(f"rows must be distinct and in 0 to {len(pairs) - 1}")
    picked = everyone if rows is None else rows.astype(np.int64)
    for side, vectors in (("media", pairs.media_vec), ("text", pairs.text_vec)):
        broken = np.flatnonzero(~np.isfinite(vectors[picked]).all(axis=1))
        if len(broken):
            raise DataError(
                f"{len(broken)} {side} vectors are not finite, first in row {picked[broken[0]]}; "
                "embed them again"
            )
    return picked


def _tensor(values: NDArray[np.floating[Any]]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
