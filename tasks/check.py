"""Check a snapshot: every expectation of a suite, each result a row, and whether a tag may move to it."""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from schemas.digests import key
from schemas.errors import LakeError
from schemas.quality import EMBEDDINGS, OF_ROWS, Expectation, QualityRecipe
from schemas.settings import Settings
from schemas.tables import CONTENT, EMBEDDINGS_PREFIX, QUALITY, TAGS, TableSpec, embeddings
from storage import history
from storage import quality as log
from storage.database import LITTLE_MB, database, expect
from storage.lake import Lake, key_of
from storage.places import Place as Folder
from storage.quality import Checked
from storage.quoting import literals
from storage.scratch import scratch
from storage.staging import Staging
from storage.versions import Snapshot
from storage.windows import Windowed
from storage.workbench import Workbench, workbench
from tasks.events import GATE_FAILED, emit
from tasks.quality.measures import Measured, Place, measure
from tasks.quality.rows import ShardTally, Tally, check_batches, check_shard, shards_of
from tasks.run import Job, Step, Workers

FEW_ROWS = 20_000_000  # that take less than starting workers and having them import Great Expectations
JOINED = ("media", "texts", "pairs")  # what others are joined with; these pass by
SAMPLE = 200  # thumbnails
IMPORTS = "import checks"  # step of a run
NAMES = {
    "not-null": "expect_column_values_to_not_be_null",
    "between": "expect_column_values_to_be_between",
    "matches": "expect_column_values_to_match_regex",
    "in-set": "expect_column_values_to_be_in_set",
    "unit-vectors": "expect_column_values_to_be_unit_vectors",
    "decodes": "expect_column_values_to_decode",
}
MEASURE = "expect_measure_to_be_between"


def gate(job: Job, snapshot: Snapshot) -> str:
    """Move the recipe's tag to a snapshot if it is good enough, and return why it stays where it is; "" if it moved.

    A curation checks the snapshot, unless it was checked by the same suite. A review does not: its tag stays behind a
    snapshot that failed until the next curation.
    """
    run, tag, why = job.run, job.run.recipe.tag, ""
    if run.flow == "curate" and run.recipe.quality is not None:
        if not log.results(run.lake, snapshot.snapshot_id, run.recipe.quality.digest):
            with job.ledger.step(IMPORTS):  # seconds of a process, whatever there is to check
                importlib.import_module("tasks.quality.expectations")
        with job.ledger.step("check quality") as step:
            checked = check(
                run.lake,
                snapshot,
                run.recipe.quality,
                tag=tag,
                run_id=run.run_id,
                workers=job.workers,
                step=step,
            )
            for name, count in checked.counts.items():
                step.count(name, count)
            if why := said(checked.blocking):
                facts = {"message": why, "snapshot": snapshot.snapshot_id, "tag": tag, "run": run.run_id}
                emit(GATE_FAILED, lake=run.lake.uri, payload=facts)
    elif run.flow == "review" and (held := log.held(run.lake, tag, run.base)):
        why = f"{held} before it failed its check; the next curation checks again"
    if why:
        place = run.lake.tags().get(tag)
        if place == snapshot.snapshot_id:
            return f"tag {tag!r} is at {place} already, which would not pass now: {why}"
        stays = f"stays at {place}" if place else "is not made"
        return f"tag {tag!r} {stays}: {snapshot.snapshot_id}: {why}"
    run.lake.move_tag(tag, snapshot.snapshot_id, run_id=run.run_id)
    return ""


def said(bad: Sequence[Mapping[str, Any]]) -> str:
    """Return what is wrong in a line; "" if nothing is."""
    return "; ".join(f"{row['name']} {row['status']} ({row['reason']})" for row in bad)[:2000]


