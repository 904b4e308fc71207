"""Bring what was found together with the snapshot: what is there now, each thing once.

Exact duplicates are merged by their digest: one medium, all its texts and places. Near-duplicates are only
recorded here; what becomes of them is a rule of the recipe. Every result is narrow (no pixels, no vectors), so
its size is that of the keys. Beside what a thing is now stands what the snapshot says of it, and where: whoever decides
and publishes needs no join with the snapshot's tables to see what differs.

Whether a thing of the snapshot is still there, and where, is looked into for those that a changed or removed source had or
has: of the others it stands in the snapshot.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.batch import empty_on_disk
from schemas.tables import MEDIA, PAIRS, SOURCES, TEXTS
from storage.workbench import Workbench, workbench
from tasks.filters._hamming import representatives
from tasks.ingest import Planned
from tasks.run import Job, Run
from tasks.shards.inspect import STAGED

ADDRESS = pa.field("address", pa.uint64())  # where the snapshot has the row; null: it is new
WAS = [
    pa.field("was_present", pa.bool_()),
    pa.field("was_kept", pa.bool_()),
    pa.field("was_dropped_by", pa.string()),
]
NOW_SOURCES = pa.schema(
    [
        SOURCES.schema.field(n)
        for n in ("source_id", "source", "locator", "fingerprint", "media_id", "text_ids", "status")
    ]
    + [pa.field("quarantine_reason", pa.string()), pa.field("present", pa.bool_()), ADDRESS]
    + [pa.field("is_reread", pa.bool_())]  # something was found that the snapshot has otherwise, or not
    + [pa.field("was_outcome", pa.string()), pa.field("was_reason", pa.string()), WAS[0]]
)
NOW_MEDIA = pa.schema(
    [
        MEDIA.schema.field(n)
        for n in ("media_id", "modality", "width_px", "height_px", "phash", "locators", "present")
    ]
    + [ADDRESS, pa.field("is_fresh", pa.bool_())]  # read in this run
    + [pa.field("is_moved", pa.bool_())]  # found at other places than the snapshot says
    + [pa.field("was_near", pa.string()), *WAS]  # its cluster in the snapshot; null: itself
)
NOW_TEXTS = pa.schema([*(TEXTS.schema.field(n) for n in ("text_id", "text", "present")), ADDRESS, *WAS])
NOW_PAIRS = pa.schema(
    [PAIRS.schema.field(n) for n in ("pair_id", "media_id", "text_id", "role", "present")]
    + [ADDRESS, pa.field("was_role", pa.string()), *WAS]
)
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

WAS_SAID = "{b}.present AS was_present, {b}.kept AS was_kept, {b}.dropped_by AS was_dropped_by"
_OLD = WAS_SAID.format(b="b")
_TOLD = WAS_SAID.format(b="t")
WAS_NEAR = "CASE WHEN {b}.cluster_id <> {b}.media_id THEN {b}.cluster_id END AS was_near"

# What the snapshot says of what was read in this run.
_TOLD_SOURCES = """
SELECT _rowaddr, source_id, fingerprint, media_id, text_ids, status, outcome, reason, present FROM addressed_sources
SEMI JOIN staged_sources USING (source_id)
"""
_NOW_SOURCES = """
SELECT s.source_id, s.source, s.locator, s.fingerprint, s.media_id, s.text_ids, s.status, s.reason AS quarantine_reason,
       true AS present, t._rowaddr AS address, (s.fingerprint, s.media_id, s.text_ids, s.status)
         IS DISTINCT FROM (t.fingerprint, t.media_id, t.text_ids, t.status) AS is_reread,
       t.outcome AS was_outcome, t.reason AS was_reason, t.present AS was_present
FROM staged_sources s LEFT JOIN told_sources t USING (source_id)
UNION ALL
SELECT b.source_id, b.source, b.locator, b.fingerprint, b.media_id, b.text_ids, b.status,
       CASE WHEN b.status = 'quarantined' THEN b.reason END, b.present AND r.source_id IS NULL, b._rowaddr, false,
       b.outcome, b.reason, b.present
FROM addressed_sources b ANTI JOIN staged_sources s USING (source_id) LEFT JOIN removed r USING (source_id)
"""
# the row that speaks for a medium found several times in this run: the first place in order
_FRESH_MEDIA = """
SELECT m.media_id, arg_min(m.source_id, s.source || chr(0) || s.locator) AS source_id
FROM (SELECT media_id, source_id FROM staged_media) m JOIN staged_sources s USING (source_id) GROUP BY 1
"""
# What the sources that were read or are gone had in the snapshot, and what they have: only of that may the state be another.
_TOUCHED = {
    "touched_sources": "SELECT source_id FROM staged_sources UNION ALL SELECT source_id FROM removed",
    "before": "SELECT media_id, text_ids FROM base_sources SEMI JOIN touched_sources USING (source_id)",
    "touched_media": "SELECT media_id FROM before WHERE media_id IS NOT NULL UNION ALL "
    "SELECT media_id FROM staged_sources WHERE media_id IS NOT NULL",
}
_FOUND_MEDIA = """
SELECT media_id, source || '/' || locator AS locator FROM now_sources {touched} WHERE present AND media_id IS NOT NULL
"""
_NOW_MEDIA = """
SELECT * FROM read_media
UNION ALL
SELECT b.media_id, b.modality, b.width_px, b.height_px, b.phash, coalesce(o.locators, b.locators, []),
       o.locators IS NOT NULL OR b.present AND o.media_id IS NULL, b._rowaddr, false,
       o.locators IS NOT NULL AND o.locators IS DISTINCT FROM b.locators, {near}, {was}
