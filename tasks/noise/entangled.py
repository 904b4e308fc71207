"""Whether a text reads like the class its medium is filed under, as far as the medium looks like it too."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.source import Source
from tasks.noise._classes import entropy, frequent_classes, held_out_probabilities
from tasks.noise._groups import folds_of, group_of
from tasks.noise._vectors import require_finite


@dataclass(frozen=True)
class Entangled:
    """Confidence of the text in the medium's class, entangled with the confidence of the medium.

    Two linear classifiers, of media and of texts, are taught the classes, each on all folds but one, and judge
    that one. A view's label confidence is what it gives the pair's class; its prediction confidence is 1 -
    entropy / log C. A confidence c of one view, d of the other, becomes (c + c d) / 2: entangled. Within each
    class, the pairs whose entangled label confidence is among the highest `keep` weigh 1 and the others
    their share of the least of those. That weight, times 1 - caution (1 - entangled prediction confidence),
    is the score of the text view.

    Texts swapped within a class pass, and so does a text under a medium in the wrong folder fail. A score
    orders the pairs of one class. Pairs without a class, or of a class rarer than `min_count`, score 0.5
    ("cannot tell"), and so do all pairs if there is but one class, or fewer than two groups a fold.

    Args:
        keep: Share of a class that weighs 1.
        caution: How much an undecided classifier counts against a pair; 0: not.
        min_count: Pairs a class needs.
        folds: Number of folds.
        ridge: Regularisation of the classifiers, in units of the variance.
        seed: Seed of the folds.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "entangled"
    source: ClassVar[Source] = Source(
        title="CromSS: Cross-modal pre-training with noisy labels for remote sensing image segmentation",
        authors="Liu et al.",
        year=2024,
        url="https://arxiv.org/abs/2405.01217",
        departs="a row in place of a pixel, held-out linear classifiers in place of networks in training, a "
        "fixed share in place of a ramp, one score from both weights",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    keep: float = 0.3
    caution: float = 0.0
    min_count: int = 10
    folds: int = 5
    ridge: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1 or not 0 <= self.caution <= 1:
            raise ValueError(
                f"keep must be in ]0, 1] and caution in [0, 1], found {self.keep} and {self.caution}"
            )
        if self.min_count < 1 or self.folds < 2 or self.ridge <= 0:
            raise ValueError(
                f"min_count must be at least 1, folds at least 2 and ridge positive, found {self.min_count}, "
                f"{self.folds} and {self.ridge}"
            )

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1]; 0.5 where there is no class to go by.

        Raises:
            DataError: No pair has a class, or a vector is not finite.
        """
        require_finite(pairs)
        if pairs.label is None or (len(pairs) and not (pairs.label >= 0).any()):
            raise DataError(
                f"{self.name!r} needs classes of the media and no pair has one; give labels (a folder or keyword), "
                "or use 'agreement', which makes its own"
            )
        scores = np.full(len(pairs), 0.5, dtype=np.float32)
        classes, count = frequent_classes(pairs.label, self.min_count)
        rows = np.flatnonzero(classes >= 0)
        group = group_of(pairs)[rows]
        if count < 2 or len(np.unique(group)) < 2 * self.folds:
            return scores
        fold = np.full(len(pairs), -1, dtype=np.int64)
        fold[rows] = folds_of(group, self.folds, np.random.default_rng(self.seed))
        confidence, decided = np.zeros((2, len(pairs)), dtype=np.float32)
        for at, by_media, by_text in held_out_probabilities(
            pairs, classes, fold, count=count, ridge=self.ridge
        ):
            own = np.arange(len(at)), classes[at]
            confidence[at] = entangled(by_text[own], by_media[own])
            decided[at] = entangled(
                1 - entropy(by_text) / np.float32(np.log(count)),
                1 - entropy(by_media) / np.float32(np.log(count)),
            )
        for label in range(count):
            members = np.flatnonzero(classes == label)
            least = np.quantile(confidence[members], 1 - self.keep)
            scores[members] = confidence[members] / np.maximum(least, 1e-12)
        scores[rows] = np.clip(scores[rows], 0, 1) * (1 - self.caution * (1 - decided[rows]))
        return np.clip(scores, 0, 1)


def entangled(own: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the confidence of one view entangled with the other's: (c + c c') / 2, element by element."""
    return np.asarray((own + own * other) / 2, dtype=np.float32)
