"""Measure whether retrieval in a snapshot favours the texts the platform wrote over those that media came with."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.tables import METRICS
from storage import search
from storage.lake import Lake
from storage.quoting import literal, literals
from storage.versions import Snapshot
from tasks.metrics.relevance_bias import (
    Bias,
    Consistency,
    bias,
    consistency,
    direction,
    pool_ranks,
    project_out,
)
from tasks.run import code_version
from tasks.score import matrix

BENCH = "bias"
FOLDS = 2  # the remedy is fitted on one and tried on the other
# One text of each source a medium, the first by id: no source is favoured by being there more often.
_TEXTS = """
SELECT p.media_id, min(p.text_id) FILTER (t.origin = 'raw' AND p.role IN ({roles})) AS human,
       min(p.text_id) FILTER (t.origin = 'synthetic' {generator}) AS generated
FROM pairs p JOIN texts t USING (text_id) WHERE p.present AND p.kept IS NOT FALSE
GROUP BY 1 HAVING human IS NOT NULL AND generated IS NOT NULL ORDER BY 1
"""


@dataclass(frozen=True)
class BiasReport:
    """What was found.

    Args:
        snapshot: Where.
        encoder: Table of the vectors.
        media: Media with texts of both sources.
        before: Bias as the vectors are.
        after: Bias with the mean difference of sources projected out, fitted on other media.
        difference: Whether what tells the sources apart points one way.
    """

    snapshot: Snapshot
    encoder: str
    media: int
    before: Bias
    after: Bias
    difference: Consistency


def measure(
    lake: Lake,
    *,
    at: str | None = None,
    encoder: str | None = None,
    roles: tuple[str, ...] = ("caption", "title"),
    generator: str | None = None,
    seed: int = 0,
) -> BiasReport:
    """Return how far a search over human and generated texts favours one source, before and after the remedy.

    Args:
        lake: The lake.
        at: Snapshot id, tag or digest; newest by default.
        encoder: Name of an encoder or its table; the one with most vectors by default.
        roles: Roles of the human texts.
        generator: Only texts of this captioner.
        seed: Of folds, bootstrap and control.

    Raises:
        DataError: The lake is empty, or fewer than 20 media have texts of both sources with vectors.
    """
    snapshot = lake.snapshot(at) if at else lake.head()
    if snapshot is None:
        raise DataError(f"{lake.uri} is empty: run `xmodal curate` and `xmodal caption` first")
    entry = search.encoder_table(lake, snapshot, encoder)
    media, human, generated = _vectors(lake, snapshot, entry.table, roles, generator)
    if len(media) < 20:
        raise DataError(
            f"{len(media)} media of {snapshot.snapshot_id} have a kept human text ({', '.join(roles)}) and an accepted "
            "generated one with vectors; bias needs at least 20. A recipe of captions with `of: all` writes beside human texts"
        )
    fold = np.random.default_rng(seed).permutation(len(media)) % FOLDS
    mended = [np.empty_like(part) for part in (media, human, generated)]
    for number in range(FOLDS):
        away = direction(human[fold != number], generated[fold != number])
        for whole, part in zip(mended, (media, human, generated), strict=True):
            whole[fold == number] = project_out(part[fold == number], [away])
    ranks = _by_fold(fold, *mended)
    return BiasReport(
        snapshot,
        entry.table,
        len(media),
        bias(_by_fold(fold, media, human, generated), seed=seed),
        bias(ranks, seed=seed),
        consistency(human, generated, seed=seed),
    )


def record(lake: Lake, report: BiasReport) -> int:
    """Append every number to the lake's `metrics` and return how many there are."""
    numbers: dict[tuple[str, str], float] = {
        ("difference", "consistency"): report.difference.cosine,
        ("difference", "consistency_null_high"): report.difference.null[1],
    }
    for subject, found in (("before", report.before), ("after", report.after)):
        parts: Mapping[str, Mapping[str, float]] = {
            "delta": found.delta,
            "delta_low": {name: low for name, (low, _) in found.interval.items()},
            "delta_high": {name: high for name, (_, high) in found.interval.items()},
            "found": found.found,
        }
        for kind, values in parts.items():
            numbers |= {(subject, f"{kind}_{name}"): value for name, value in values.items()}
    run_id, now = f"bench-{uuid.uuid4().hex[:12]}", datetime.now(UTC)
    rows = [
        {
            "metric_id": uuid.uuid4().hex, "bench": BENCH, "corpus": lake.uri, "protocol": report.encoder, "rate": None,
            "seed": 0, "subject": subject, "metric": metric, "value": value, "recipe": "{}",
            "code_version": code_version(), "data": report.snapshot.digest, "run_id": run_id, "measured_at": now,
        }
        for (subject, metric), value in numbers.items()
    ]  # fmt: skip
    lake.append_log(METRICS, *rows)
    return len(rows)


def _by_fold(fold: NDArray[np.int64], *parts: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return ranks within each fold: before and after are counted in pools of the same media."""
    ranks = np.empty((len(fold), 2), np.int64)
    for number in range(FOLDS):
        media, human, generated = (part[fold == number] for part in parts)
        ranks[fold == number] = pool_ranks(media, human, generated)
    return ranks


def _vectors(
    lake: Lake, snapshot: Snapshot, table: str, roles: tuple[str, ...], generator: str | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    quoted = literals(roles)
    by = "" if generator is None else f"AND t.generator = {literal(generator)}"
    at = snapshot.snapshot_id
    with duckdb.connect() as con:
        con.register(
            "pairs", lake.read("pairs", at=at, columns=["media_id", "text_id", "role", "present", "kept"])
        )
        con.register("texts", lake.read("texts", at=at, columns=["text_id", "origin", "generator"]))
        con.register("vectors", lake.read(table, at=at, columns=["item_id", "vector"]))
        con.sql(_TEXTS.format(roles=quoted, generator=by)).create_view("both_sources")
        found = con.sql(
            "SELECT m.vector AS media, h.vector AS human, g.vector AS generated FROM both_sources x "
            "JOIN vectors m ON m.item_id = x.media_id JOIN vectors h ON h.item_id = x.human "
            "JOIN vectors g ON g.item_id = x.generated ORDER BY x.media_id"
        ).to_arrow_table()
    media, human, generated = (matrix(found[side]) for side in ("media", "human", "generated"))
    return media, human, generated