def check(
    lake: Lake,
    snapshot: Snapshot,
    quality: QualityRecipe,
    *,
    tag: str,
    run_id: str,
    workers: Workers | None = None,
    step: Step | None = None,
    again: bool = False,
) -> Checked:
    """Check a snapshot by a suite and log what is found; a check that was made before is read instead.

    Args:
        lake: The lake.
        snapshot: The snapshot.
        quality: The suite.
        tag: Where the tag pointed before the snapshot is what drift is measured against.
        run_id: Goes with the results.
        workers: Where shards of large tables are looked at; none: here.
        step: What costs are added to.
        again: Check even if it was done before.
    """
    digest = quality.digest
    if not again and (known := log.results(lake, snapshot.snapshot_id, digest)):
        return Checked(snapshot.snapshot_id, tuple(known), is_new=False)
    before = baseline(lake, snapshot, tag)
    suite = quality.suite()
    parts = [(table, _of(table, suite)) for table in _tables(suite, snapshot)]
    found: list[dict[str, Any]] = []
    with _bench(lake, snapshot, before) as bench:
        tallies = _tallied(lake, snapshot, parts, workers, step)
        for table, wanted in parts:
            if table not in snapshot.versions:
                nothing = Measured(None, said="the snapshot has no such table")
                found += [_row(each, table, nothing) for each in wanted]
                continue
            place = _place(lake, snapshot, before, bench, table)
            found += [
                _of_tally(each, table, tallies[table][each.name]) for each in wanted if each.check in OF_ROWS
            ]
            found += [
                _of_tally(each, table, _sampled(each, place)) for each in wanted if each.check == "decodes"
            ]
            counted = [each for each in wanted if each.check not in OF_ROWS and each.check != "decodes"]
            found += _validated(table, [(each, measure(each, place)) for each in counted])
    now = datetime.now(UTC)
    rows = [
        row | {
            "quality_id": key(snapshot.snapshot_id, digest, row["table"], row["name"], now.isoformat()),
            "snapshot_id": snapshot.snapshot_id, "suite_digest": digest, "run_id": run_id,
            "against": before.snapshot_id if before else "", "checked_at": now,
        }
        for row in sorted(found, key=lambda row: (row["table"], row["name"]))
    ]  # fmt: skip
    lake.append_log(QUALITY, *rows)
    return Checked(snapshot.snapshot_id, tuple(rows), is_new=True)


def baseline(lake: Lake, snapshot: Snapshot, tag: str) -> Snapshot | None:
    """Return the snapshot before this one that a tag pointed to last and whose data is still there; None without one."""
    places = [
        row["snapshot_id"]
        for row in sorted(lake.read(TAGS.name).to_pylist(), key=lambda row: (row["moved_at"], row["move_id"]))
        if row["tag"] == tag and row["snapshot_id"] is not None
    ]
    number = int(snapshot.snapshot_id[1:])
    earlier = [place for place in places if int(place[1:]) < number]
    if not earlier:
        return None
    before = lake.snapshot(earlier[-1])
    try:
        history.check_readable(lake, before)
    except LakeError:
        return None
    return before


def _tables(suite: Iterable[Expectation], snapshot: Snapshot) -> list[str]:
    """Return the tables a suite speaks of: in place of `embeddings` every table of vectors there is."""
    vectors = sorted(table for table in snapshot.versions if table.startswith(EMBEDDINGS_PREFIX))
    named = dict.fromkeys(each.table for each in suite)
    return [table for name in named for table in (vectors or [name] if name == EMBEDDINGS else [name])]


def _of(table: str, suite: Iterable[Expectation]) -> list[Expectation]:
    return [
        each for each in suite
        if each.table == table or (each.table == EMBEDDINGS and table.startswith(EMBEDDINGS_PREFIX))
    ]  # fmt: skip


@contextmanager
def _bench(lake: Lake, snapshot: Snapshot, before: Snapshot | None) -> Iterator[Workbench]:
    with (
        database(Settings().join_memory, little=LITTLE_MB),  # its own: a run's around it may be full
        scratch("check") as folder,
        workbench(lake, snapshot, Staging(Folder(folder), "check")) as bench,
    ):
        sides = [snapshot, *([before] if before else [])]
        expect(max(side.row_counts.get(table, 0) for side in sides for table in JOINED))
        for side, of in (("base", snapshot), ("was", before)):
            for table in of.versions if of else ():
                bench.offer(f"{side}_{table}", partial(_windowed, lake, table, of))
        yield bench


def _windowed(lake: Lake, table: str, of: Snapshot | None) -> Windowed:
    return Windowed(lake.dataset(table, of, scanned=True))


def _place(lake: Lake, snapshot: Snapshot, before: Snapshot | None, bench: Workbench, table: str) -> Place:
    schema = lake.dataset(table, snapshot).schema
    spec: TableSpec | None = CONTENT.get(table)
    if table.startswith(EMBEDDINGS_PREFIX):
        spec = embeddings(table, schema.field("vector").type.list_size)
    there = frozenset(before.versions) if before else frozenset()
    wanted = spec.stored if spec else None
    return Place(bench, table, key_of(table), frozenset(snapshot.versions), there, wanted, schema)


