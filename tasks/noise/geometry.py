"""Whether a pair has the same neighbours on both sides: training-free, and needs no common space."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.batch import PairBatch, chunks, row_numbers
from schemas.source import Source
from tasks.noise._groups import Standing
from tasks.noise._threads import side_by_side
from tasks.noise._vectors import require_finite

_Cells = tuple[NDArray[np.int64], NDArray[np.int64]]  # row and column indices

_CHUNK = 256  # rows whose similarities exist at once
_SPAN = 32 * _CHUNK  # rows of one thread
_STANDARDISED = 65_536  # values mapped at once


@dataclass(frozen=True)
class Geometry:
    """Agreement of a medium's similarities to other media with its text's similarities to their texts.

    Where a caption is true, media that look like this one have captions that read like it. Vectors are first
    standardised per side, without which the directions all vectors share drown the others, then:

    * `rows`: the cosine between the row of media similarities and the row of text similarities, each
      squared, and 0 where negative, so that near pairs decide.
    * `nearest`: mean text similarity to the pairs of the k nearest media, plus mean media similarity to the
      pairs of the k nearest texts.

    In each further round a neighbour counts by the rank of its own score of the round before, as the
    neighbours of a true pair may be wrong pairs. Where pairs come with a weight, neighbours count by that and there is one
    round. Pairs of one group, and pairs with the same medium or text,
    are never neighbours.

    Neighbours are sought among all pairs, or among a seeded sample of `candidates` where there are more, so
    the time of a pair does not grow with their number and memory holds a few hundred rows of similarities.

    Scores are standardised and mapped by the logistic function: they order the pairs of one corpus, and 0.5
    is the average pair, whatever the share of noise. A pair without neighbours scores 0.5 ("cannot tell").

    Args:
        relation: What is compared, see above.
        rounds: 1 weighs neighbours alike.
        k: Neighbours of `nearest`; all there are, if fewer. `rows` has no such number.
        candidates: Pairs that may be neighbours.
        seed: Seed of the sample.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "geometry"
    source: ClassVar[Source] = Source(
        title="Mitigating Noisy Correspondence by Geometrical Structure Consistency Learning",
        authors="Zhao et al.",
        year=2024,
        url="https://arxiv.org/abs/2405.16996",
        departs="frozen vectors in place of a network in training, squared similarities in place of sigmoids, "
        "over the corpus in place of a batch; `nearest` is after the anchors of BiCro (Yang et al. 2023)",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    relation: Literal["rows", "nearest"] = "rows"
    rounds: int = 2
    k: int = 20
    candidates: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        if self.relation not in ("rows", "nearest"):
            raise ValueError(f"relation must be 'rows' or 'nearest', found {self.relation!r}")
        if not 1 <= self.rounds <= 5:
            raise ValueError(f"rounds must be 1 to 5, found {self.rounds}")
        if self.k < 1 or self.candidates < 2:
            raise ValueError(
                f"k must be at least 1 and candidates at least 2, found {self.k} and {self.candidates}"
            )

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1]; 0.5 where no pair can be a neighbour.

        Raises:
            DataError: A vector is not finite.
        """
        require_finite(pairs)
        rows = row_numbers(len(pairs))
        if len(pairs) < 2:
            return np.full(len(pairs), 0.5, dtype=np.float32)
        chosen = rows
        if len(pairs) > self.candidates:
            rng = np.random.default_rng(self.seed)
            chosen = np.sort(rng.choice(len(pairs), self.candidates, replace=False)).astype(rows.dtype)
        neighbours = _Neighbours(pairs, chosen)
        if pairs.weight is not None:
            return _standardised(self._agreement(neighbours, rows, pairs.weight[chosen]))
        weight = np.ones(len(chosen), dtype=np.float32)
        for _ in range(1, self.rounds):
            weight = _ranks(self._agreement(neighbours, chosen, weight))
        return _standardised(self._agreement(neighbours, rows, weight))

    def _agreement(
        self, neighbours: "_Neighbours", rows: NDArray[np.integer], weight: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return how well both sides agree on the neighbours of some rows. Shape (M,); NaN without any."""
        found = np.empty(len(rows), dtype=np.float32)
        # Similarities are squared and multiplied with one another: their weight is a fourth root.
        factor = weight ** np.float32(0.25) if self.relation == "rows" else np.ones_like(weight)

        def agree(span: slice) -> None:
            here = found[span]
            for at, media, text, same in neighbours.similarities(rows[span], factor):
                if self.relation == "rows":
                    here[at] = _row_cosine(media, text)
                else:
                    here[at] = _mean_at_nearest(media, text, same, weight, self.k)
                    here[at] += _mean_at_nearest(text, media, same, weight, self.k)

        side_by_side(agree, len(rows), _SPAN)
        return found


