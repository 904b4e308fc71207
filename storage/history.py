"""What a lake held and holds: its versions one by one, what each was made with, and whether its data is still there.

A snapshot stays on record for ever; its data stays as long as something protects it. See `storage.retention`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from schemas.errors import DataError, LakeError
from storage.lake import Lake
from storage.versions import Snapshot

State = Literal["kept", "loose", "gone"]
SAID: dict[State, str] = {
    "kept": "kept",  # every table is protected from clean-up
    "loose": "unprotected",  # still there, and a clean-up may remove it
    "gone": "gone",
}
RESTORED = re.compile(r"restore (s\d+)")  # the run of a snapshot that makes an earlier one the newest again
_OF_A_RUN = ("recipe_json", "encoders", "counts", "costs", "cost_per_1000_kept")  # JSON


@dataclass(frozen=True)
class Version:
    """A snapshot as a line of a list.

    Args:
        snapshot: The snapshot.
        tags: Tags that point at it, sorted.
        flow: Flow that made it: curate, caption, restore, maintain ...; "" where no run is on record.
        changed: What differs from its parent, in a line; counts and digests only, no row is read.
        data: Whether its tables can still be read.
        missing: Tables of it that cannot.
    """

    snapshot: Snapshot
    tags: tuple[str, ...]
    flow: str
    changed: str
    data: State
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableFacts:
    """A table of a snapshot.

    Args:
        table: Its name.
        rows: Stored rows.
        version: Its version in Lance.
        digest: Over its content.
        kept: Rows that are kept; None where rows are not kept or dropped, or cannot be read.
        readable: Whether its data is still there.
    """

    table: str
    rows: int
    version: int
    digest: str
    kept: int | None
    readable: bool


@dataclass(frozen=True)
class Described:
    """All that is on record of a snapshot.

    Args:
        version: As in the list.
        tables: Its tables, sorted by name.
        run: The row of `runs` that made it, its JSON read; None for a restored or compacted snapshot.
        recipes: {flow: its recipe} in force at the snapshot, from the runs that led to it.
    """

    version: Version
    tables: tuple[TableFacts, ...]
    run: dict[str, Any] | None
    recipes: dict[str, dict[str, Any]]


def versions(lake: Lake) -> list[Version]:
    """Return every snapshot of a lake with what is known of it, oldest first."""
    found = lake.snapshots()
    by_id = {snapshot.snapshot_id: snapshot for snapshot in found}
    flows = {row["run_id"]: row["flow"] for row in lake.runs()}
    states, tags = _states(lake, found), lake.tags()
    return [
        Version(
            snapshot,
            tuple(sorted(tag for tag, to in tags.items() if to == snapshot.snapshot_id)),
            flows.get(snapshot.run_id) or _unrecorded(snapshot),
            _changed(by_id.get(snapshot.parent_id), snapshot),
            *states[snapshot.snapshot_id],
        )
        for snapshot in found
    ]


def describe(lake: Lake, ref: str) -> Described:
    """Return all that is on record of a snapshot.

    Args:
        lake: The lake.
        ref: Snapshot id, tag or digest.

    Raises:
        NoSuchSnapshot: Nothing has this name.
    """
    snapshot = lake.snapshot(ref)
    version = next(v for v in versions(lake) if v.snapshot.snapshot_id == snapshot.snapshot_id)
    tables = []
    for table, number in sorted(snapshot.versions.items()):
        kept = None
        if table not in version.missing:
            dataset = lake.dataset(table, snapshot)
            if "kept" in dataset.schema.names:
                kept = dataset.count_rows(filter="kept")
        tables.append(
            TableFacts(
                table,
                snapshot.row_counts.get(table, 0),
                number,
                snapshot.digests.get(table, ""),
                kept,
                table not in version.missing,
            )
        )
    runs = led_by(lake, snapshot)
    made = next((row for row in runs.values() if row["run_id"] == snapshot.run_id), None)
    return Described(
        version, tuple(tables), made, {flow: row["recipe_json"] for flow, row in sorted(runs.items())}
    )


def led_by(lake: Lake, snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    """Return {flow: the last run of it that led to a snapshot}, as rows of `runs` with their JSON read.

    Runs are followed from the snapshot to its parent, and from a restored one to the one it restored: what ran in
    between did not lead to it.
    """
    by_id = {each.snapshot_id: each for each in lake.snapshots()}
    rows = {row["run_id"]: row for row in lake.runs()}
    found: dict[str, dict[str, Any]] = {}
    here: Snapshot | None = snapshot
    while here is not None:
        row = rows.get(here.run_id)
        if row is not None and row["flow"] not in found:
            found[row["flow"]] = dict(row) | {name: json.loads(row[name] or "null") for name in _OF_A_RUN}
        restored = RESTORED.fullmatch(here.run_id)
        here = by_id.get(restored[1] if restored else here.parent_id)
    return found


def check_readable(lake: Lake, snapshot: Snapshot, tables: Iterable[str] | None = None) -> None:
    """See to it that a snapshot's data is still there.

    Args:
        lake: The lake.
        snapshot: The snapshot.
        tables: Which of its tables; all by default.

    Raises:
        LakeError: It has been let go.
    """
    wanted = set(snapshot.versions if tables is None else tables)
    _, missing = _states(lake, [snapshot])[snapshot.snapshot_id]
    gone = [table for table in missing if table in wanted]
    if gone:
        there = [v.snapshot.snapshot_id for v in versions(lake) if v.data != "gone"]
        raise LakeError(
            f"the data of {snapshot.snapshot_id} has been let go ({', '.join(gone)}); it is on record but cannot be "
            f"read. Still there: {', '.join(there[-5:])}"
        )


def tag(lake: Lake, name: str, ref: str | None) -> Snapshot | None:
    """Point a tag at a snapshot and protect its data from clean-up; or remove the tag (`ref` None).

    Returns:
        The snapshot; None where the tag was removed.

    Raises:
        DataError: The name is no name for a tag, or no tag of this name is there to remove.
        LakeError: The snapshot's data has been let go.
        LakeBusy: Its data is unprotected, and another run is at work, which may be about to remove it.
        NoSuchSnapshot: Nothing has the name `ref`.
    """
    if ref is None:
        if name not in lake.tags():
            raise DataError(
                f"there is no tag {name!r} to remove; there are {', '.join(lake.tags()) or 'none'}"
            )
        lake.move_tag(name, None)
        return None
    if not name.strip() or name != name.strip() or not name.isprintable() or re.fullmatch(r"s\d+", name):
        raise DataError(
            f"a tag is a word such as 'v3' that is not the id of a snapshot, found {name!r}; choose another name"
        )
    snapshot = lake.snapshot(ref)
    check_readable(lake, snapshot)
    if _states(lake, [snapshot])[snapshot.snapshot_id][0] == "loose":
        with lake.writer():
            check_readable(lake, snapshot)
            protect(lake, snapshot)
            lake.move_tag(name, snapshot.snapshot_id)
    else:
        lake.move_tag(name, snapshot.snapshot_id)
    return snapshot


def restore(lake: Lake, ref: str) -> Snapshot:
    """Make an earlier snapshot the newest again, as a new snapshot. Nothing in between is lost, tags stay.

    Raises:
        LakeError: Its data has been let go.
        LakeBusy: Another run is writing.
        NoSuchSnapshot: Nothing has this name.
    """
    check_readable(lake, lake.snapshot(ref))
    return lake.restore(ref)


def protect(lake: Lake, snapshot: Snapshot) -> None:
    """Keep the data of a snapshot from clean-up, where nothing does yet. Only while holding the writer."""
    for table, version in snapshot.versions.items():
        dataset = lake.latest(table)
        if dataset is not None and snapshot.snapshot_id not in dataset.tags.list():
            dataset.tags.create(snapshot.snapshot_id, version)


def thresholds(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return {rule: its threshold} as decisions write it, of recipes by flow.

    Args:
        recipes: As in `Described`; of other flows than curate and caption nothing is read.
    """
    found: dict[str, list[str]] = {}
    curation = recipes.get("curate") or {}
    for rule in [*(curation.get("filters") or ()), *(curation.get("pair_rules") or ())]:
        said = [
            f"{name} {float(rule[name]):g}"
            for name in ("at_least", "at_most", "at_most_quantile", "floor")
            if rule.get(name) is not None
        ]
        found.setdefault(rule["method"]["name"], []).append(", ".join(said))
    if near := curation.get("near_duplicates"):
        found["near-duplicate"] = [f"max_distance {near['max_distance']}"]
    if study := curation.get("correspondence"):
        found["correspondence: noisy"] = [f"P(true) at most {study['noisy_below']:g}"]
        found["correspondence: disputed"] = [f"P(true) under {study['clean_above']:g}"]
    if gates := (recipes.get("caption") or {}).get("gates"):
        said = [f"{gate['method']['name']} under {gate['at_least']:g}" for gate in gates]
        found["caption: refused"] = [", ".join(said)]
    return {rule: " or ".join(said) for rule, said in found.items()}


