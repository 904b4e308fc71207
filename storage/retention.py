"""Let old versions go: say first which, what protects the others, and how many bytes come free; then do it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import lance

from schemas.errors import DataError
from schemas.tables import LOGS
from storage import history, upkeep
from storage.lake import Lake
from storage.versions import Snapshot


@dataclass(frozen=True)
class LetGo:
    """A snapshot whose data would go.

    Args:
        snapshot_id: The snapshot; it stays on record.
        created_at: When it was committed, UTC.
        run_id: What made it.
        own_bytes: Bytes that no other snapshot needs; what it shares with others that go comes free with the last of them.
    """

    snapshot_id: str
    created_at: datetime
    run_id: str
    own_bytes: int


@dataclass(frozen=True)
class Protected:
    """A snapshot whose data stays.

    Args:
        snapshot_id: The snapshot.
        by: What protects it: "newest", "one of the newest 10", "tag v3".
    """

    snapshot_id: str
    by: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What letting old versions go would do.

    Args:
        keep: Newest snapshots that stay whole.
        let_go: Snapshots whose data would go, oldest first.
        protected: Those that stay.
        bytes_of: {table: bytes that come free}, of tables where any do.
        unnamed_bytes: Of these, bytes that no snapshot names: left by unfinished runs and by each step of finished ones.
        exact: Whether the bytes are exact. On an object store files that no version names are spared for a week.
    """

    keep: int
    let_go: tuple[LetGo, ...]
    protected: tuple[Protected, ...]
    bytes_of: dict[str, int]
    unnamed_bytes: int
    exact: bool

    @property
    def freed_bytes(self) -> int:
        """Bytes that come free."""
        return sum(self.bytes_of.values())


@dataclass(frozen=True)
class Done:
    """What was done.

    Args:
        plan: What was to be done, as found while holding the lake.
        let_go: Snapshots that are no longer protected.
        spared: Snapshots that a tag was put on meanwhile: they are protected again.
        freed_bytes: Bytes freed.
    """

    plan: Plan
    let_go: tuple[str, ...]
    spared: tuple[str, ...]
    freed_bytes: int


def plan(lake: Lake, *, keep: int = 10) -> Plan:
    """Return what letting all but the newest and the tagged snapshots go would do. Nothing is changed.

    Args:
        lake: The lake.
        keep: Newest snapshots to keep whole, tagged or not.

    Raises:
        ValueError: `keep` is under 1.
    """
    if keep < 1:
        raise ValueError(f"keep at least the newest snapshot; found keep={keep}")
    snapshots = lake.snapshots()
    tags = lake.tags()
    protected = []
    for place, snapshot in enumerate(snapshots):
        by = [f"tag {tag}" for tag, to in sorted(tags.items()) if to == snapshot.snapshot_id]
        if place == len(snapshots) - 1:
            by.insert(0, "newest")
        elif place >= len(snapshots) - keep:
            by.append(f"one of the newest {keep}")
        if by:
            protected.append(Protected(snapshot.snapshot_id, tuple(by)))
    stays = {each.snapshot_id for each in protected}
    tables = {table: _Files(lake, table) for table in _cleaned(lake)}
    going = [s for s in snapshots if s.snapshot_id not in stays and _is_there(tables, s)]
    names = {s.snapshot_id for s in going}

    bytes_of: dict[str, int] = {}
    own = dict.fromkeys(sorted(names), 0)
    unnamed = 0
    for table, files in tables.items():
        freed = files.freed(files.staying(names))
        users: dict[str, set[str]] = {}  # of what goes: the snapshots that name it
        for snapshot in going:
            version = snapshot.versions.get(table, -1)
            for unit in files.of(version) if version in files.there else frozenset():
                users.setdefault(unit, set()).add(snapshot.snapshot_id)
        for unit, size in freed.items():
            names_it = users.get(unit, set())
            unnamed += size if not names_it else 0
            if len(names_it) == 1:
                own[min(names_it)] += size
        bytes_of[table] = sum(freed.values())
    for snapshot in going:  # the marks that protected them
        for table in snapshot.versions:
            if table not in tables:
                tables[table] = _Files(lake, table)  # a table that the newest snapshot lacks
            size = tables[table].mark(snapshot.snapshot_id)
            bytes_of[table] = bytes_of.get(table, 0) + size
            own[snapshot.snapshot_id] += size
    return Plan(
        keep,
        tuple(LetGo(s.snapshot_id, s.created_at, s.run_id, own[s.snapshot_id]) for s in going),
        tuple(protected),
        {table: size for table, size in sorted(bytes_of.items()) if size},
        unnamed,
        lake.place.is_local,
    )


def let_go(lake: Lake, *, keep: int = 10) -> Done:
    """Let all but the newest and the tagged snapshots go, and free what then nothing names. Holds the lake meanwhile.

    Args:
        lake: The lake.
        keep: Newest snapshots to keep whole, tagged or not.

    Raises:
        ValueError: `keep` is under 1.
        DataError: The lake is empty.
        LakeBusy: Another run is writing.
        LakeError: Some files could not be deleted.
    """
    if lake.head() is None:
        raise DataError(f"{lake.uri} has no snapshot, so there is nothing to let go")
    with lake.writer():
        planned, before = plan(lake, keep=keep), _size(lake)
        expired = set(upkeep.expire(lake, keep=keep)) | {each.snapshot_id for each in planned.let_go}
        # A tag is put on without holding the lake. One put on since keeps its snapshot: nothing is deleted yet.
        tagged = set(lake.tags().values())
        spared = [snapshot for snapshot in lake.snapshots() if snapshot.snapshot_id in expired & tagged]
        for snapshot in spared:
            history.protect(lake, snapshot)
        upkeep.clean(lake)
        freed = before - _size(lake)
    again = {snapshot.snapshot_id for snapshot in spared}
    return Done(planned, tuple(sorted(expired - again)), tuple(sorted(again)), freed)