FROM addressed_media b LEFT JOIN otherwise o USING (media_id) WHERE NOT coalesce(o.is_fresh, false)
""".format(near=WAS_NEAR.format(b="b"), was=_OLD)
_NOW_TEXTS = f"""
SELECT k.text_id, k.text, true AS present, t._rowaddr AS address, {_TOLD}
FROM (SELECT DISTINCT text_id, text FROM staged_texts) k LEFT JOIN told_texts t USING (text_id)
UNION ALL
SELECT b.text_id, b.text, b.present AND g.text_id IS NULL, b._rowaddr, {_OLD}
FROM addressed_texts b ANTI JOIN staged_texts s USING (text_id) LEFT JOIN gone_texts g USING (text_id)
"""
_NOW_PAIRS = f"""
SELECT k.*, true AS present, t._rowaddr AS address, t.role AS was_role, {_TOLD}
FROM (SELECT pair_id, media_id, text_id, min(role) AS role FROM staged_texts WHERE pair_id IS NOT NULL GROUP BY 1, 2, 3) k
LEFT JOIN told_pairs t USING (pair_id)
UNION ALL
SELECT b.pair_id, b.media_id, b.text_id, b.role, b.present AND g.pair_id IS NULL OR k.pair_id IS NOT NULL, b._rowaddr,
       b.role, {_OLD}
