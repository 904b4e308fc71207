"""Which similarity, if any, is worth using: settings compete on queries with known answers, and must beat the cosine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from schemas.errors import DataError
from tasks.metrics.contract import Metric
from tasks.metrics.ranking import ranking
from tasks.metrics.recall import Recall
from tasks.metrics.significance import widening
from tasks.similarities._bank import ENTRIES, require_vectors
from tasks.similarities.contract import Fitted, Similarity
from tasks.similarities.raw import Raw

RESAMPLES = 2_000
_BLOCK = 512  # queries whose scores exist at once, at most


@dataclass(frozen=True)
class Validation:
    """Queries whose answers are known, and what they are asked of. None of them is in a bank.

    Args:
        gallery: (G, D) unit vectors.
        bank_queries: (B, D) unit vectors of other queries.
        asked: (Q, D) unit vectors of the queries, two at least.
        relevant: (Q, G) sparse; what is not zero answers the query.
        bank: (B2, D) unit vectors of other items; None: the gallery itself.
    """

    gallery: NDArray[np.float32]
    bank_queries: NDArray[np.float32]
    asked: NDArray[np.float32]
    relevant: csr_array
    bank: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Tried:
    """One setting beside the cosine.

    Args:
        method: With its parameters.
        mean: Of the metric over the queries.
        gain: Over the cosine; negative: worse.
        low: Lower bound of the gain that holds for all settings tried at once.
    """

    method: Similarity
    mean: float
    gain: float
    low: float


@dataclass(frozen=True)
class Choice:
    """What to use, and why.

    Args:
        method: The best setting, or `Raw`.
        why: For a person.
        raw: Mean of the metric with the cosine.
        tried: Every setting, in the order given.
    """

    method: Similarity
    why: str
    raw: float
    tried: tuple[Tried, ...]


def tune(
    methods: Sequence[Similarity],
    validation: Validation,
    *,
    metric: Metric | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Choice:
    """Return the setting with the highest mean, if its gain over the cosine is larger than chance makes it, else `Raw`.

    The lower bound is a bootstrap over queries of the largest deviation among all settings: of many settings the best
    looks better than it is, and a bound for each alone would believe it. Settings that move together, as those of one
    grid do, cost less than so many independent ones would. Of equal means the earlier setting is taken. Give hundreds of
    queries: gains in R@10 of less than about 1 / sqrt(queries), 0.05 of 400, were not told from chance.

    Args:
        methods: Settings; of one method or of several.
        validation: What they compete on.
        metric: Higher must be better; R@10 by default, which picks steadier settings than R@1 from as many queries.
        alpha: How often a setting may be chosen although none is better than the cosine.
        seed: Of the bootstrap.

    Raises:
        DataError: There are under two queries, or a query has no answer.
        ValueError: There are no methods, alpha is not between 0 and 1/2, or lower values of the metric are better.
    """
    metric = Recall(10) if metric is None else metric
    if not methods or not 0 < alpha < 0.5 or not metric.higher_is_better:
        raise ValueError(
            f"tuning needs a method or more, alpha between 0 and 1/2 and a metric to raise; found {len(methods)}, "
            f"{alpha} and {metric.name}"
        )
    if len(validation.asked) < 2:
        raise DataError(f"{len(validation.asked)} queries tell nothing of chance; give two at least")
    raw = measured(Raw(), validation, metric)
    gains = np.stack([measured(method, validation, metric) - raw for method in methods])  # (M, Q)
    mean = gains.mean(axis=1)
    bound = mean - largest_deviation(gains, alpha, seed)
    tried = tuple(
        Tried(method, float(raw.mean() + gain), float(gain), float(low))
        for method, gain, low in zip(methods, mean, bound, strict=True)
    )
    best = tried[int(np.argmax(mean))]
    found = (
        f"{_named(best.method)} gains {best.gain:+.4f} in {_named(metric)} over the cosine's {raw.mean():.4f} on "
        f"{len(raw)} queries, at least {best.low:+.4f} with {1 - alpha:.0%} confidence given {len(methods)} tried"
    )
    if best.low > 0:
        return Choice(best.method, found, float(raw.mean()), tried)
    why = "no setting is better" if best.gain <= 0 else "that may be chance"
    return Choice(Raw(), f"{found}: {why}, the cosine stays", float(raw.mean()), tried)


def measured(method: Similarity, validation: Validation, metric: Metric) -> NDArray[np.float64]:
    """Return the metric of each query when the whole gallery is ordered by a similarity. Shape (Q,)."""
    fitted = method.fit(validation.gallery, validation.bank_queries, validation.bank)
    asked = require_vectors("asked", validation.asked, width=validation.gallery.shape[1])
    relevant = csr_array(validation.relevant)
    values = [
        metric(ranking(scores, csr_array(relevant[start : start + len(scores)])))
        for start, scores in all_scores(fitted, validation.gallery, asked)
    ]
    return np.concatenate(values)


def all_scores(
    fitted: Fitted, gallery: NDArray[np.float32], asked: NDArray[np.float32]
) -> Iterable[tuple[int, NDArray[np.float32]]]:
    """Yield the adjusted scores of some queries, in order, with the whole gallery: (first query, (<=Q, G))."""
    moved = fitted.gallery(gallery)
    everyone: NDArray[Any] = np.arange(len(moved), dtype=np.int64)
    count = max(1, min(_BLOCK, ENTRIES // len(moved)))
    for start in range(0, len(asked), count):
        similarity = asked[start : start + count] @ moved.T
        yield start, fitted(similarity, np.broadcast_to(everyone, similarity.shape))


def largest_deviation(gains: NDArray[np.float64], alpha: float, seed: int) -> float:
    """Return what the largest error of M means stays below in 1 - alpha of cases, by drawing queries again.

    Args:
        gains: (M, Q).
        alpha: Below 1/2; one-sided.
        seed: Of the draws.
    """
    methods, queries = gains.shape
    centred = gains - gains.mean(axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    largest = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, 100):
        counts = rng.multinomial(queries, np.full(queries, 1 / queries), size=min(100, RESAMPLES - start))
        largest[start : start + len(counts)] = (counts @ centred.T / queries).max(axis=1)
    return float(np.quantile(largest, 1 - alpha)) * widening(queries, 2 * alpha)


def _named(method: Similarity | Metric) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in vars(method).items())
    return f"{method.name}({settings})"
