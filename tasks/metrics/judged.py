"""From a run and the truth to ranks, so that every metric of a ranking takes what a search returned."""

import math
from dataclasses import dataclass

import numpy as np

from schemas.errors import DataError
from schemas.ranking import Qrels, Run
from tasks.metrics.contract import NOWHERE, Ranking


@dataclass(frozen=True)
class Judged:
    """A run in the light of the truth.

    Args:
        query_ids: (Q,) queries with a relevant item, in the order of the truth; a metric's value q is of the q-th.
        ranking: Where their relevant items stand, and how relevant they are.
        without: Queries of the truth that have no relevant item. No metric of a ranking is defined on them; what
            else may be right there is to return nothing.
    """

    query_ids: tuple[str, ...]
    ranking: Ranking
    without: tuple[str, ...]


def judged(qrels: Qrels, run: Run) -> Judged:
    """Return where the relevant items of every query stand in a run.

    The higher score stands first, and of equal scores the smaller id, as in `Candidates`. An item is relevant from 1
    on; one that nobody judged is not. A query that the run lacks found nothing; one that the truth lacks is left out.

    Args:
        qrels: Query id -> item id -> relevance.
        run: Query id -> item id -> score.

    Raises:
        DataError: A score is not a number.
    """
    query_ids, without = [], []
    ranks: list[int] = []
    gains: list[float] = []
    start = [0]
    for query_id, relevance in qrels.items():
        wanted = {item_id: float(level) for item_id, level in relevance.items() if level >= 1}
        if not wanted:
            without.append(query_id)
            continue
        place = {item_id: rank for rank, item_id in enumerate(in_order(run, query_id), 1)}
        found = sorted((place.get(item_id, NOWHERE), -gain) for item_id, gain in wanted.items())
        query_ids.append(query_id)
        ranks += [rank for rank, _ in found]
        gains += [-gain for _, gain in found]
        start.append(len(ranks))
    ranking = Ranking(np.array(ranks, np.int64), np.array(start, np.int64), np.array(gains, np.float64))
    return Judged(tuple(query_ids), ranking, tuple(without))


def in_order(run: Run, query_id: str) -> list[str]:
    """Return the items found for a query, best first; of equal scores the smaller id first.

    Raises:
        DataError: A score is not a number.
    """
    scores = run.get(query_id, {})
    if wrong := [item_id for item_id, score in scores.items() if math.isnan(score)]:
        raise DataError(
            f"the score of item {wrong[0]!r} for query {query_id!r} is not a number; search again"
        )
    return sorted(scores, key=lambda item_id: (-scores[item_id], item_id))
