"""How surely the halves of a pair find each other, by heads that were only told what does not belong together."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source
from tasks.noise._groups import group_of
from tasks.noise._trained import FEWEST_GROUPS, both_ways, can_tell, for_heads, learned_and_judged, passes
from tasks.noise._vectors import require_finite


@dataclass(frozen=True)
class ComplementaryScore:
    """P of the pair among competitors, under heads trained with the complementary loss.

    That loss pushes what is unpaired apart and pulls nothing together: "this is not its text" holds for
    nearly all combinations, even where most pairs are wrong. The probability is that of an average batch:

        P = exp(S_ii / t) / (exp(S_ii / t) + (B - 1) * mean_j exp(S_ij / t)),

    the mean over competitors of other groups, both directions averaged.

    The score orders the pairs of one corpus; it is no calibrated probability of being right, as it depends
    on B and on how alike the competitors are. Under 16 groups every pair scores 0.5 ("cannot tell").

    Args:
        folds: Pairs are scored by heads trained on the other folds; 1: by a head that saw them.
        steps: Training steps of a head, at least; passes are rounded up.
        components: Principal components of a side that heads see.
        width: Width of the heads' space.
        temperature: t.
        penalty: Of the loss, see `tasks.losses.Complementary`.
        learning_rate: Of AdamW.
        batch_size: B, pairs per step.
        candidates: Pairs that compete, drawn at random where there are more.
        seed: Seed of heads, folds and candidates.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "complementary"
    source: ClassVar[Source] = Source(
        title="Cross-Modal Retrieval with Partially Mismatched Pairs",
        authors="Hu et al.",
        year=2023,
        url="https://doi.org/10.1109/TPAMI.2023.3247939",
        departs="a score per pair, where the paper trains a matcher; linear heads on principal components of "
        "frozen vectors, out of fold",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    folds: int = 5
    steps: int = 100
    components: int = 64
    width: int = 128
    temperature: float = 0.3
    penalty: Literal["log", "tan", "mae", "exp", "gce"] = "log"
    learning_rate: float = 3e-3
    batch_size: int = 32
    candidates: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.folds, self.steps, self.components, self.width, self.candidates) < 1 or self.seed < 0:
            raise ValueError(
                "folds, steps, components, width and candidates must be at least 1 and seed at least 0: "
                f"{self}"
            )
        if self.batch_size < 2 or self.learning_rate <= 0:
            raise ValueError(f"batch_size must be at least 2 and learning_rate positive: {self}")
        if self.folds > FEWEST_GROUPS // 2:
            raise ValueError(f"folds must be at most {FEWEST_GROUPS // 2}, found {self.folds}")
        if self.temperature < 0.02:  # exp(1 / t) must fit float32
            raise ValueError(f"temperature must be at least 0.02, found {self.temperature}")
        if self.penalty not in ("log", "tan", "mae", "exp", "gce"):
            raise ValueError(f"penalty must be log, tan, mae, exp or gce: {self}")

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1]; 0.5 throughout below 16 groups.

        Raises:
            DataError: A vector is not finite.
        """
        require_finite(pairs)
        scores = np.full(len(pairs), 0.5, dtype=np.float32)
        if not can_tell(pairs):
            return scores
        seen = for_heads(pairs, self.components, seed=self.seed)
        from tasks.heads.linear import Linear
        from tasks.losses.complementary import Complementary
        from tasks.training.fit import Schedule, fit

        rng = np.random.default_rng(self.seed)
        for learned, judged in learned_and_judged(group_of(seen), self.folds, rng):
            towers = fit(
                seen,
                head=Linear(width=self.width),
                loss=Complementary(temperature=self.temperature, penalty=self.penalty),
                schedule=Schedule(
                    epochs=passes(len(learned), self.batch_size, self.steps),
                    batch_size=self.batch_size,
                    learning_rate=self.learning_rate,
                ),
                seed=self.seed,
                rows=learned,
            )
            rivals = np.sort(rng.choice(judged, min(self.candidates, len(judged)), replace=False))
            own, texts, media = both_ways(
                towers, seen, judged, rivals=rivals, of=lambda cosine: np.exp(cosine / self.temperature)
            )
            scores[judged] = (
                pair_probability(own, texts, self.batch_size) + pair_probability(own, media, self.batch_size)
            ) / 2
        return scores


def pair_probability(
    own: NDArray[np.float64], rivals: NDArray[np.float64], batch_size: int
) -> NDArray[np.float64]:
    """Return own / (own + (B - 1) * rivals). Shape (N,); 0.5 where rivals is NaN, as nothing competes.

    Args:
        own: (N,) exp(S_ii / t).
        rivals: (N,) mean of exp(S_ij / t) over competitors.
        batch_size: B.
    """
    return np.where(np.isnan(rivals), 0.5, own / (own + (batch_size - 1) * np.nan_to_num(rivals)))