def _states(lake: Lake, snapshots: Iterable[Snapshot]) -> dict[str, tuple[State, tuple[str, ...]]]:
    """Return {snapshot id: whether its data is there, tables of which it is not}."""

    @cache
    def of_table(table: str) -> tuple[set[int], set[int]]:
        """Return the versions that are there, and those of them that are protected."""
        dataset = lake.latest(table)
        if dataset is None:
            return set(), set()
        tagged = {int(entry["version"]) for entry in dataset.tags.list().values()}
        return {int(entry["version"]) for entry in dataset.versions()}, tagged

    found: dict[str, tuple[State, tuple[str, ...]]] = {}
    for snapshot in snapshots:
        wanted = sorted(snapshot.versions.items())
        missing = tuple(table for table, version in wanted if version not in of_table(table)[0])
        safe = all(version in of_table(table)[1] for table, version in wanted)
        found[snapshot.snapshot_id] = ("gone" if missing else "kept" if safe else "loose", missing)
    return found


def _changed(parent: Snapshot | None, snapshot: Snapshot) -> str:
    """Say in a line what differs from the parent, from counts and digests."""
    if parent is None:
        return "the first"
    said = []
    for table in sorted(parent.versions.keys() | snapshot.versions.keys()):
        if parent.digests.get(table) == snapshot.digests.get(table):
            continue
        more = snapshot.row_counts.get(table, 0) - parent.row_counts.get(table, 0)
        if table not in parent.versions:
            said.append(f"{table} new ({more})")
        elif table not in snapshot.versions:
            said.append(f"{table} gone ({-more})")
        else:
            said.append(f"{table} {more:+d}" if more else f"{table} changed")
    if parent.recipe_digest != snapshot.recipe_digest:
        said.insert(0, "recipe")
    if not said:
        same = "same content"
        return same if parent.versions == snapshot.versions else f"{same}, stored anew"
    return ", ".join(said)


def _unrecorded(snapshot: Snapshot) -> str:
    """Return what made a snapshot of which no run is on record: its run says it in a word."""
    word, _, rest = snapshot.run_id.partition(" ")
    return word if rest else ""


__all__ = [
    "SAID", "Described", "State", "TableFacts", "Version", "check_readable", "describe", "led_by", "protect",
    "restore", "tag", "thresholds", "versions",
]  # fmt: skip