def _tallied(
    lake: Lake,
    snapshot: Snapshot,
    parts: Sequence[tuple[str, list[Expectation]]],
    workers: Workers | None,
    step: Step | None,
) -> dict[str, dict[str, Tally]]:
    """Return {table: {expectation: what was found of single rows}}; shards of much go to workers."""
    found: dict[str, dict[str, Tally]] = {}
    table_of: dict[str, str] = {}
    shards = []
    for table, wanted in parts:
        found[table] = {each.name: Tally() for each in wanted if each.check in OF_ROWS}
        if table in snapshot.versions:
            dataset = lake.dataset(table, snapshot)
            table_of[dataset.uri] = table
            shards += shards_of(dataset, key_of(table), wanted, lake.storage_options)
    is_much = workers is not None and sum(shard.rows for shard in shards) > FEW_ROWS
    done: Iterable[ShardTally] = map(check_shard, shards)
    if workers is not None and is_much:
        done = workers.map(check_shard, shards, label="check quality")
    for each in sorted(done, key=lambda each: (each.shard.uri, each.shard.start)):
        tallies = found[table_of[each.shard.uri]]
        for name, tally in each.tallies.items():
            tallies[name] += tally
        if step is not None and is_much:  # what is done here is counted as the driver's
            step.add(each.cost)
    return found


def _sampled(expectation: Expectation, place: Place) -> Tally:
    """Look at a sample of a column that is too large to read whole, the same sample for the same seed."""
    bench, column = place.bench, expectation.column
    size, seed = int(expectation.params.get("sample", SAMPLE)), int(expectation.params.get("seed", 0))
    ids = bench.rows(
        f"SELECT {place.key} FROM {place.base} ORDER BY md5({place.key} || ':{seed}'), 1 LIMIT {size}"
    )
    if not ids:
        return Tally()
    listed = literals(str(each) for (each,) in ids)
    lake = bench.lake
    table = lake.dataset(place.table, bench.base).to_table(
        columns=[place.key, column], filter=f"{place.key} IN ({listed})"
    )
    return check_batches(iter(table.to_batches()), place.key, [expectation])[expectation.name]


def _validated(table: str, measured: Sequence[tuple[Expectation, Measured]]) -> list[dict[str, Any]]:
    """Return a row per number that was measured; Great Expectations says which lie within their bounds."""
    numbers = {each.name: found.value for each, found in measured if found.value is not None}
    passed: dict[str, bool] = {}
    if numbers:
        import pandas as pd

        from tasks.quality import expectations as gx

        frame = pd.DataFrame({name: [value] for name, value in numbers.items()}, dtype="float64")
        suite = [gx.of_measure(each) for each, _ in measured if each.name in numbers]
        for result in gx.validated(gx.batches(), frame, suite):
            passed[result.expectation_config.meta["name"]] = bool(result.success)
    return [_row(each, table, found, passed.get(each.name)) for each, found in measured]


def _of_tally(expectation: Expectation, table: str, tally: Tally) -> dict[str, Any]:
    if tally.raised or not tally.rows:
        return _row(expectation, table, Measured(None, said="there are no rows", raised=tally.raised))
    share = tally.unexpected / tally.rows
    found = Measured(share, tally.rows, tally.unexpected, tally.offending)
    return _row(expectation, table, found, expectation.passes(share))


def _row(expectation: Expectation, table: str, found: Measured, passed: bool | None = None) -> dict[str, Any]:
    """Return a row of `quality`, all but what all rows of a check share."""
    status = (
        "raised" if found.raised else "skipped" if found.value is None else "passed" if passed else "failed"
    )
    reason = found.raised or found.said
    if status == "failed":
        about = f"{found.unexpected:,} of {found.rows:,} rows" if found.unexpected is not None else found.said
        reason = f"{found.value:.4g}, wanted {expectation.threshold}{f': {about}' if about else ''}"
    return {
        "table": table,
        "name": expectation.name,
        "expectation": NAMES.get(expectation.check, MEASURE),
        "column": expectation.column,
        "parameters": json.dumps({"check": expectation.check, **expectation.params}, sort_keys=True),
        "severity": expectation.severity,
        "status": status,
        "observed": found.value,
        "threshold": expectation.threshold,
        "rows": found.rows,
        "unexpected": found.unexpected,
        "share": found.value if found.unexpected is not None else None,
        "offending": sorted(found.offending),
        "reason": reason,
    }
