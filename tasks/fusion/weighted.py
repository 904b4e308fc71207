"""Runs fused by their scores, brought to one scale."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from schemas.ranking import Run
from schemas.source import Source
from tasks.fusion._runs import Weighed, by_query, require_weights
from tasks.fusion._scales import SCALES, Scale, require_scale


@dataclass(frozen=True)
class Weighted:
    """Weighted sum of the scores, scaled within a query and run (CombSUM).

    An item that a run did not find counts like the last that it did: 0 by min-max, the lowest score by z.

    Args:
        weights: One a run, in their order; None: all alike.
        scale: min-max maps a query's scores to [0, 1]; z takes off their mean and divides by their standard deviation.

    Raises:
        ValueError: The scale is unknown, or weights are not finite, negative or all 0.
    """

    name: ClassVar[str] = "weighted"
    source: ClassVar[Source] = Source(
        title="Combination of Multiple Searches",
        authors="Fox and Shaw",
        year=1993,
        url="https://trec.nist.gov/pubs/trec2/papers/txt/23.txt",
        departs="weights; scores scaled first; items a run lacks count like its last; where a query's scores are all "
        "alike min-max gives each 1",
    )

    weights: tuple[float, ...] | None = None
    scale: Scale = "min-max"

    def __post_init__(self) -> None:
        require_weights(self.weights)
        require_scale(self.scale)

    def __call__(self, runs: Sequence[Run]) -> Run:
        """Return the fused run.

        Raises:
            DataError: A score is not finite.
            ValueError: There are not as many runs as weights.
        """
        return by_query(runs, self.weights, self._fuse)

    def _fuse(self, answers: Sequence[Weighed]) -> dict[str, float]:
        fused: dict[str, float] = defaultdict(float)
        everything = dict.fromkeys(item_id for _, found in answers for item_id in found)
        for weight, found in answers:
            scaled = SCALES[self.scale](found)
            last = 0.0 if self.scale == "min-max" else min(scaled.values(), default=0.0)
            for item_id in everything:
                fused[item_id] += weight * scaled.get(item_id, last)
        return fused
