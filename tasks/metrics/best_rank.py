"""How far down one must look; its median over queries is the field's median rank."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.metrics.contract import NOWHERE, Ranking


@dataclass(frozen=True)
class BestRank:
    """The rank of the first relevant item, from 1."""

    name: ClassVar[str] = "best-rank"
    source: ClassVar[Source] = Source(
        title="Framing Image Description as a Ranking Task: Data, Models and Evaluation Metrics",
        authors="Hodosh et al.",
        year=2013,
        url="https://doi.org/10.1613/jair.3994",
        departs="per query; the median is the caller's; ties go to items that are not relevant",
    )
    higher_is_better: ClassVar[bool] = False

    def __call__(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the rank per query. Shape (Q,), float64; infinite where nothing was found."""
        return np.where(ranking.best < NOWHERE, ranking.best, np.inf).astype(np.float64)
