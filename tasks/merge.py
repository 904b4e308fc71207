"""Bring what was found together with the snapshot: what is there now, each thing once.

Exact duplicates are merged by their digest: one medium, all its texts and places. Near-duplicates are only
recorded here; what becomes of them is a rule of the recipe. Every result is narrow (no pixels, no vectors), so
its size is that of the keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.tables import MEDIA, PAIRS, SOURCES, TEXTS
from storage.workbench import Workbench, values, workbench
from tasks.filters._hamming import representatives
from tasks.ingest import Planned
from tasks.run import Job, Run
from tasks.shards.inspect import STAGED

NOW_SOURCES = pa.schema(
    [
        SOURCES.schema.field(n)
        for n in ("source_id", "source", "locator", "fingerprint", "media_id", "text_ids", "status")
    ]
    + [pa.field("quarantine_reason", pa.string()), pa.field("present", pa.bool_())]
)
NOW_MEDIA = pa.schema(
    [
        MEDIA.schema.field(n)
        for n in ("media_id", "modality", "width_px", "height_px", "phash", "locators", "present")
    ]
)
NOW_TEXTS = pa.schema([TEXTS.schema.field(n) for n in ("text_id", "text", "present")])
NOW_PAIRS = pa.schema([PAIRS.schema.field(n) for n in ("pair_id", "media_id", "text_id", "role", "present")])
FRESH_MEDIA = pa.schema([pa.field("media_id", pa.string()), pa.field("source_id", pa.string())])
CLUSTERS = pa.schema([pa.field("media_id", pa.string()), pa.field("cluster_id", pa.string())])
NOW = {
    "now_sources": NOW_SOURCES,
    "now_media": NOW_MEDIA,
    "now_texts": NOW_TEXTS,
    "now_pairs": NOW_PAIRS,
    "fresh_media": FRESH_MEDIA,
    "clusters": CLUSTERS,
}

_NOW_SOURCES = """
SELECT source_id, source, locator, fingerprint, media_id, text_ids, status, reason AS quarantine_reason, true AS present
FROM staged_sources
UNION ALL
SELECT b.source_id, b.source, b.locator, b.fingerprint, b.media_id, b.text_ids, b.status,
       CASE WHEN b.status = 'quarantined' THEN b.reason END, b.present AND r.source_id IS NULL
FROM base_sources b ANTI JOIN staged_sources s USING (source_id) LEFT JOIN removed r USING (source_id)
"""
# the row that speaks for a medium found several times in this run: the first place in order
_FRESH_MEDIA = """
SELECT m.media_id, arg_min(m.source_id, s.source || chr(0) || s.locator) AS source_id
FROM (SELECT media_id, source_id FROM staged_media) m JOIN staged_sources s USING (source_id) GROUP BY 1
"""
_NOW_MEDIA = """
WITH found AS (
  SELECT media_id, list_sort(list(source || '/' || locator)) AS locators
  FROM now_sources WHERE present AND media_id IS NOT NULL GROUP BY 1
), facts AS (
  SELECT m.media_id, m.modality, m.width_px, m.height_px, m.phash, NULL::VARCHAR[] AS locators
  FROM (SELECT source_id, media_id, modality, width_px, height_px, phash FROM staged_media) m
  SEMI JOIN fresh_media f USING (source_id)
  UNION ALL
  SELECT media_id, modality, width_px, height_px, phash, locators FROM base_media ANTI JOIN fresh_media USING (media_id)
)
SELECT a.media_id, modality, width_px, height_px, phash, coalesce(f.locators, a.locators, []) AS locators,
       f.media_id IS NOT NULL AS present
