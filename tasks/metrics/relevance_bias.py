"""Does retrieval favour generated texts over human ones of the same media? Measured, controlled and mended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source

SOURCE = Source(
    title="Invisible Relevance Bias: Text-Image Retrieval Models Prefer AI-Generated Images",
    authors="Xu et al.",
    year=2024,
    url="https://arxiv.org/abs/2311.14084",
    departs="sources are texts of a medium instead of pictures of a text; each source's discounted gain is divided by its "
    "own ideal; the remedy projects the mean difference of sources out of the texts instead of training against it",
)
KS = (1, 3, 5)
_CHUNK = 1024
_EQUAL = 1e-6  # cosines closer than that are a tie: a matrix product rounds equal columns differently


@dataclass(frozen=True)
class Bias:
    """How far a pool of two sources favours one of them.

    Args:
        delta: {"R@1" ...: relative difference in per cent, in [-200, 200]}; negative: generated texts are favoured.
        interval: {metric: (low, high)}, 95 % by bootstrap over media.
        control: {metric: (low, high)}, where 95 % of the differences lie when sources are named at random.
        found: {"R@1" ...: per cent of media for which either text is among the first k}.
    """

    delta: dict[str, float]
    interval: dict[str, tuple[float, float]]
    control: dict[str, tuple[float, float]]
    found: dict[str, float]


def relative_delta(human: float, generated: float) -> float:
    """Return 2 (M_human - M_generated) / (M_human + M_generated), in per cent; 0 where both are 0."""
    total = human + generated
    return 0.0 if total == 0 else 200.0 * (human - generated) / total


def pool_ranks(
    media: NDArray[np.float32], human: NDArray[np.float32], generated: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the ranks of each medium's own two texts in the pool of all texts of both sources, 1 the first.

    Ties count against the text: a tie with k others puts it behind them, its twin apart, so that equal vectors of
    both sources share a rank.

    Args:
        media: (N, D) unit vectors.
        human: (N, D) unit vectors of the human texts, row i of medium i.
        generated: (N, D) the same of generated texts.

    Returns:
        (N, 2): human, generated.

    Raises:
        DataError: There are fewer than 2 media, or a vector is not finite.
        ValueError: Shapes differ.
    """
    if not media.shape == human.shape == generated.shape:
        raise ValueError(
            f"media {media.shape}, human {human.shape} and generated {generated.shape} must be alike"
        )
    if len(media) < 2:
        raise DataError(f"{len(media)} media have texts of both sources; bias needs at least 2")
    for name, vectors in (("media", media), ("human", human), ("generated", generated)):
        if len(wrong := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
            raise DataError(f"{name} vector {wrong[0]} is not finite; embed it again")
    pool = np.concatenate([human, generated])
    n = len(media)
    ranks = np.empty((n, 2), np.int64)
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, n))
        similarity = media[rows] @ pool.T
        for source in (0, 1):
            own = similarity[np.arange(len(rows)), rows + source * n]
            at_least = (similarity >= own[:, None] - _EQUAL).sum(axis=1)
            twin = similarity[np.arange(len(rows)), rows + (1 - source) * n]
            ranks[rows, source] = at_least - (np.abs(twin - own) <= _EQUAL)
    return ranks


def bias(ranks: NDArray[np.int64], *, draws: int = 1000, seed: int = 0) -> Bias:
    """Return the relative difference between sources, its interval, and that of the A/A control.

    Args:
        ranks: (N, 2) of `pool_ranks`.
        draws: Of the bootstrap and of the control.
        seed: Of both.
    """
    gains = {name: _gain(ranks, name) for name in _names()}  # (N, 2) each
    rng = np.random.default_rng(seed)
    n = len(ranks)
    picked = rng.integers(0, n, (draws, n))
    swapped = rng.random((draws, n)) < 0.5
    delta, interval, control = {}, {}, {}
    for name, gain in gains.items():
        delta[name] = relative_delta(*gain.mean(axis=0).tolist())
        again = [relative_delta(*gain[rows].mean(axis=0).tolist()) for rows in picked]
        chance = [
            relative_delta(
                float(np.where(flip, gain[:, 1], gain[:, 0]).mean()),
                float(np.where(flip, gain[:, 0], gain[:, 1]).mean()),
            )
            for flip in swapped
        ]
        interval[name], control[name] = _middle(again), _middle(chance)
    found = {f"R@{k}": 100 * float((ranks.min(axis=1) <= k).mean()) for k in KS}
    return Bias(delta, interval, control, found)


@dataclass(frozen=True)
class Consistency:
    """Whether the difference between sources points one way.

    Args:
        cosine: Mean cosine between the differences of different media.
        null: (low, high) of the same with signs drawn at random, 95 %.
    """

    cosine: float
    null: tuple[float, float]


def consistency(
    human: NDArray[np.float32], generated: NDArray[np.float32], *, draws: int = 200, seed: int = 0
) -> Consistency:
    """Return how alike the differences generated - human are over media. (N, D) unit vectors each."""
    difference = generated.astype(np.float64) - human
    length = np.linalg.norm(difference, axis=1, keepdims=True)
    unit = np.divide(difference, length, out=np.zeros_like(difference), where=length > 0)
    n = len(unit)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (draws, n))

    def mean_cosine(rows: NDArray[np.float64]) -> float:  # over all ordered pairs of different rows
        return float((np.square(rows.sum(axis=0)).sum() - np.square(rows).sum()) / (n * (n - 1)))

    return Consistency(mean_cosine(unit), _middle([mean_cosine(unit * flip[:, None]) for flip in signs]))


def direction(human: NDArray[np.float32], generated: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the unit mean difference generated - human. (D,); zeros where there is none."""
    mean = (generated.astype(np.float64) - human).mean(axis=0)
    length = np.linalg.norm(mean)
    return (mean / length if length > 0 else np.zeros_like(mean)).astype(np.float32)


def project_out(
    vectors: NDArray[np.float32], directions: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return unit vectors without their parts along some unit directions. (N, D), float32."""
    left = vectors.astype(np.float64)
    for one in directions:
        left = left - np.outer(left @ one, one)
    length = np.linalg.norm(left, axis=1, keepdims=True)
    return np.divide(left, length, out=np.zeros_like(left), where=length > 0).astype(np.float32)


def _names() -> list[str]:
    return [f"{metric}@{k}" for metric in ("R", "NDCG") for k in KS]


def _gain(ranks: NDArray[np.int64], name: str) -> NDArray[np.float64]:
    metric, k = name.split("@")
    hit = ranks <= int(k)
    # one relevant text a source: its ideal gain is that of the first place, 1
    return hit.astype(np.float64) if metric == "R" else np.where(hit, 1 / np.log2(1 + ranks), 0.0)


def _middle(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(np.array(values), [0.025, 0.975])
    return float(low), float(high)
