"""The evidence heads find for a pair, against what they find for others and against having found nothing."""

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
class EvidentialScore:
    """Belief mass of the pair, under heads trained with the evidential loss.

    Evidence for text j as the match of medium i is e_ij = exp(tanh(S_ij) / t). In subjective logic the mass
    of B candidates and of "cannot tell" is one:

        b_ij = e_ij / A,   u = B / A,   A = sum_j (e_ij + 1),   sum_j b_ij + u = 1.

    So b_ii is low both where others match better and where nothing matches. It is that of an average batch,
    A = e_ii + 1 + (B - 1) * (mean_j e_ij + 1), the mean over competitors of other groups, and the mean of
    both directions.

    The score orders the pairs of one corpus; it is no calibrated probability of being right. Under 16 groups
    every pair scores 0.5 ("cannot tell").

    Args:
        folds: 1: pairs are scored by heads that saw them; more: by heads trained on the other folds.
        steps: Training steps of a head, at least; passes are rounded up.
        components: Principal components of a side that heads see.
        width: Width of the heads' space.
        temperature: t.
        learning_rate: Of AdamW.
        batch_size: B, pairs per step.
        candidates: Pairs that compete, drawn at random where there are more.
        seed: Seed of heads, folds and candidates.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "evidential"
    source: ClassVar[Source] = Source(
        title="Deep Evidential Learning with Noisy Correspondence for Cross-modal Retrieval",
        authors="Qin et al.",
        year=2022,
        url="https://doi.org/10.1145/3503161.3547922",
        departs="the pair's belief mass as a score, where the paper asks whether it is the highest; linear "
        "heads on principal components of frozen vectors",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    folds: int = 1
    steps: int = 150
    components: int = 32
    width: int = 128
    temperature: float = 0.1
    learning_rate: float = 1e-3
    batch_size: int = 64
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
        from tasks.losses.evidential import Evidential
        from tasks.training.fit import Schedule, fit

        rng = np.random.default_rng(self.seed)
        for learned, judged in learned_and_judged(group_of(seen), self.folds, rng):
            towers = fit(
                seen,
                head=Linear(width=self.width),
                loss=Evidential(temperature=self.temperature),
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
                towers,
                seen,
                judged,
                rivals=rivals,
                of=lambda cosine: np.exp(np.tanh(cosine) / np.float32(self.temperature)),
            )
            scores[judged] = (belief(own, texts, self.batch_size) + belief(own, media, self.batch_size)) / 2
        return scores


def belief(own: NDArray[np.float64], rivals: NDArray[np.float64], batch_size: int) -> NDArray[np.float64]:
    """Return own / (own + 1 + (B - 1) * (rivals + 1)). Shape (N,); 0.5 where rivals is NaN: nothing competes.

    Args:
        own: (N,) evidence for the pair.
        rivals: (N,) mean evidence for competitors.
        batch_size: B, candidates.
    """
    strength = own + 1 + (batch_size - 1) * (np.nan_to_num(rivals) + 1)
    return np.where(np.isnan(rivals), 0.5, own / strength)
