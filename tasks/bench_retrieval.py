"""How well a snapshot is searched: its own pairs as queries and answers, through the engine that users have."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError, XmodalError
from schemas.ranking import First, Query, Search
from schemas.tables import METRICS
from storage.lake import Lake
from storage.matrix import matrix_of
from storage.search import encoder_table
from storage.versions import Snapshot
from tasks.metrics import Judged, judged
from tasks.metrics.average_precision import AveragePrecision
from tasks.metrics.contract import Metric
from tasks.metrics.ndcg import NDCG
from tasks.metrics.recall import Recall
from tasks.metrics.recall_share import RecallShare
from tasks.metrics.reciprocal_rank import ReciprocalRank
from tasks.retrieval.find import find
from tasks.run import code_version

BENCH = "retrieval"
DEPTH = 100
_NOTHING = np.zeros(1, np.float32)
MEASURED: dict[str, Metric] = {
    "R@1": Recall(1), "R@5": Recall(5), "R@10": Recall(10), "share@10": RecallShare(10), "MRR": ReciprocalRank(),
    "MAP": AveragePrecision(), "nDCG@10": NDCG(10),
}  # fmt: skip
RECALLS = ("R@1", "R@5", "R@10")


@dataclass(frozen=True)
class Way:
    """A way to search.

    Args:
        name: For a person.
        first: How candidates are found.
        adjust: With the similarity fitted to the snapshot.
        search: Compare, ask the index, or choose.
    """

    name: str
    first: First = "dense"
    adjust: bool = False
    search: Search = "exact"


WAYS = (
    Way("vectors, compared"),
    Way("vectors, as chosen", search="auto"),
    Way("vectors, similarity fitted", adjust=True),
    Way("binary codes", first="codes"),
    Way("token by token", first="late"),
)


@dataclass(frozen=True)
class Measured:
    """One way, one direction.

    Args:
        way: Name of the way.
        direction: "text to media" or "media to text".
        mean: Metric -> mean over queries, in [0, 1].
        median_rank: Of the best answer; infinite where half the queries found none in the first hundred.
        p50_ms: Median time of a query, its encoding left out where the query is an item of the table.
        p95_ms: 95th percentile.
        skipped: Why it could not be measured; empty where it was.
    """

    way: str
    direction: str
    mean: dict[str, float] = field(default_factory=dict)
    median_rank: float = float("nan")
    p50_ms: float = float("nan")
    p95_ms: float = float("nan")
    skipped: str = ""


@dataclass(frozen=True)
class RetrievalReport:
    """What was measured.

    Args:
        snapshot: Where.
        encoder: Table of the vectors.
        queries: Texts, and media, that were asked.
        rows: Every way in both directions.
    """

    snapshot: Snapshot
    encoder: str
    queries: int
    rows: tuple[Measured, ...]

    @property
    def rsum(self) -> dict[str, float]:
        """Sum of R@1, R@5 and R@10 of both directions in per cent, at most 600, by way."""
        by_way: dict[str, list[Measured]] = {}
        for row in self.rows:
            if not row.skipped:
                by_way.setdefault(row.way, []).append(row)
        return {
            way: 100 * sum(row.mean[name] for row in rows for name in RECALLS)
            for way, rows in by_way.items()
            if len(rows) == 2
        }


def measure(
    lake: Lake,
    *,
    at: str | None = None,
    encoder: str | None = None,
    queries: int = 500,
    roles: Sequence[str] = (),
    ways: Sequence[Way] = WAYS,
    seed: int = 0,
) -> RetrievalReport:
    """Ask texts for their media and media for their texts, each way, and say how well that went.

    An item answers a query if they are a kept pair. Texts of several media have several answers, and so have media with
    several texts. Pairs are the snapshot's own: what its filters kept is what is asked, so compare ways, or snapshots with the
    same pairs, and not lakes.

    Args:
        lake: The lake.
        at: Snapshot id, tag or digest; newest by default.
        encoder: Encoder, where there are several.
        queries: How many of each side, drawn.
        roles: Only texts of these roles; all by default.
        ways: What is measured.
        seed: Of the draw.

    Raises:
        DataError: The lake is empty, or has no pairs to ask with.
    """
    snapshot = lake.snapshot(at) if at else lake.head()
    if snapshot is None:
        raise DataError(f"{lake.uri} is empty: run `xmodal curate RECIPE` first")
    entry = encoder_table(lake, snapshot, encoder)
    of_text, of_media = _pairs(lake, snapshot, roles)
    texts = _texts(lake, snapshot, list(of_text))
    rng = np.random.default_rng(seed)
    asked_texts = _drawn(sorted(of_text), queries, rng)
    seen = set(matrix_of(lake, snapshot, entry.table, "media").ids.to_pylist())
    asked_media = _drawn(sorted(seen & of_media.keys()), queries, rng)
    if not asked_texts:
        raise DataError(
            f"{snapshot.snapshot_id} has no kept pairs{' of these roles' if roles else ''} to ask with"
        )
    rows = []
    for way in ways:
        like = Query(
            vector=_NOTHING,
            k=DEPTH,
            at=snapshot.snapshot_id,
            encoder=entry.table,
            first=way.first,
            search=way.search,
        )
        by_words = [(one, replace(like, vector=None, text=texts[one], by="media")) for one in asked_texts]
        by_items = [(one, replace(like, vector=None, like=(one,), side="text")) for one in asked_media]
        rows.append(_measured(lake, way, "text to media", by_words, of_text))
        rows.append(_measured(lake, way, "media to text", by_items, of_media))
    return RetrievalReport(snapshot, entry.table, len(asked_texts), tuple(rows))


def record(lake: Lake, report: RetrievalReport, *, seed: int = 0) -> None:
    """Append every number to the log `metrics`."""
    rows = [
        {
            "metric_id": uuid.uuid4().hex,
            "bench": BENCH,
            "corpus": report.encoder,
            "protocol": row.direction,
            "rate": 0.0,
            "seed": seed,
            "subject": row.way,
            "metric": name,
            "value": value,
            "recipe": "{}",
            "code_version": code_version(),
            "data": report.snapshot.digest,
            "run_id": "",
            "measured_at": datetime.now(UTC),
        }
        for row in report.rows
        for name, value in (row.mean | {"p50_ms": row.p50_ms, "p95_ms": row.p95_ms}).items()
        if not row.skipped
    ]
    lake.append_log(METRICS, *rows)


def _measured(
    lake: Lake, way: Way, direction: str, queries: Sequence[tuple[str, Query]], answers: dict[str, set[str]]
) -> Measured:
    run: dict[str, dict[str, float]] = {}
    spent = []
    for one, query in queries:
        start = time.perf_counter()
        try:
            found = find(lake, query, adjust=way.adjust).candidates
        except XmodalError as error:
            return Measured(way.name, direction, skipped=str(error))
        spent.append(1000 * (time.perf_counter() - start))
        # Ranks, not scores: what stands where was decided by the engine, ties included.
        run[one] = {item: float(-rank) for rank, item in enumerate(found.item_ids)}
    truth = {one: dict.fromkeys(answers[one], 1) for one, _ in queries}
    seen = judged(truth, run)
    best = _best(seen)
    return Measured(
        way.name,
        direction,
        {name: float(metric(seen.ranking).mean()) for name, metric in MEASURED.items()},
        float(np.median(best)),
        float(np.percentile(spent[1:] or spent, 50)),  # the first opens what the others find open
        float(np.percentile(spent[1:] or spent, 95)),
    )


def _best(seen: Judged) -> NDArray[np.float64]:
    best = seen.ranking.best.astype(np.float64)
    best[best > DEPTH] = np.inf
    return best


def _pairs(
    lake: Lake, snapshot: Snapshot, roles: Sequence[str]
) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    rows = lake.dataset("pairs", snapshot).to_table(
        columns=["media_id", "text_id", "role"], filter="present AND kept IS NOT false"
    )
    of_text: dict[str, set[str]] = {}
    of_media: dict[str, set[str]] = {}
    for medium, text, role in zip(*(rows[name].to_pylist() for name in rows.schema.names), strict=True):
        if not roles or role in roles:
            of_text.setdefault(text, set()).add(medium)
            of_media.setdefault(medium, set()).add(text)
    return of_text, of_media


def _texts(lake: Lake, snapshot: Snapshot, ids: list[str]) -> dict[str, str]:
    rows = lake.dataset("texts", snapshot).to_table(columns=["text_id", "text"])
    wanted = set(ids)
    pairs = zip(rows["text_id"].to_pylist(), rows["text"].to_pylist(), strict=True)
    return {text_id: text for text_id, text in pairs if text_id in wanted}


def _drawn(ids: list[str], count: int, rng: np.random.Generator) -> list[str]:
    return [ids[row] for row in sorted(rng.permutation(len(ids))[:count])]
