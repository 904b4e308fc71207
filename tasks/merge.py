"""Bring what was found together with the snapshot: what is there now, each thing once.

Exact duplicates are merged by their digest: one medium, all its texts and places. Near-duplicates are only
recorded here; what becomes of them is a rule of the recipe. Every result is narrow (no pixels, no vectors), so
its size is that of the keys.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.tables import MEDIA, PAIRS, SOURCES, TEXTS
from storage.workbench import Workbench, workbench
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
FOUND = pa.schema([NOW_MEDIA.field("media_id"), NOW_MEDIA.field("locators")])
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
_FOUND_MEDIA = """
SELECT media_id, source || '/' || locator AS locator FROM now_sources WHERE present AND media_id IS NOT NULL
"""
_NOW_MEDIA = """
WITH facts AS (
  SELECT m.media_id, m.modality, m.width_px, m.height_px, m.phash, NULL::VARCHAR[] AS locators
  FROM (SELECT source_id, media_id, modality, width_px, height_px, phash FROM staged_media) m
  SEMI JOIN fresh_media f USING (source_id)
  UNION ALL
  SELECT media_id, modality, width_px, height_px, phash, locators FROM base_media ANTI JOIN fresh_media USING (media_id)
)
SELECT a.media_id, modality, width_px, height_px, phash, coalesce(f.locators, a.locators, []) AS locators,
       f.media_id IS NOT NULL AS present
