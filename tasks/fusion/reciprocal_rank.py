"""Runs fused by the ranks of their items, whatever their scores mean."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from schemas.ranking import Run
from schemas.source import Source
from tasks.fusion._runs import Weighed, best_first, by_query, require_weights


@dataclass(frozen=True)
class ReciprocalRank:
    """Sum over runs of weight / (k + rank); a run that did not find an item adds nothing.

    Args:
        k: The larger, the less the first places count for more than the next.
        weights: One a run, in their order; None: all alike.

    Raises:
        ValueError: k is negative or not finite, or weights are not finite, negative or all 0.

    Example:
        >>> ReciprocalRank()([{"q": {"a": 9.0, "b": 5.0}}, {"q": {"b": 0.3}}])
        {'q': {'b': 0.03252247488101534, 'a': 0.01639344262295082}}
    """

    name: ClassVar[str] = "reciprocal-rank"
    source: ClassVar[Source] = Source(
        title="Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods",
        authors="Cormack et al.",
        year=2009,
        url="https://doi.org/10.1145/1571941.1572114",
        departs="runs may have weights; items of equal score in a run rank by their ids",
    )

    k: float = 60
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.k < float("inf"):
            raise ValueError(f"k must be finite and not negative, found {self.k}")
        require_weights(self.weights)

    def __call__(self, runs: Sequence[Run]) -> Run:
        """Return the fused run.

        Raises:
            DataError: A score is not finite.
            ValueError: There are not as many runs as weights.
        """
        return by_query(runs, self.weights, self._fuse)

    def _fuse(self, answers: Sequence[Weighed]) -> dict[str, float]:
        fused: dict[str, float] = defaultdict(float)
        for weight, found in answers:
            for rank, item_id in enumerate(best_first(found), 1):
                fused[item_id] += weight / (self.k + rank)
        return fused