FROM addressed_pairs b ANTI JOIN staged_texts s USING (pair_id) LEFT JOIN gone_pairs g USING (pair_id)
LEFT JOIN back_pairs k USING (pair_id)
"""
# One join a statement, each result held or staged: what several joins of one statement hold, they cannot all spill. What was
# read or is gone is mostly little: so rows with texts pass by it.
_TOLD_MEDIA = """
SELECT _rowaddr, media_id, cluster_id, present, kept, dropped_by FROM addressed_media SEMI JOIN fresh_media USING (media_id)
"""
_READ_MEDIA = {
    "fresh": "SELECT media_id, modality, width_px, height_px, phash FROM staged_media "
    "SEMI JOIN fresh_media USING (source_id)",
    "fresh_told": f"SELECT f.*, t._rowaddr AS address, {WAS_NEAR.format(b='t')}, {_TOLD} FROM fresh f "
    "LEFT JOIN told_media t USING (media_id)",
    "read_media": "SELECT r.media_id, r.modality, r.width_px, r.height_px, r.phash, coalesce(f.locators, []) AS locators, "
    "f.media_id IS NOT NULL AS present, r.address, true AS is_fresh, true AS is_moved, "
    "r.was_near, r.was_present, r.was_kept, r.was_dropped_by "
    "FROM fresh_told r LEFT JOIN found_media f USING (media_id)",
}
# Of the snapshot's media, those that were read anew, those that are at other places, and those that are gone.
_FIRST = {
    "touched_once": "SELECT DISTINCT media_id FROM touched_media",
    "touched_found": "SELECT media_id, f.locators FROM touched_once LEFT JOIN found_media f USING (media_id)",
    "otherwise": "SELECT t.*, f.media_id IS NOT NULL AS is_fresh FROM touched_found t LEFT JOIN "
    "(SELECT media_id FROM fresh_media) f USING (media_id)",
}
_SECOND = {
    "told_texts": "SELECT _rowaddr, text_id, present, kept, dropped_by FROM addressed_texts "
    "SEMI JOIN staged_texts USING (text_id)",
    "touched_texts": "SELECT DISTINCT text_id FROM (SELECT unnest(text_ids) AS text_id FROM before UNION ALL "
    "SELECT text_id FROM base_pairs SEMI JOIN touched_media USING (media_id))",
    "found_texts": "SELECT DISTINCT text_id FROM (SELECT unnest(text_ids) AS text_id FROM now_sources WHERE present) "
    "SEMI JOIN touched_texts USING (text_id)",
    # No source has what the platform wrote: it is there as long as a medium it was written about is. A source may bring
    # synthetic texts too: those have no generator.
    "generated": "SELECT text_id FROM base_texts SEMI JOIN touched_texts USING (text_id) "
    "WHERE origin = 'synthetic' AND generator IS NOT NULL",
    "said": "SELECT p.text_id, p.media_id FROM base_pairs p SEMI JOIN generated g USING (text_id) WHERE p.present",
    "there": "SELECT DISTINCT media_id FROM now_sources SEMI JOIN said USING (media_id) WHERE present",
    "written": "SELECT DISTINCT text_id FROM said SEMI JOIN there USING (media_id)",
    "not_found": "SELECT text_id FROM touched_texts ANTI JOIN found_texts USING (text_id)",
    "gone_texts": "SELECT text_id FROM not_found ANTI JOIN written USING (text_id)",
}
_THIRD = {
    "told_pairs": "SELECT _rowaddr, pair_id, role, present, kept, dropped_by FROM addressed_pairs "
    "SEMI JOIN staged_texts USING (pair_id)",
    "asked_pairs": "SELECT pair_id, media_id, text_id FROM base_pairs SEMI JOIN touched_media USING (media_id) WHERE present",
    "found_pairs": "SELECT DISTINCT media_id, unnest(text_ids) AS text_id FROM now_sources "
    "SEMI JOIN touched_media USING (media_id) WHERE present",
    "unbound": "SELECT * FROM asked_pairs ANTI JOIN found_pairs USING (media_id, text_id)",
    "about": "SELECT * FROM unbound SEMI JOIN written USING (text_id)",
    "found_about": "SELECT media_id FROM found_media SEMI JOIN about USING (media_id)",
    "written_pairs": "SELECT pair_id FROM about SEMI JOIN found_about USING (media_id)",
    "pairs_of_gone": "SELECT pair_id FROM base_pairs SEMI JOIN gone_texts USING (text_id)",
    "unwritten": "SELECT pair_id FROM unbound ANTI JOIN written_pairs USING (pair_id)",
    "gone_pairs": "SELECT pair_id FROM unwritten UNION SELECT pair_id FROM pairs_of_gone",
    # What was written is said of a medium again where it is back, or where the same was written of another one since.
    "lost": "SELECT pair_id, media_id, text_id FROM base_pairs WHERE NOT present",
    "lost_texts": "SELECT text_id FROM base_texts SEMI JOIN lost USING (text_id) "
    "WHERE present AND origin = 'synthetic' AND generator IS NOT NULL",
    "standing_texts": "SELECT text_id FROM lost_texts ANTI JOIN gone_texts USING (text_id)",
    "lost_alone": "SELECT pair_id, media_id FROM lost SEMI JOIN standing_texts USING (text_id)",
    "standing_media": "SELECT media_id FROM now_media SEMI JOIN lost_alone USING (media_id) WHERE present",
    "back_pairs": "SELECT pair_id FROM lost_alone SEMI JOIN standing_media USING (media_id)",
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
        bench.add_addressed(SOURCES, MEDIA, TEXTS, PAIRS)
        _hold(run, bench, {"told_sources": _TOLD_SOURCES, **_TOUCHED})
        for name, sql in (("now_sources", _NOW_SOURCES), ("fresh_media", _FRESH_MEDIA)):
            bench.add_staged(name, [bench.stage(sql, "merged", f"{name}.arrow", schema=NOW[name])], NOW[name])
        found = _FOUND_MEDIA.format(touched="SEMI JOIN touched_media USING (media_id)" if run.base else "")
        path = run.staging.write_batches(
            _grouped(bench.ordered(found, "media_id", "locator")), FOUND, "merged", "found.arrow"
        )
        bench.add_staged("found_media", [path], FOUND)
        _hold(run, bench, {"told_media": _TOLD_MEDIA})
        for name, sql in _READ_MEDIA.items():
            bench.hold(name, sql)
        for first, name, sql in (
            (_FIRST, "now_media", _NOW_MEDIA), (_SECOND, "now_texts", _NOW_TEXTS), (_THIRD, "now_pairs", _NOW_PAIRS),
        ):  # fmt: skip
            _hold(run, bench, first)
            bench.add_staged(name, [bench.stage(sql, "merged", f"{name}.arrow", schema=NOW[name])], NOW[name])
            step.count(f"{name.removeprefix('now_')} present", _count(bench, f"{name} WHERE present"))
        step.count("near-duplicates", _clusters(run, bench))
    return Merged(planned)


def _hold(run: Run, bench: Workbench, statements: dict[str, str]) -> None:
    """Hold what is asked of the snapshot's rows; without a snapshot nothing is."""
    for name, sql in statements.items():
        bench.hold(name, sql if run.base else f"SELECT * FROM ({sql}) WHERE false")


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
    """Return the parts as one, in a file once they are many, and let go of them."""
    whole, done = empty_on_disk(sum(map(len, parts)), np.uint64), 0
    while parts:
        part = parts.pop(0)
        whole[done : done + len(part)] = part
        done += len(part)
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