FROM facts a LEFT JOIN found_media f USING (media_id)
"""
_KNOWN_TEXTS = """
SELECT DISTINCT text_id, text FROM staged_texts
UNION ALL
SELECT text_id, text FROM base_texts ANTI JOIN (SELECT DISTINCT text_id FROM staged_texts) USING (text_id)
"""
_NOW_TEXTS = f"""
SELECT k.text_id, k.text, g.text_id IS NULL AS present FROM ({_KNOWN_TEXTS}) k LEFT JOIN gone_texts g USING (text_id)
"""
_KNOWN_PAIRS = """
SELECT pair_id, media_id, text_id, min(role) AS role FROM staged_texts WHERE pair_id IS NOT NULL GROUP BY 1, 2, 3
UNION ALL
SELECT pair_id, media_id, text_id, role FROM base_pairs
ANTI JOIN (SELECT DISTINCT pair_id FROM staged_texts) USING (pair_id)
"""
_NOW_PAIRS = f"""
SELECT k.*, g.pair_id IS NULL AS present FROM ({_KNOWN_PAIRS}) k LEFT JOIN gone_pairs g USING (pair_id)
"""
# One join a statement, each result held or staged: what several joins of one statement hold, they cannot all spill. What is
# gone is mostly little: so rows with texts pass by it.
_FIRST = {
    "found_texts": "SELECT DISTINCT unnest(text_ids) AS text_id FROM now_sources WHERE present",
    # No source has what the platform wrote: it is there as long as a medium it was written about is. A source may bring
    # synthetic texts too: those have no generator.
    "generated": "SELECT text_id FROM base_texts WHERE origin = 'synthetic' AND generator IS NOT NULL",
    "said": "SELECT p.text_id, p.media_id FROM base_pairs p SEMI JOIN generated g USING (text_id) WHERE p.present",
    "written": "SELECT DISTINCT s.text_id FROM said s SEMI JOIN (SELECT media_id FROM now_sources WHERE present) m "
    "USING (media_id)",
    "not_found": f"SELECT k.text_id FROM ({_KNOWN_TEXTS}) k ANTI JOIN found_texts USING (text_id)",
    "gone_texts": "SELECT text_id FROM not_found ANTI JOIN written USING (text_id)",
}
_SECOND = {
    "found_pairs": "SELECT DISTINCT media_id, unnest(text_ids) AS text_id FROM now_sources "
    "WHERE present AND media_id IS NOT NULL",
    "told": f"SELECT k.pair_id, k.media_id FROM ({_KNOWN_PAIRS}) k SEMI JOIN written w USING (text_id)",
    "written_pairs": "SELECT t.pair_id FROM told t SEMI JOIN (SELECT media_id FROM now_sources WHERE present) m "
    "USING (media_id)",
    "unbound": f"SELECT k.pair_id FROM ({_KNOWN_PAIRS}) k ANTI JOIN found_pairs USING (media_id, text_id)",
    "gone_pairs": "SELECT pair_id FROM unbound ANTI JOIN written_pairs USING (pair_id)",
}
HASHED = pa.schema([("place", pa.int64()), ("media_id", pa.string()), ("phash", pa.string())])
# The largest picture of a cluster stands for it.
_HASHED = """
SELECT media_id, phash, coalesce(-(width_px::BIGINT * height_px), 0) AS smallness FROM now_media
WHERE present AND phash IS NOT NULL
"""
_CLUSTERS = """
SELECT h.media_id, coalesce(o.media_id, h.media_id) AS cluster_id FROM hashed h
LEFT JOIN (SELECT s.place, t.media_id FROM hashed t JOIN stood_for s ON s.by = t.place) o USING (place)
"""


@dataclass(frozen=True)
class Merged:
    """Where the present state is staged: `NOW`, one file each."""

    planned: Planned


@task(cache_policy=NO_CACHE)
def merge(job: Job, planned: Planned) -> Merged:
    """Stage what is there now: sources, media, texts, pairs and near-duplicate clusters."""
    run = job.run
    with job.ledger.step("merge") as step, _inspected(run, planned) as bench, bench.as_written():
        for name, sql in (("now_sources", _NOW_SOURCES), ("fresh_media", _FRESH_MEDIA)):
            bench.add_staged(name, [bench.stage(sql, "merged", f"{name}.arrow", schema=NOW[name])], NOW[name])
        path = run.staging.write_batches(
            _grouped(bench.ordered(_FOUND_MEDIA, "media_id", "locator")), FOUND, "merged", "found.arrow"
        )
        bench.add_staged("found_media", [path], FOUND)
        for first, name, sql in (
            ({}, "now_media", _NOW_MEDIA), (_FIRST, "now_texts", _NOW_TEXTS), (_SECOND, "now_pairs", _NOW_PAIRS),
        ):  # fmt: skip
            for held, its in first.items():
                bench.hold(held, its)
            bench.add_staged(name, [bench.stage(sql, "merged", f"{name}.arrow", schema=NOW[name])], NOW[name])
            step.count(f"{name.removeprefix('now_')} present", _count(bench, f"{name} WHERE present"))
        step.count("near-duplicates", _clusters(run, bench))
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


def _clusters(run: Run, bench: Workbench) -> int:
    """Stage the representative of each medium with a hash, and return how many are not their own."""
    near = run.recipe.near_duplicates
    if near is None:
        run.staging.write(CLUSTERS.empty_table(), "merged", "clusters.arrow")
        return 0
    found: list[np.ndarray] = [np.empty(0, np.uint64)]

    def numbered() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in bench.ordered(_HASHED, "smallness", "media_id"):
            found.append(np.array([int(h, 16) for h in batch["phash"].to_pylist()], np.uint64))
            place = pa.array(np.arange(start, start + len(batch)))
            yield pa.record_batch([place, batch["media_id"], batch["phash"]], schema=HASHED)
            start += len(batch)

    path = run.staging.write_batches(numbered(), HASHED, "merged", "hashed.arrow")
    stands_for = representatives(_joined(found), near.max_distance)
    others = np.flatnonzero(stands_for != np.arange(len(stands_for), dtype=stands_for.dtype))
    bench.add_staged("hashed", [path], HASHED)
    bench.offer("stood_for", lambda: pa.table({"place": others, "by": stands_for[others]}))
    bench.stage(_CLUSTERS, "merged", "clusters.arrow", schema=CLUSTERS)
    return len(others)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Return the parts as one, and let go of them."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _grouped(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield each medium once with all its places; takes a medium and a place a row, sorted."""
    held = pa.record_batch(
        [pa.array([], pa.string())] * 2, names=["media_id", "locator"]
    )  # may go on in what follows
    for batch in rows:
        held = pa.concat_batches([held, batch.rename_columns(held.schema.names)])
        ids = held["media_id"]
        if not len(ids):
            continue
        last = pc.index(ids, ids[len(ids) - 1]).as_py()
        yield _listed(held.slice(0, last))
        held = held.slice(last)
    yield _listed(held)


def _listed(rows: pa.RecordBatch) -> pa.RecordBatch:
    ids = rows["media_id"]
    is_first = pc.not_equal(ids.slice(1), ids.slice(0, max(0, len(ids) - 1)))
    starts = np.flatnonzero(np.append([True] * bool(len(ids)), is_first.to_numpy(zero_copy_only=False)))
    ends = pa.array(np.append(starts, len(ids)), pa.int32())
    return pa.record_batch(
        [ids.take(pa.array(starts)), pa.ListArray.from_arrays(ends, rows["locator"])], schema=FOUND
    )


def _count(bench: Workbench, what: str) -> int:
    return int(bench.rows(f"SELECT count(*) FROM {what}")[0][0])