class _Files:
    """The files of a table, and which version names which. A unit is what goes or stays as one: a file, or an index."""

    def __init__(self, lake: Lake, table: str) -> None:
        self._lake, self._uri = lake, lake._table_uri(table)
        dataset = lake.latest(table)
        self.there = {int(entry["version"]) for entry in dataset.versions()} if dataset is not None else set()
        self._latest = dataset.version if dataset is not None else None
        self._protected = (
            {name: int(of["version"]) for name, of in dataset.tags.list().items()}
            if dataset is not None
            else {}
        )
        self._sizes: dict[str, int] = {}
        self._marks: dict[str, int] = {}
        for path, size in _listed(lake, table).items():
            if path.startswith("_refs/tags/"):
                self._marks[path.removeprefix("_refs/tags/").removesuffix(".json")] = size
            elif unit := _unit(path):
                self._sizes[unit] = self._sizes.get(unit, 0) + size
        self._known: dict[int, frozenset[str]] = {}

    def mark(self, snapshot_id: str) -> int:
        """Return the bytes of what protects a snapshot here."""
        return self._marks.get(snapshot_id, 0) if snapshot_id in self._protected else 0

    def is_marked(self, snapshot_id: str) -> bool:
        """Say whether a snapshot is protected here."""
        return snapshot_id in self._protected

    def is_loose(self, version: int) -> bool:
        """Say whether a version is there and nothing protects it."""
        return version in self.there and version != self._latest and version not in self._protected.values()

    def staying(self, going: Iterable[str]) -> set[int]:
        """Return the versions that stay once some snapshots are no longer protected. The newest always does."""
        names = set(going)
        kept = {version for name, version in self._protected.items() if name not in names}
        return (kept | ({self._latest} if self._latest is not None else set())) & self.there

    def of(self, version: int) -> frozenset[str]:
        """Return the units that a version names."""
        if version not in self._known:
            dataset = lance.dataset(self._uri, version=version, storage_options=self._lake._options)
            units = {
                _unit(f"_versions/{name}.manifest")
                for name in (f"{(1 << 64) - 1 - version:020}", str(version))
            }
            for fragment in dataset.get_fragments():
                units |= {_unit(f"data/{file.path}") for file in fragment.metadata.files}
                if deleted := fragment.deletion_file():
                    units.add(_unit(deleted))
            units |= {
                f"_indices/{segment.uuid}"
                for index in dataset.describe_indices()
                for segment in index.segments
            }
            if (made := dataset.read_transaction(version)) is not None:
                units.add(f"_transactions/{made.read_version}-{made.uuid}.txn")
            self._known[version] = frozenset(unit for unit in units if unit in self._sizes)
        return self._known[version]

    def freed(self, staying: Iterable[int]) -> dict[str, int]:
        """Return {unit: bytes} of what goes when only these versions stay."""
        kept = {unit for version in staying for unit in self.of(version)}
        may_go = set(self._sizes)
        if (
            not self._lake.place.is_local
        ):  # what no version names is spared there: it may be a writer's at work
            may_go = {unit for version in self.there for unit in self.of(version)}
        return {unit: self._sizes[unit] for unit in may_go if unit not in kept}


def _cleaned(lake: Lake) -> list[str]:
    """Return the tables that a clean-up looks at."""
    head = lake.head()
    return [*(head.versions if head else {}), *LOGS]


def _is_there(tables: dict[str, _Files], snapshot: Snapshot) -> bool:
    """Say whether there is anything of a snapshot to let go: it is protected, or there and unprotected."""
    return any(
        files.is_marked(snapshot.snapshot_id) or files.is_loose(snapshot.versions.get(table, -1))
        for table, files in tables.items()
    )


def _unit(path: str) -> str | None:
    """Return what a file of a table belongs to; None for files that stay whatever goes."""
    folder, _, rest = path.partition("/")
    if folder == "data":
        return f"data/{rest.split('.')[0].split('/')[0]}"
    if folder == "_indices":
        return f"_indices/{rest.split('/')[0]}"
    if folder in ("_deletions", "_transactions") or (folder == "_versions" and rest.endswith(".manifest")):
        return path
    return None


def _listed(lake: Lake, table: str) -> dict[str, int]:
    """Return {path inside the table's folder: bytes}."""
    fs, root = lake.place.fs, lake.place.path(f"{table}.lance")
    if not fs.exists(root):
        return {}
    found: dict[str, Any] = fs.find(root, detail=True)
    return {path.removeprefix(root).lstrip("/"): int(of["size"]) for path, of in found.items()}


def _size(lake: Lake) -> int:
    """Return the bytes of all tables that any snapshot names, and of the logs."""
    tables = {table for snapshot in lake.snapshots() for table in snapshot.versions} | LOGS.keys()
    return sum(size for table in tables for size in _listed(lake, table).values())


__all__ = ["Done", "LetGo", "Plan", "Protected", "let_go", "plan"]
