"""The loss of a pair after a short warm-up: right pairs are learned before wrong ones."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source
from tasks.noise._mixture import low_posterior
from tasks.noise._trained import can_tell, for_heads
from tasks.noise._vectors import require_finite

if TYPE_CHECKING:
    from tasks.training.fit import Targets, Towers

_JUDGED = 1024  # pairs a loss is the mean over: more than in training, so that a batch's luck counts less


@dataclass(frozen=True)
class EarlyLoss:
    """P(low loss) of each pair under two heads that were stopped early.

    Right pairs agree with each other and are learned first; wrong ones must be learned one by one. Two heads
    of different seeds are trained with the mean hinge, the loss of every pair is taken, and a mixture of two
    Gaussians says how surely it is of the low kind. In the `rounds` after the warm-up each head weighs pairs
    by what the other says of them. The score is the mean of both.

    Trained for too long, heads know all pairs by heart and the score turns to chance, or below. That is why
    they see `components` principal components a side only, and why `warmup` is short.

    Under 16 groups every pair scores 0.5 ("cannot tell").

    Args:
        warmup: Epochs in which all pairs count alike.
        rounds: Epochs of co-teaching after them.
        components: Principal components of a side that heads see.
        width: Width of the heads' space.
        margin: Of the hinge, in cosine.
        learning_rate: Of AdamW.
        batch_size: Pairs per step.
        seed: Seed of both heads.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "early-loss"
    source: ClassVar[Source] = Source(
        title="Learning with Noisy Correspondence for Cross-modal Matching",
        authors="Huang et al.",
        year=2021,
        url="https://github.com/XLearning-SCU/2021-NeurIPS-NCR",
        departs="linear heads on principal components of frozen vectors; losses winsorised; the posterior made "
        "to fall with the loss; both posteriors averaged; co-teaching by weights, without soft margins",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    warmup: int = 12
    rounds: int = 4
    components: int = 64
    width: int = 128
    margin: float = 0.2
    learning_rate: float = 1e-3
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.warmup < 1 or self.rounds < 0 or self.seed < 0:
            raise ValueError(f"warmup must be at least 1, and rounds and seed must be at least 0: {self}")
        if min(self.components, self.width) < 1 or self.batch_size < 2:
            raise ValueError(f"components and width must be at least 1 and batch_size 2: {self}")
        if self.margin <= 0 or self.learning_rate <= 0:
            raise ValueError(f"margin and learning_rate must be positive: {self}")

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1]; 0.5 throughout below 16 groups.

        Raises:
            DataError: A vector is not finite.
        """
        require_finite(pairs)
        if not can_tell(pairs):
            return np.full(len(pairs), 0.5, dtype=np.float32)
        seen = for_heads(pairs, self.components, seed=self.seed)
        return self._co_taught(seen).astype(np.float32)

    def _co_taught(self, pairs: PairBatch) -> NDArray[np.float64]:
        from tasks.heads.linear import Linear
        from tasks.losses.triplet import Triplet
        from tasks.training.co_teaching import fit_two
        from tasks.training.fit import Schedule, Targets
        from tasks.training.per_row import row_losses

        loss = Triplet(margin=self.margin)
        schedule = Schedule(
            epochs=self.warmup + self.rounds, batch_size=self.batch_size, learning_rate=self.learning_rate
        )

        def clean(towers: "Towers") -> NDArray[np.float64]:
            losses = row_losses(towers, pairs, loss, seed=self.seed, batch_size=_JUDGED)
            return low_posterior(losses, seed=self.seed)

        def exchanged(
            epoch: int, first: "Towers", second: "Towers"
        ) -> "tuple[Targets | None, Targets | None]":
            if epoch < self.warmup - 1 or epoch == schedule.epochs - 1:
                return None, None
            return Targets(weight=clean(second)), Targets(weight=clean(first))

        twins = fit_two(
            pairs,
            head=Linear(width=self.width),
            loss=loss,
            schedule=schedule,
            seeds=(2 * self.seed, 2 * self.seed + 1),
            on_epoch=exchanged,
        )
        return (clean(twins.first) + clean(twins.second)) / 2
