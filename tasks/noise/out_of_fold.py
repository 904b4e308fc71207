"""Scores of pairs by heads that never saw them: a head trained on a wrong pair learns to like it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.batch import PairBatch, chunks, row_numbers
from schemas.source import Source
from tasks.noise._canonical import CanonicalHead, fit_canonical
from tasks.noise._groups import Standing, counted, folds_of, group_of
from tasks.noise._threads import plain_products, side_by_side
from tasks.noise._vectors import require_finite

_CHUNK = 512  # rows whose similarities exist at once
_PROJECTED = 16 * _CHUNK  # rows that are under a head at once

Sides = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]  # media, texts and groups


@dataclass(frozen=True)
class OutOfFold:
    """Margin of a pair over its competitors, under a head trained on the other folds.

    Pairs are cut into folds by group, a linear head is fitted on all folds but one and scores that one. The
    margin is S_ii - (mean of the highest similarities in row i + the same in column i) / 2, among pairs of
    the same fold and of another group. Margins are standardised within the fold and mapped by the logistic
    function.

    Pairs that come with a weight count by it. In each further round a pair counts by its score of the round
    before, and those scores come from heads fitted inside the training folds: the held-out fold never has a
    say in its own head, through weights either. That costs about folds ** rounds heads.

    The score orders pairs of one corpus. It is no calibrated probability: 0.5 is the average pair, whatever
    the share of noise. Under two groups a fold, every pair scores 0.5 ("cannot tell").

    Args:
        folds: Number of folds.
        rounds: 1 weighs all pairs alike; 2 lets doubtful ones count less, which pays where half or more are
            wrong.
        width: Directions a head keeps.
        ridge: Regularisation of the head, in units of the mean variance.
        competitors: Highest similarities the margin is taken over.
        candidates: Pairs of the fold that compete, drawn at random where it has more.
        seed: Seed of folds and candidates.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "out-of-fold"
    source: ClassVar[Source] = Source(
        title="Confident Learning: Estimating Uncertainty in Dataset Labels",
        authors="Northcutt et al.",
        year=2021,
        url="https://arxiv.org/abs/1911.00068",
        departs="for pairs in place of classes: margins of canonical-correlation heads, nested rounds",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    folds: int = 5
    rounds: int = 1
    width: int = 128
    ridge: float = 3.0
    competitors: int = 5
    candidates: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2 or not 1 <= self.rounds <= 3:
            raise ValueError(
                f"folds must be at least 2 and rounds 1 to 3, found {self.folds} and {self.rounds}"
            )
        if min(self.width, self.competitors, self.candidates) < 1 or self.ridge <= 0:
            raise ValueError(
                f"width, competitors and candidates must be at least 1 and ridge positive: {self}"
            )

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1]; 0.5 throughout below 2 * folds groups.

        Raises:
            DataError: A vector is not finite.
        """
        require_finite(pairs)
        rows = row_numbers(len(pairs))
        with plain_products():
            return self._scores(pairs, group_of(pairs), rows, self.rounds)

    def _scores(
        self, pairs: PairBatch, group: NDArray[np.int64], rows: NDArray[np.integer], rounds: int
    ) -> NDArray[np.float32]:
        """Return the scores of some rows, ascending, reading no others. Shape (M,)."""
        scores = np.full(len(rows), 0.5, dtype=np.float32)
        if rounds == 0 and pairs.weight is not None:
            return pairs.weight[rows]
        theirs = group if len(rows) == len(group) else group[rows]
        if rounds == 0 or len(counted(theirs)[1]) < 2 * self.folds:
            return scores
        rng = np.random.default_rng((self.seed, rounds))
        fold = folds_of(theirs, self.folds, rng)
        del theirs
        for held_out in range(self.folds):
            training, judged = rows[fold != held_out], rows[fold == held_out]
            weight = self._scores(pairs, group, training, rounds - 1)
            head = fit_canonical(
                pairs.media_vec, pairs.text_vec, training, weight, width=self.width, ridge=self.ridge
            )
            rivals = rng.choice(len(judged), min(self.candidates, len(judged)), replace=False)
            margin = self._margins(pairs, head, group, judged, judged[np.sort(rivals)])
            spread = max(float(margin.std(dtype=np.float64)), 1e-6)  # equal margins differ by rounding only
            scores[fold == held_out] = scipy.special.expit((margin - margin.mean(dtype=np.float64)) / spread)
        return scores

    def _margins(
        self,
        pairs: PairBatch,
        head: CanonicalHead,
        group: NDArray[np.int64],
        rows: NDArray[np.integer],
        rivals: NDArray[np.integer],
    ) -> NDArray[np.float32]:
        """Return the margins of some rows over others, under a head. Shape (M,)."""
        media, text = head.media(pairs.media_vec[rivals]), head.text(pairs.text_vec[rivals])
        their_group, found = group[rivals], np.empty(len(rows), dtype=np.float32)

        def judge(span: slice) -> None:
            some = rows[span]
            found[span] = margins(
                (head.media(pairs.media_vec[some]), head.text(pairs.text_vec[some]), group[some]),
                (media, text, their_group),
                self.competitors,
            )

        side_by_side(judge, len(rows), _PROJECTED)
        return found


def margins(pairs: Sides, rivals: Sides, competitors: int) -> NDArray[np.float32]:
    """Return S_ii less the mean of the highest competing similarities, both directions averaged. Shape (N,).

    Args:
        pairs: (N, K) media and (N, K) texts, unit vectors, and (N,) groups; a pair's own group does not compete.
        rivals: The same of the pairs that compete.
        competitors: How many of the highest count; all there are, if fewer.
    """
    (media, text, group), (rival_media, rival_text, rival_group) = pairs, rivals
    own = np.einsum("nk,nk->n", media, text)
    against_texts = _highest(media, rival_text, group, rival_group, competitors)
    against_media = _highest(text, rival_media, group, rival_group, competitors)
    return np.asarray(own - (against_texts + against_media) / 2, dtype=np.float32)


def _highest(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    query_group: NDArray[np.int64],
    gallery_group: NDArray[np.int64],
    competitors: int,
) -> NDArray[np.float32]:
    """Return the mean of the highest similarities to other groups. Shape (N,); 0 where there are none."""
    means = np.zeros(len(queries), dtype=np.float32)
    top, own = min(competitors, len(gallery)), Standing(gallery_group)
    # Written to again and again: megabytes that are allocated for each block cost a fifth of the time.
    block = np.empty((min(_CHUNK, len(queries)), len(gallery)), dtype=np.float32)
    for at in chunks(len(queries), _CHUNK):
        similarity = np.matmul(queries[at], gallery.T, out=block[: at.stop - at.start])
        own.fill(similarity, query_group[at], -np.inf)
        similarity.partition(len(gallery) - top, axis=1)
        best = similarity[:, -top:]
        there = np.isfinite(best)
        means[at] = np.where(there, best, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return means
