"""Whether a medium and its text, each judged alone, are of one class; classes are made where none are given."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source
from tasks.noise._classes import entropy, frequent_classes, held_out_probabilities
from tasks.noise._groups import folds_of, group_of
from tasks.noise._vectors import require_finite

_CHUNK = 8192  # rows assigned to clusters at once
_SAMPLE = 20_000  # rows that clusters are made from


@dataclass(frozen=True)
class Agreement:
    """Agreement of two classifiers, one of media and one of texts, each of which never saw the pair.

    Both are linear and taught on all folds but one; p1 and p2 are what they give the pairs of that one. Rules:

    * `filter`: the cosine between p1 and p2, which is high where both are sure of one class.
    * `weigh`: the views are fused, p = (w1 p1 + w2 p2) / (w1 + w2) with w = exp(-entropy), and the score is
      the lower of p1 and p2 at the class p is highest at: the surer view names the class, the other may object.
    * `auto`: `weigh` if the views predict the same class hardly oftener than by chance: Cohen's kappa of their
      predictions is below `least_agreement`. Else `filter`.

    Either s becomes (1 + s) / 2 if the certainty filter keeps the pair, else s / 2. It keeps a pair under
    `filter` if both views predict one class and each is certain, under `weigh` if p is: certain is a highest
    probability not below the median, at most 0.9, of those predicted the same class.

    Without labels, classes are k-means clusters of the texts, then of the media, and the two scores are
    averaged. Pairs without a label are judged like the others. Below two classes, or two groups a fold,
    every pair scores 0.5 ("cannot tell").

    Args:
        rule: See above. `weigh` names a class better where one view is weak; it was worse at telling pairs
            apart wherever it was measured, so `filter` is the default.
        least_agreement: See `auto`.
        clusters: Clusters made where there are no labels, at most one for every `min_count` pairs.
        min_count: Pairs a class needs.
        folds: Number of folds.
        ridge: Regularisation of the classifiers, in units of the variance.
        seed: Seed of folds and clusters.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "agreement"
    source: ClassVar[Source] = Source(
        title="SUMMIT: Source-Free Adaptation of Uni-Modal Models to Multi-Modal Targets",
        authors="Simons et al.",
        year=2023,
        url="https://arxiv.org/abs/2308.11880",
        departs="judges pairs in place of labelling points; held-out linear classifiers; a soft score beside the "
        "filters; the choice between them by agreement beyond chance, as a scorer has no source domain to measure a gap from",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    rule: Literal["auto", "filter", "weigh"] = "filter"
    least_agreement: float = 0.1
    clusters: int = 64
    min_count: int = 10
    folds: int = 5
    ridge: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in ("auto", "filter", "weigh"):
            raise ValueError(f"rule must be 'auto', 'filter' or 'weigh', found {self.rule!r}")
        if not -1 <= self.least_agreement <= 1:
            raise ValueError(f"least_agreement must be in [-1, 1], found {self.least_agreement}")
        if self.clusters < 2 or self.min_count < 1 or self.folds < 2 or self.ridge <= 0:
            raise ValueError(
                f"clusters and folds must be at least 2, min_count at least 1 and ridge positive: {self}"
            )

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1]; 0.5 throughout where nothing can be told.

        Raises:
            DataError: A vector is not finite.
        """
        require_finite(pairs)
        group = group_of(pairs)
        if len(np.unique(group)) < 2 * self.folds:
            return np.full(len(pairs), 0.5, dtype=np.float32)
        fold = folds_of(group, self.folds, np.random.default_rng(self.seed))
        if pairs.label is not None and (pairs.label >= 0).any():
            return self._scores(pairs, pairs.label, fold)
        by_text, by_media = (
            self._scores(pairs, self._clusters(vectors), fold)
            for vectors in (pairs.text_vec, pairs.media_vec)
        )
        return (by_text + by_media) / 2

    def _scores(
        self, pairs: PairBatch, label: NDArray[np.int64], fold: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Return the scores under some classes. Shape (N,)."""
        classes, count = frequent_classes(label, self.min_count)
        if count < 2:
            return np.full(len(pairs), 0.5, dtype=np.float32)
        judged = _Judged(len(pairs))
        for rows, by_media, by_text in held_out_probabilities(
            pairs, classes, fold, count=count, ridge=self.ridge
        ):
            judged.add(rows, by_media, by_text)
        rule = self.rule
        if rule == "auto":
            rule = "weigh" if judged.kappa(count) < self.least_agreement else "filter"
        if rule == "filter":
            kept = (judged.predicted[0] == judged.predicted[1]) & judged.certain(0) & judged.certain(1)
            score = judged.cosine
        else:
            kept, score = judged.certain(2), judged.lower
        return np.asarray(np.clip((kept + score) / 2, 0, 1), dtype=np.float32)

    def _clusters(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return a seeded k-means cluster per row. Shape (N,)."""
        from sklearn.cluster import KMeans

        rng = np.random.default_rng(self.seed)
        chosen = np.sort(rng.choice(len(vectors), min(len(vectors), _SAMPLE), replace=False))
        count = max(2, min(self.clusters, len(chosen) // self.min_count))
        means = KMeans(min(count, len(chosen)), n_init=1, random_state=self.seed).fit(vectors[chosen])
        return np.concatenate(
            [means.predict(vectors[start : start + _CHUNK]) for start in range(0, len(vectors), _CHUNK)]
        ).astype(np.int64)


class _Judged:
    """What is kept of both views' probabilities of all pairs: a few numbers a pair, not C."""

    def __init__(self, n: int) -> None:
        self.cosine = np.zeros(n, dtype=np.float32)  # between the views
        self.lower = np.zeros(
            n, dtype=np.float32
        )  # probability of the fused class in the less convinced view
        self.predicted = np.zeros((3, n), dtype=np.int64)  # by media, by texts, by both fused
        self._highest = np.zeros((3, n), dtype=np.float32)

    def add(
        self, rows: NDArray[np.int64], by_media: NDArray[np.float32], by_text: NDArray[np.float32]
    ) -> None:
        """Take in the (B, C) probabilities of some rows."""
        first, second = (np.exp(-entropy(view))[:, None] for view in (by_media, by_text))
        fused = (first * by_media + second * by_text) / (first + second)
        for view, probabilities in enumerate((by_media, by_text, fused)):
            self.predicted[view, rows] = probabilities.argmax(axis=1)
            self._highest[view, rows] = probabilities.max(axis=1)
        length = np.linalg.norm(by_media, axis=1) * np.linalg.norm(by_text, axis=1)
        self.cosine[rows] = (by_media * by_text).sum(axis=1) / length
        named = np.arange(len(rows)), self.predicted[2, rows]
        self.lower[rows] = np.minimum(by_media[named], by_text[named])

    def kappa(self, count: int) -> float:
        """Return the agreement of media and texts on the class beyond chance: 0 is chance, 1 complete."""
        same = float((self.predicted[0] == self.predicted[1]).mean())
        shares = [np.bincount(view, minlength=count) / len(view) for view in self.predicted[:2]]
        chance = float(shares[0] @ shares[1])
        return (same - chance) / max(1 - chance, 1e-12)

    def certain(self, view: int) -> NDArray[np.bool_]:
        """Return which pairs pass the certainty filter of a view. Shape (N,)."""
        passes = np.zeros(len(self.cosine), dtype=bool)
        for predicted in np.unique(self.predicted[view]):
            members = self.predicted[view] == predicted
            highest = self._highest[view, members]
            passes[members] = highest >= min(float(np.median(highest)), 0.9)
        return passes
