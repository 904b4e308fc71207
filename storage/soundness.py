"""Is what snapshots name still there, and is it what was written? Files of every table are looked at, and digests compared."""

from collections.abc import Iterator
from dataclasses import dataclass

import lance
import pyarrow as pa

from schemas.errors import LakeDamaged, LakeError
from schemas.tables import CONTENT, EMBEDDINGS_PREFIX, LOGS, TableSpec, embeddings
from storage import panics, rows
from storage.lake import Lake
from storage.versions import Snapshot
from storage.windows import in_windows

_TRIES = 8  # manifests of a table that may be damaged at once


@dataclass(frozen=True)
class Damage:
    """Something wrong with a table.

    Args:
        snapshot_id: The snapshot that names it; "" for a log.
        table: The table.
        what: What is wrong.
    """

    snapshot_id: str
    table: str
    what: str


def check(lake: Lake, snapshot: Snapshot, *, deep: bool = False) -> list[Damage]:
    """Return what is wrong with a snapshot; nothing where its tables are all there and have the digests on record.

    Args:
        lake: The lake.
        snapshot: The snapshot.
        deep: Read every row and compute its digest anew. Without it only files, counts and the digests kept beside the
            rows are looked at, which does not notice a changed byte in another column. Thumbnails, vectors and values of
            scores are part of no digest.
    """
    found = []
    for table, version in sorted(snapshot.versions.items()):
        if what := _wrong(lake, snapshot, table, version, deep):
            found.append(Damage(snapshot.snapshot_id, table, what))
    return found


def check_logs(lake: Lake) -> list[Damage]:
    """Return which logs cannot be read. Without `snapshots` and `tags` nothing else can be found."""
    found = []
    for name in LOGS:
        try:
            dataset = lake.latest(name)
            if dataset is not None:
                with panics.as_errors():
                    dataset.to_table()
        except LakeError as error:
            found.append(Damage("", name, str(error)))
        except Exception as error:  # Lance raises what it likes
            found.append(Damage("", name, _said(error)))
    return found


def newest_sound(lake: Lake, *, but: Snapshot | None = None, deep: bool = False) -> Snapshot | None:
    """Return the newest snapshot with which nothing is wrong; None where there is none.

    Args:
        lake: The lake.
        but: Not this one.
        deep: As in `check`.
    """
    for snapshot in reversed(lake.snapshots()):
        if (but is None or snapshot.snapshot_id != but.snapshot_id) and not check(lake, snapshot, deep=deep):
            return snapshot
    return None


def explained(lake: Lake, snapshot: Snapshot, error: Exception) -> LakeDamaged | None:
    """Return what to say where a read failed because of damage; None where it failed for another reason.

    Args:
        lake: The lake.
        snapshot: What was read.
        error: How it failed.
    """
    damage = check(lake, snapshot)
    if not damage:
        return None
    sound = newest_sound(lake, but=snapshot)
    do = f"`xmodal versions restore {sound.snapshot_id}` makes the newest sound version the newest again" if sound else (
        "no earlier version is sound: bring the lake back from a copy, or curate into a new one"
    )  # fmt: skip
    first = damage[0]
    more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
    return LakeDamaged(
        f"{lake.uri} is damaged: {snapshot.snapshot_id}, table {first.table}: {first.what}{more}; {do}, and "
        f"`xmodal doctor` names all that is wrong. The read said: {_said(error)}"
    )


def _wrong(lake: Lake, snapshot: Snapshot, table: str, version: int, deep: bool) -> str:
    """Say what is wrong with one version of a table; "" if nothing is."""
    try:
        with panics.as_errors():
            dataset = lance.dataset(lake._table_uri(table), version=version, storage_options=lake._options)
    except Exception as error:
        return f"its version {version} cannot be opened: {_said(error)}"
    for path, size in _files(dataset):
        there = _size(lake, f"{table}.lance/{path}")
        if there is None:
            return f"{path} is missing"
        if size is not None and there != size:
            return f"{path} has {there} bytes, {size} were written"
    try:
        with panics.as_errors():
            return _differs(dataset, snapshot, table, deep)
    except Exception as error:
        return f"it cannot be read: {_said(error)}"


def _differs(dataset: lance.LanceDataset, snapshot: Snapshot, table: str, deep: bool) -> str:
    """Say how rows differ from those on record; "" if they do not."""
    digest = rows.table_digest(in_windows(dataset, ["row_digest"]))
    if (count := dataset.count_rows()) != snapshot.row_counts[table]:
        return f"it has {count} rows, {snapshot.row_counts[table]} are on record"
    if digest != snapshot.digests[table]:
        return "its rows are not those on record: the digests differ"
    if (
        deep
        and (spec := _spec(table, dataset)) is not None
        and rows.table_digest(_digested(dataset, spec)) != digest
    ):
        return "its rows are not what was written: digests computed anew differ"
    return ""


def _files(dataset: lance.LanceDataset) -> Iterator[tuple[str, int | None]]:
    """Yield the files a version names, and their bytes where it says so."""
    for fragment in dataset.get_fragments():
        for file in fragment.metadata.files:
            yield f"data/{file.path}", file.file_size_bytes
        if deleted := fragment.deletion_file():
            yield deleted, None


def _size(lake: Lake, path: str) -> int | None:
    try:
        return int(lake.place.fs.size(lake.place.path(*path.split("/"))))
    except FileNotFoundError:
        return None


def _spec(table: str, dataset: lance.LanceDataset) -> TableSpec | None:
    if table.startswith(EMBEDDINGS_PREFIX):
        return embeddings(table, dataset.schema.field("vector").type.list_size)
    return CONTENT.get(table)


def _digested(dataset: lance.LanceDataset, spec: TableSpec) -> Iterator[pa.RecordBatch]:
    for batch in in_windows(dataset, spec.schema.names, batch=2048):
        yield from rows.with_digest(pa.Table.from_batches([batch]), spec).to_batches()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def set_aside(lake: Lake) -> list[str]:
    """Rename manifests that cannot be read, so that tables open at the newest version that can; return their names.

    Only while holding the writer. A table whose newest manifest is damaged can be neither written nor restored before.
    """
    moved = []
    for table in {table for snapshot in lake.snapshots() for table in snapshot.versions}:
        for _ in range(_TRIES):
            try:
                lake.latest(table)
                break
            except Exception:
                path = _newest_manifest(lake, table)
                if path is None:
                    break
                lake.place.fs.mv(path, f"{path}.damaged")
                moved.append(path.rsplit("/", 2)[0].rsplit("/", 1)[-1] + "/" + path.rsplit("/", 1)[-1])
    return sorted(moved)


def _newest_manifest(lake: Lake, table: str) -> str | None:
    folder = lake.place.path(f"{table}.lance", "_versions")
    lake.place.fs.invalidate_cache()
    names = [str(path) for path in lake.place.fs.ls(folder, detail=False) if str(path).endswith(".manifest")]
    return min(names) if names else None  # they are named by how far they are from the last of all numbers


__all__ = ["Damage", "check", "check_logs", "explained", "newest_sound", "set_aside"]
