"""Fit to a snapshot what its searches may use: a similarity where media are hubby."""

from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.errors import DataError
from storage.lake import Lake
from storage.search import encoder_table
from storage.versions import Snapshot
from tasks.retrieval import adjust


@dataclass(frozen=True)
class Hub:
    """A medium that comes up for many queries."""

    media_id: str
    queries: int


@dataclass(frozen=True)
class FittedTo:
    """What was found of a snapshot's media, and which similarity is used from now on.

    Args:
        snapshot_id: The snapshot.
        table: The encoder's table.
        method: Name of the similarity; raw is the cosine.
        why: Why this one, for a person.
        checkpoint: Where it is kept.
        queries: Texts that were asked.
        skewness: Of how often media are among the ten nearest; `skewness_by_chance` if results were drawn at random.
        never: Share of media that no text finds, and by chance.
        hub_share: Share of all results that are one of `hubs`.
        advice: What that means.
        hubs: Media that come up most, the first most often.
        recall: R@10 of the cosine and of every setting tried.
    """

    snapshot_id: str
    table: str
    method: str
    why: str
    checkpoint: str
    queries: int
    skewness: float
    skewness_by_chance: float
    never: float
    never_by_chance: float
    hub_share: float
    advice: str
    hubs: tuple[Hub, ...]
    recall: tuple[tuple[str, float], ...]


@task(cache_policy=NO_CACHE)
def fit_similarity(lake: Lake, *, at: str | None, encoder: str | None, seed: int, run_id: str) -> FittedTo:
    """Measure hubs, let similarities compete on held-out texts, and keep the winner, or the cosine.

    Raises:
        DataError: The lake is empty or has too few pairs to choose by.
    """
    snapshot = lake.snapshot(at) if at else lake.head()
    if snapshot is None:
        raise DataError(f"{lake.uri} is empty: run `xmodal curate RECIPE` first")
    entry = encoder_table(lake, snapshot, encoder)
    checkpoint, choice, report = adjust.fit(
        lake, snapshot, entry, _pairs(lake, snapshot), seed=seed, run_id=run_id
    )
    ids = adjust.gallery_ids(lake, snapshot, entry)
    hubs = tuple(
        Hub(ids[int(row)], int(count)) for row, count in zip(report.hubs, report.hub_count, strict=True)
    )
    recall = [("cosine", choice.raw)]
    recall += [(f"{one.method.name} {adjust.said(one.method)}".strip(), one.mean) for one in choice.tried]
    return FittedTo(
        snapshot.snapshot_id, entry.table, choice.method.name, choice.why, checkpoint, report.queries,
        report.skewness, report.skewness_by_chance, report.never, report.never_by_chance, report.hub_share,
        report.advice, hubs, tuple(recall),
    )  # fmt: skip


def _pairs(lake: Lake, snapshot: Snapshot) -> list[tuple[str, str]]:
    rows = lake.dataset("pairs", snapshot).to_table(
        columns=["media_id", "text_id"], filter="present AND kept IS NOT false"
    )
    return list(zip(rows["media_id"].to_pylist(), rows["text_id"].to_pylist(), strict=True))