class _Neighbours:
    """Similarities of any rows to the pairs that may be neighbours, a block of rows at a time."""

    def __init__(self, pairs: PairBatch, chosen: NDArray[np.integer]) -> None:
        self._sides = []
        for vectors in (pairs.media_vec, pairs.text_vec):
            sample = np.asarray(vectors[chosen], dtype=np.float32)
            mean = sample.mean(axis=0, dtype=np.float64)
            variance = sample.var(axis=0, dtype=np.float64)
            # A direction in which nearly nothing varies is rounding; it must not be blown up to count.
            spread = np.sqrt(variance + 0.01 * variance.mean() + 1e-12)
            centre, scale = mean.astype(np.float32), (1 / spread).astype(np.float32)
            self._sides.append((vectors, centre, scale, _unit((sample - centre) * scale)))
        self._size = len(chosen)
        columns = (row_numbers(len(pairs)), pairs.group, pairs.media_key, pairs.text_key)
        self._keys = [(column, Standing(column[chosen])) for column in columns if column is not None]

    def similarities(
        self, rows: NDArray[np.integer], factor: NDArray[np.float32]
    ) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32], _Cells]]:
        """Yield similarities block by block.

        Args:
            rows: (M,) rows.
            factor: (R,) multiplies the similarities to each possible neighbour.

        Yields:
            Where the block stands in `rows`; its media and its text similarities, each (B, R), 0 to the pairs
            that may not be its neighbours; the indices of those cells.
        """
        galleries = [(gallery * factor[:, None]).T for _, _, _, gallery in self._sides]
        # Written to again and again: megabytes that are allocated for each block cost a fourth of the time.
        blocks = [np.empty((min(_CHUNK, len(rows)), self._size), dtype=np.float32) for _ in galleries]
        for start in range(0, len(rows), _CHUNK):
            at = slice(start, start + _CHUNK)
            same = self._same(rows[at])
            media, text = (
                np.matmul(_unit((vectors[rows[at]] - centre) * scale), gallery, out=block[: len(rows[at])])
                for (vectors, centre, scale, _), gallery, block in zip(
                    self._sides, galleries, blocks, strict=True
                )
            )
            media[same] = text[same] = 0
            yield at, media, text, same

    def _same(self, block: NDArray[np.integer]) -> _Cells:
        """Return the cells of pairs that are the row itself, of its group, or with its medium or text."""
        rows, neighbours = zip(
            *(standing.cells(column[block]) for column, standing in self._keys), strict=True
        )
        return np.concatenate(rows), np.concatenate(neighbours)


def _row_cosine(media: NDArray[np.float32], text: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine between rows of squared positive similarities. Shape (B,); overwrites both."""
    for side in (media, text):
        np.maximum(side, 0, out=side)
        np.multiply(side, side, out=side)
    across, within_media, within_text = (
        np.einsum("br,br->b", left, right) for left, right in ((media, text), (media, media), (text, text))
    )
    length = np.sqrt(within_media) * np.sqrt(within_text)
    cosine = np.full(len(media), np.nan, dtype=np.float32)
    np.divide(across, length, out=cosine, where=length > 0)
    return cosine


def _mean_at_nearest(
    near: NDArray[np.float32],
    judged: NDArray[np.float32],
    same: _Cells,
    weight: NDArray[np.float32],
    k: int,
) -> NDArray[np.float32]:
    """Return the weighted mean of `judged` at the k highest of `near`. Shape (B,); NaN without a neighbour."""
    near = near.copy()
    near[same] = -np.inf
    top = min(k, near.shape[1])
    nearest = np.argpartition(near, -top, axis=1)[:, -top:]
    counts = weight[nearest] * np.isfinite(np.take_along_axis(near, nearest, axis=1))
    total = counts.sum(axis=1)
    mean = np.full(len(near), np.nan, dtype=np.float32)
    np.divide(
        (counts * np.take_along_axis(judged, nearest, axis=1)).sum(axis=1), total, out=mean, where=total > 0
    )
    return mean


def _ranks(agreement: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ranks as shares, ]0, 1]; 0.5 for NaN."""
    told = np.isfinite(agreement)
    ranks = np.full(len(agreement), 0.5, dtype=np.float32)
    ranks[told] = scipy.stats.rankdata(agreement[told]) / max(np.count_nonzero(told), 1)
    return ranks


def _standardised(agreement: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map to ]0, 1[, the mean to 0.5; NaN to 0.5."""
    told = np.isfinite(agreement)
    scores = np.full(len(agreement), 0.5, dtype=np.float32)
    if told.any():
        values = agreement[told].astype(np.float64)
        middle, spread = values.mean(), max(float(values.std()), 1e-6)  # equal values differ by rounding only
        for at in chunks(len(values), _STANDARDISED):
            values[at] = scipy.special.expit((values[at] - middle) / spread)
        scores[told] = values
    return scores


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6), dtype=np.float32)