FROM facts a LEFT JOIN found f USING (media_id)
"""
_NOW_TEXTS = """
WITH found AS (SELECT DISTINCT unnest(text_ids) AS text_id FROM now_sources WHERE present),
known AS (
  SELECT DISTINCT text_id, text FROM staged_texts
  UNION ALL
  SELECT text_id, text FROM base_texts ANTI JOIN (SELECT DISTINCT text_id FROM staged_texts) USING (text_id)
)
SELECT k.text_id, k.text, f.text_id IS NOT NULL OR w.text_id IS NOT NULL AS present
FROM known k LEFT JOIN found f USING (text_id) LEFT JOIN written w USING (text_id)
"""
# No source has what the platform wrote: it is there as long as a medium it was written about is.
_WRITTEN = """
CREATE TEMP VIEW written AS
SELECT DISTINCT p.text_id FROM base_pairs p JOIN base_texts t USING (text_id)
JOIN (SELECT media_id FROM now_sources WHERE present AND media_id IS NOT NULL) m USING (media_id)
WHERE t.origin = 'synthetic' AND t.generator IS NOT NULL AND p.present  -- a source may bring such texts too: those have none
"""
_NOW_PAIRS = """
WITH found AS (
  SELECT DISTINCT media_id, unnest(text_ids) AS text_id FROM now_sources WHERE present AND media_id IS NOT NULL
), known AS (
  SELECT pair_id, media_id, text_id, min(role) AS role FROM staged_texts WHERE pair_id IS NOT NULL GROUP BY 1, 2, 3
  UNION ALL
  SELECT pair_id, media_id, text_id, role FROM base_pairs
  ANTI JOIN (SELECT DISTINCT pair_id FROM staged_texts) USING (pair_id)
)
SELECT k.*, f.media_id IS NOT NULL OR (w.text_id IS NOT NULL AND m.media_id IS NOT NULL) AS present
FROM known k LEFT JOIN found f USING (media_id, text_id) LEFT JOIN written w USING (text_id)
LEFT JOIN (SELECT DISTINCT media_id FROM now_sources WHERE present) m USING (media_id)
"""


@dataclass(frozen=True)
class Merged:
    """Where the present state is staged: `NOW`, one file each."""

    planned: Planned


@task(cache_policy=NO_CACHE)
def merge(job: Job, planned: Planned) -> Merged:
    """Stage what is there now: sources, media, texts, pairs and near-duplicate clusters."""
    run = job.run
    with job.ledger.step("merge") as step, _inspected(run, planned) as bench:
        for name, sql in (("now_sources", _NOW_SOURCES), ("fresh_media", _FRESH_MEDIA)):
            bench.add_staged(name, [bench.stage(sql, "merged", f"{name}.arrow", schema=NOW[name])], NOW[name])
        bench.execute(_WRITTEN)
        for name, sql in (("now_media", _NOW_MEDIA), ("now_texts", _NOW_TEXTS), ("now_pairs", _NOW_PAIRS)):
            bench.add_staged(name, [bench.stage(sql, "merged", f"{name}.arrow", schema=NOW[name])], NOW[name])
            step.count(f"{name.removeprefix('now_')} present", _count(bench, f"{name} WHERE present"))
        clusters = _clusters(run, bench)
        run.staging.write(clusters, "merged", "clusters.arrow")
        other = pc.sum(pc.not_equal(clusters["media_id"], clusters["cluster_id"])).as_py()
        step.count("near-duplicates", int(other or 0))
    return Merged(planned)


@contextmanager
def merged_bench(run: Run, merged: Merged) -> Iterator[Workbench]:
    """Open a workbench that also has the merged state: every table of `NOW`."""
    with _inspected(run, merged.planned) as bench:
        for name, schema in NOW.items():
            bench.add_staged(name, [run.staging.path("merged", f"{name}.arrow")], schema)
        yield bench


@contextmanager
def _inspected(run: Run, planned: Planned) -> Iterator[Workbench]:
    with workbench(run.lake, run.base, run.staging) as bench:
        bench.add_base(SOURCES, MEDIA, TEXTS, PAIRS)
        for table, schema in STAGED.items():
            bench.add_staged(f"staged_{table}", planned.paths(run, table), schema)
        bench.add_staged(
            "removed", [run.staging.path("removed.arrow")], pa.schema([pa.field("source_id", pa.string())])
        )
        yield bench


def _clusters(run: Run, bench: Workbench) -> pa.Table:
    """Return the representative of each medium with a hash: the largest picture of its cluster."""
    if run.recipe.near_duplicates is None:
        return CLUSTERS.empty_table()
    hashed = bench.table(
        "SELECT media_id, phash FROM now_media WHERE present AND phash IS NOT NULL "
        "ORDER BY width_px::BIGINT * height_px DESC, media_id"
    )
    hashes = np.fromiter((int(h, 16) for h in values(hashed["phash"])), np.uint64, len(hashed))
    stands_for = representatives(hashes, run.recipe.near_duplicates.max_distance)
    media_id = hashed["media_id"].combine_chunks()
    return pa.table([media_id, media_id.take(pa.array(stands_for))], schema=CLUSTERS)


def _count(bench: Workbench, what: str) -> int:
    return int(bench.rows(f"SELECT count(*) FROM {what}")[0][0])
