"""Runs fused by their scores, with a premium on what several found."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from schemas.ranking import Run
from schemas.source import Source
from tasks.fusion._runs import Weighed, by_query
from tasks.fusion._scales import min_max


@dataclass(frozen=True)
class CombMNZ:
    """Sum of the scores, scaled to [0, 1] within a query and run, times the number of runs that found the item."""

    name: ClassVar[str] = "comb-mnz"
    source: ClassVar[Source] = Source(
        title="Combination of Multiple Searches",
        authors="Fox and Shaw",
        year=1993,
        url="https://trec.nist.gov/pubs/trec2/papers/txt/23.txt",
        departs="scores scaled first, as Lee (1997) does; where a query's scores are all alike each is 1",
    )

    def __call__(self, runs: Sequence[Run]) -> Run:
        """Return the fused run.

        Raises:
            DataError: A score is not finite.
        """
        return by_query(runs, None, self._fuse)

    def _fuse(self, answers: Sequence[Weighed]) -> dict[str, float]:
        total: dict[str, float] = defaultdict(float)
        finders: dict[str, int] = defaultdict(int)
        for _, found in answers:
            for item_id, score in min_max(found).items():
                total[item_id] += score
                finders[item_id] += 1
        return {item_id: total[item_id] * finders[item_id] for item_id in total}
