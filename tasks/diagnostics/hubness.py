"""Do few items fill most result lists, and do some never come up?"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.ranking import Side
from schemas.source import Source
from tasks.diagnostics._sides import drawn, require_sides
from tasks.similarities._bank import among_nearest, blocks
from tasks.similarities.contract import Fitted

NOTABLE = 1.2  # skewness above which hubness is usually called high


@dataclass(frozen=True)
class HubnessReport:
    """How often each item of a gallery is among the k results of queries, summed up.

    By chance means: if each query got k items at random. Without it, a gallery larger than its queries can fill looks
    full of items nobody finds.

    Args:
        queries: How many were asked.
        k: Results of each; all items, if there are fewer.
        count: (G,) int64, queries that got the item.
        skewness: Of `count`; 0 is even, large where a few items come up for everyone.
        skewness_by_chance: The same of the binomial distribution.
        never: Share of items no query got.
        never_by_chance: Its expectation.
        robin_hood: Share of results that would have to go to other items for all to come up equally often, in [0, 1).
        hubs: (H,) rows of the items that come up most, the first most often; of equal ones the smaller row.
        hub_share: Share of all results that are one of `hubs`.
    """

    queries: int
    k: int
    count: NDArray[np.int64]
    skewness: float
    skewness_by_chance: float
    never: float
    never_by_chance: float
    robin_hood: float
    hubs: NDArray[np.int64]
    hub_share: float

    @property
    def hub_count(self) -> NDArray[np.int64]:
        """(H,) how many queries got each of the hubs."""
        return self.count[self.hubs]

    @property
    def advice(self) -> str:
        """Whether trying a similarity of the platform is worth the while, for a person."""
        found = (
            f"the {len(self.hubs)} most frequent items are {self.hub_share:.0%} of all results, {self.never:.0%} of items "
            f"never come up (by chance {self.never_by_chance:.0%}) and the skewness is {self.skewness:.2f} (by chance "
            f"{self.skewness_by_chance:.2f})"
        )
        if self.skewness - self.skewness_by_chance > NOTABLE:
            return f"Hubs: {found}. Tune a similarity on queries with known answers."
        return f"No strong hubs: {found}. Correcting them would gain little and may harm."


@dataclass(frozen=True)
class Hubness:
    """Distribution of how often items are found.

    Args:
        k: Results of each query, at least 1.
        side: What is found, by vectors of the other side.
        hubs: Items listed as most frequent, at least 1.
        most: Queries asked, drawn at random where there are more, at least 1; the gallery is always whole.
        seed: Of the draw.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "hubness"
    source: ClassVar[Source] = Source(
        title="Hubs in Space: Popular Nearest Neighbors in High-Dimensional Data",
        authors="Radovanović et al.",
        year=2010,
        url="https://www.jmlr.org/papers/v11/radovanovic10a.html",
        departs="across sides; with the Robin Hood index of Feldbauer et al. (2018) and what chance would give",
    )
    paired: ClassVar[bool] = False

    k: int = 10
    side: Side = "media"
    hubs: int = 10
    most: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.k, self.hubs, self.most) < 1:
            raise ValueError(f"k, hubs and most must be at least 1: {self}")
        if self.side not in ("media", "text"):
            raise ValueError(f"side must be media or text, found {self.side!r}")

    def __call__(self, media: NDArray[np.float32], text: NDArray[np.float32]) -> dict[str, float]:
        """Return `skewness`, `never`, `robin_hood`, `hub_share` and, of the first two, `_by_chance`."""
        found = self.report(media, text)
        names = ("skewness", "skewness_by_chance", "never", "never_by_chance", "robin_hood", "hub_share")
        return {name: float(getattr(found, name)) for name in names}

    def report(
        self, media: NDArray[np.float32], text: NDArray[np.float32], *, fitted: Fitted | None = None
    ) -> HubnessReport:
        """Return all there is to show.

        Args:
            media: (N, D) unit vectors.
            text: (M, D) unit vectors.
            fitted: Counts with this similarity, fitted to all of what is found, in place of the cosine.

        Raises:
            DataError: As in the contract.
            ValueError: As in the contract, or the similarity was fitted to another gallery.
        """
        media, text = require_sides(media, text)
        gallery, asked = (media, text) if self.side == "media" else (text, media)
        asked = asked[drawn(len(asked), self.most, self.seed)]
        if fitted is not None:
            gallery = fitted.gallery(gallery)
        rows = np.arange(len(gallery), dtype=np.int64)
        scores = (
            block if fitted is None else fitted(block, np.broadcast_to(rows, block.shape))
            for block in blocks(asked, gallery)
        )
        return self.of_scores(scores)

    def of_scores(self, blocks: Iterable[NDArray[np.float32]]) -> HubnessReport:
        """Return the report of scores however they came about.

        Args:
            blocks: (<=Q, G) scores each, higher is better; of equal ones the smaller row comes first.

        Raises:
            DataError: There is no query or no item.
        """
        count: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        queries = 0
        for block in blocks:
            found = among_nearest(block, self.k).sum(axis=0, dtype=np.int64)
            count = found if not queries else count + found
            queries += len(block)
        if not queries or not len(count):
            raise DataError("there is no query or no item to count; embed some first")
        return summed_up(count, queries, min(self.k, len(count)), self.hubs)


def summed_up(count: NDArray[np.int64], queries: int, k: int, hubs: int) -> HubnessReport:
    """Return the report of how often each item came up.

    Args:
        count: (G,); its sum is queries * k.
        queries: How many were asked.
        k: Results of each, at most G.
        hubs: Items listed at most.
    """
    items = len(count)
    mean = queries * k / items
    away = count - mean
    spread = float(np.sqrt((away**2).mean()))
    top = np.argsort(-count, kind="stable")[: min(hubs, items)]
    chance = k / items
    binomial = queries * chance * (1 - chance)  # variance; none where each query gets everything
    return HubnessReport(
        queries=queries,
        k=k,
        count=count,
        skewness=float((away**3).mean()) / spread**3 if spread > 0 else 0.0,
        skewness_by_chance=(1 - 2 * chance) / float(np.sqrt(binomial)) if binomial > 0 else 0.0,
        never=float((count == 0).mean()),
        never_by_chance=(1 - chance) ** queries,
        robin_hood=float(np.abs(away).sum()) / (2 * queries * k),
        hubs=top.astype(np.int64),
        hub_share=float(count[top].sum()) / (queries * k),
    )
