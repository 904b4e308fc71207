"""Vectors of a snapshot as a memory-mapped matrix: what search by comparison multiplies, and a query never reads anew.

Files on local disk are a copy of what the lake says, named by a digest over the data and deletion files of the table's
version. Those have random names of their own, so equal names are equal rows, whatever the lake or its past.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import DataError, LakeError
from schemas.settings import Settings
from schemas.tables import MEDIA, TEXTS, TableSpec
from storage.addresses import allow_list
from storage.conditions import checked
from storage.lake import Lake
from storage.versions import Snapshot

STATES: dict[str, TableSpec] = {"media": MEDIA, "text": TEXTS}  # who says whether an item of a side is kept
KEPT = "present AND kept IS NOT FALSE"  # not judged yet counts as kept
LIMIT_BYTES = 16 << 30  # of all matrices on disk; the one in use may exceed it
OPEN_BYTES = 512 << 20  # of ids' places and masks held in this process, beside what is mapped
_FILES = ("vectors.f32", "addresses.u64", "ids.arrow")
_STALE_S = 86_400.0
_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Vectors:
    """All vectors of one side of a version of an encoder's table, in the order of their row addresses.

    Args:
        key: Digest over the files that hold them.
        ids: (N,) media_id or text_id.
        values: (N, D) float32, read-only.
        addresses: (N,) uint64, ascending: fragment in the upper half, row in it in the lower.
        largest_norm: Largest length of a vector; 1 where the encoder keeps its word.
        left_out: Rows without a vector, or with one that is not finite. Nothing finds them.
    """

    key: str
    ids: pa.Array
    values: NDArray[np.float32]
    addresses: NDArray[np.uint64]
    largest_norm: float
    left_out: int

    def __len__(self) -> int:
        return len(self.values)

    def rows_at(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows that stand at these addresses; addresses of other rows are passed over."""
        return _positions(self.addresses, addresses)


@dataclass(frozen=True, eq=False)
class Scope:
    """Rows of a matrix that a query may find.

    Args:
        vectors: The matrix.
        rows: (P,) ascending rows; None: all.
        sizes: Physical rows by fragment of the table, for the index's list.
    """

    vectors: Vectors
    rows: NDArray[np.int64] | None
    sizes: dict[int, int]
    _outside: dict[frozenset[int], NDArray[np.int64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors) if self.rows is None else len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return 256 + (0 if self.rows is None else self.rows.nbytes + len(self.rows) // 4)

    @cached_property
    def allowed(self) -> bytes | None:
        """The rows as the index wants to be told; None: every row of the table."""
        everything = sum(self.sizes.values()) == len(self)
        return None if everything else allow_list(self._addresses, self.sizes)

    def outside(self, fragments: frozenset[int]) -> NDArray[np.int64]:
        """Return those of the rows that lie in none of these fragments, ascending."""
        if fragments not in self._outside:
            of_rows = self._addresses >> np.uint64(32)
            found = np.flatnonzero(~np.isin(of_rows, np.array(sorted(fragments), np.uint64)))
            self._outside[fragments] = found if self.rows is None else self.rows[found]
        return self._outside[fragments]

    @property
    def _addresses(self) -> NDArray[np.uint64]:
        every = self.vectors.addresses
        return every if self.rows is None else every[self.rows]


@dataclass(frozen=True, eq=False)
class Matrix:
    """One side of an encoder's table at a snapshot, and which of its items are kept.

    Args:
        table: Name of the encoder's table.
        side: media or text.
        dataset: The table at the snapshot; it stays open, and with it what its index has read.
        vectors: Its vectors.
        state: The table of media or texts at the snapshot; None where there is none.
    """

    table: str
    side: str
    dataset: lance.LanceDataset
    vectors: Vectors
    state: lance.LanceDataset | None
    _scopes: "Recent[Scope]" = field(default_factory=lambda: Recent(OPEN_BYTES // 4, lambda s: s.nbytes))

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def ids(self) -> pa.Array:
        """(N,) media_id or text_id."""
        return self.vectors.ids

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) whether the item is present and not dropped. Read-only."""
        mask = np.zeros(len(self), bool)
        rows = self.scope().rows
        mask[slice(None) if rows is None else rows] = True
        mask.flags.writeable = False
        return mask

    @property
    def nbytes(self) -> int:
        """Bytes held in memory, beside what is mapped."""
        return 1024 + len(self) * 18 + OPEN_BYTES // 64

    def scope(
        self, where: str | None = None, modality: Sequence[str] = (), among: Collection[str] | None = None
    ) -> Scope:
        """Return the kept rows for which a condition holds. The same one asked again costs nothing.

        Args:
            where: Condition on columns of the table of media or texts; see `storage.conditions.checked`.
            modality: Only media of these modalities; all by default.
            among: Only items of these ids; all by default.

        Raises:
            DataError: The condition cannot be used, or a modality is asked of texts.
        """
        condition = self._condition(where, modality)
        found = self._scopes.get(condition, lambda: self._found(condition))
        if among is None:
            return found
        listed = sorted(set(among))
        digest = hashlib.blake2b("\n".join(listed).encode(), digest_size=20).digest()
        return self._scopes.get((condition, digest), lambda: self._narrowed(found, listed))

    def _narrowed(self, scope: Scope, listed: list[str]) -> Scope:
        rows = np.flatnonzero(pc.is_in(self.ids, value_set=pa.array(listed, self.ids.type)).to_numpy(False))
        if scope.rows is not None:
            rows = np.intersect1d(rows, scope.rows, assume_unique=True)
        return Scope(self.vectors, None if len(rows) == len(self) else rows, scope.sizes)

    def _condition(self, where: str | None, modality: Sequence[str]) -> str:
        spec, parts = STATES[self.side], [KEPT]
        if modality and self.side != "media":
            raise DataError("texts have no modality; ask for media, or leave the modality out")
        if modality:
            parts.append(f"modality IN ({', '.join(_literal(name) for name in sorted(set(modality)))})")
        if where is not None:
            parts.append(f"({checked(where, spec.schema.names)})")
        return " AND ".join(parts)

    def _found(self, condition: str) -> Scope:
        sizes = {f.fragment_id: f.physical_rows for f in self.dataset.get_fragments()}
        if self.state is None:
            return Scope(self.vectors, np.empty(0, np.int64), sizes)
        try:
            found = self.state.scanner(columns=[], filter=condition, with_row_address=True).to_table()
        except (ValueError, pa.ArrowInvalid) as error:
            if condition == KEPT:
                raise
            said = str(error).split(", /")[0].splitlines()[0][:300]
            raise DataError(f"the condition {condition[len(KEPT) + 5 :]} cannot be used: {said}") from error
        addresses, rows = self._places
        rows = rows[_positions(addresses, found["_rowaddr"].to_numpy())]
        rows = np.sort(rows[rows >= 0])
        return Scope(self.vectors, None if len(rows) == len(self) else rows, sizes)

    @cached_property
    def _places(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Addresses of the state's rows, ascending, and the row of the matrix each speaks of; -1: none."""
        assert self.state is not None
        key = STATES[self.side].key
        addresses, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        scanner = self.state.scanner(
            columns=[key], with_row_address=True, fragments=_fragments(self.state), scan_in_order=True
        )
        read = scanner.to_table()
        at = pc.index_in(read[key], value_set=self.ids)
        rows.append(pc.fill_null(at, -1).to_numpy().astype(np.int64))
        addresses.append(read["_rowaddr"].to_numpy())
        return np.concatenate(addresses), np.concatenate(rows)


class Recent(Generic[T]):
    """Values by key, those used last kept while they fit. Each is made once, however many threads ask."""

    def __init__(self, limit_bytes: int, size: Callable[[T], int]) -> None:
        self._limit, self._size = limit_bytes, size
        self._lock = Lock()
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._making: dict[Hashable, Lock] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key, made where there is none."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                self._making.pop(key, None)
                held = sum(self._size(value) for value in self._values.values())
                while held > self._limit and len(self._values) > 1:
                    held -= self._size(self._values.popitem(last=False)[1])
            return value


_OPEN: Recent[Matrix] = Recent(OPEN_BYTES, lambda matrix: matrix.nbytes)


def matrix_of(lake: Lake, snapshot: Snapshot, table: str, side: str, *, cache: Path | None = None) -> Matrix:
    """Return one side of an encoder's table at a snapshot. What was opened lately is open still.

    Args:
        lake: The lake.
        snapshot: Which state of it.
        table: The encoder's table.
        side: media or text.
        cache: Folder for the files; `vectors` in the setting `XMODAL_CACHE` by default.

    Raises:
        ValueError: `side` is neither.
        NoSuchTable: The snapshot has no such table.
    """
    if side not in STATES:
        raise ValueError(f"side is media or text; found {side!r}")

    def opened() -> Matrix:
        dataset = lake.dataset(table, snapshot)
        state = STATES[side].name
        return Matrix(
            table,
            side,
            dataset,
            vectors_of(dataset, side, cache=cache),
            lake.dataset(state, snapshot) if state in snapshot.versions else None,
        )

    # a lake made anew at the same place has snapshots of the same names, but not of the same moment
    key = (lake.uri, snapshot.snapshot_id, snapshot.created_at, snapshot.run_id, table, side, cache)
    return _OPEN.get(key, opened)


def vectors_of(
    dataset: lance.LanceDataset, side: str, *, cache: Path | None = None, limit_bytes: int = LIMIT_BYTES
) -> Vectors:
    """Return the vectors of a side, mapped from the cache; copied there first where they are not, or are damaged.

    A cache that cannot be written is done without: the vectors are then held in memory.

    Args:
        dataset: A version of an encoder's table.
        side: media or text.
        cache: Folder for the files; `vectors` in the setting `XMODAL_CACHE` by default.
        limit_bytes: Files used longest ago are deleted beyond this size of all; never those asked for.
    """
    folder = cache if cache is not None else Settings().cache / "vectors"
    key = content_key(dataset, side)
    if (found := _mapped(folder / key, key)) is not None:
        return found
    shutil.rmtree(folder / key, ignore_errors=True)
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=folder))
        _copy(dataset, side, part)
        try:
            os.rename(part, folder / key)
        except OSError:  # another process was first
            shutil.rmtree(part, ignore_errors=True)
        made = _mapped(folder / key, key)
        make_room(folder, key, limit_bytes)
    except OSError as error:
        _log.warning("vectors are held in memory: cannot write below %s: %s", folder, error)
        made = None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return made if made is not None else _in_memory(dataset, side, key)


def content_key(dataset: lance.LanceDataset, side: str) -> str:
    """Return 40 hex digits over the files that hold a side of a version of a table; indexes are not among them."""
    return files_key(dataset, side, dataset.schema.field("vector").type.list_size)


def files_key(dataset: lance.LanceDataset, *what: str | int) -> str:
    """Return 40 hex digits over the data and deletion files of a version of a table, and over what was made of them."""
    files = [
        json.dumps(fragment.metadata.to_json(), sort_keys=True, default=str)
        for fragment in _fragments(dataset)
    ]
    said = json.dumps([*what, files])
    return hashlib.blake2b(said.encode(), digest_size=20).hexdigest()


def _fragments(dataset: lance.LanceDataset) -> list[Any]:
    return sorted(dataset.get_fragments(), key=lambda fragment: fragment.fragment_id)


def _positions(ascending: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return where the wanted values stand; those that do not occur are passed over."""
    if not len(ascending):
        return np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return at[ascending[at] == wanted]


def _literal(name: str) -> str:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise DataError(f"{name!r} is no modality: they are plain words such as image or audio")
    return f"'{name}'"


def _batches(
    dataset: lance.LanceDataset, side: str
) -> Iterator[tuple[pa.Array, NDArray[np.uint64], NDArray[np.float32], int]]:
    """Yield ids, addresses, vectors of the rows that can be found, and how many of a batch cannot."""
    width = dataset.schema.field("vector").type.list_size
    fragments = _fragments(dataset)
    if not fragments:
        return
    scanner = dataset.scanner(
        columns=["item_id", "vector"], filter=f"side = '{side}'", with_row_address=True, fragments=fragments,
        scan_in_order=True, batch_size=4096, batch_readahead=2,
    )  # fmt: skip
    last = -1
    for batch in scanner.to_batches():
        there = batch.filter(pc.is_valid(batch["vector"]))
        values = there["vector"].flatten().to_numpy(zero_copy_only=False).reshape(len(there), width)
        finite = np.isfinite(values).all(axis=1)
        addresses = there["_rowaddr"].to_numpy()[finite]
        if len(addresses) and (int(addresses[0]) <= last or (np.diff(addresses.astype(np.int64)) <= 0).any()):
            raise LakeError(
                "rows were not read in order of their addresses; report this with `xmodal doctor`"
            )
        last = int(addresses[-1]) if len(addresses) else last
        yield (
            there["item_id"].filter(pa.array(finite)),
            addresses,
            np.ascontiguousarray(values[finite], np.float32),
            len(batch) - int(finite.sum()),
        )


def _copy(dataset: lance.LanceDataset, side: str, folder: Path) -> None:
    """Write a side's vectors into a folder, and last what they must look like."""
    rows, left_out, largest = 0, 0, 0.0
    schema = pa.schema([("item_id", pa.string())])
    with (
        open(folder / _FILES[0], "wb") as values_file,
        open(folder / _FILES[1], "wb") as addresses_file,
        pa.OSFile(str(folder / _FILES[2]), "wb") as ids_file,
        pa.ipc.new_file(ids_file, schema) as ids_writer,
    ):
        for ids, addresses, values, without in _batches(dataset, side):
            values_file.write(values.data)
            addresses_file.write(addresses.data)
            ids_writer.write_batch(pa.record_batch([ids], schema=schema))
            rows, left_out = rows + len(ids), left_out + without
            largest = max(largest, _largest_norm(values))
    facts = {
        "rows": rows,
        "dim": dataset.schema.field("vector").type.list_size,
        "largest_norm": largest,
        "left_out": left_out,
        "sizes": [(folder / name).stat().st_size for name in _FILES],
    }
    facts["check"] = _check(folder, facts)
    (folder / "facts.json").write_text(json.dumps(facts))


def _check(folder: Path, facts: dict[str, Any]) -> str:
    """Return a digest over ids, addresses and every so manieth vector: enough to see a damaged file on opening it."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update((folder / _FILES[1]).read_bytes())
    values, ids = _values(folder, facts), _ids(folder)
    digest.update(np.ascontiguousarray(values[:: max(1, len(values) // 256)]).tobytes())
    for chunk in ids.chunks:
        for buffer in chunk.buffers()[1:]:
            digest.update(buffer)
    return digest.hexdigest()


def _values(folder: Path, facts: dict[str, Any]) -> NDArray[np.float32]:
    shape = (int(facts["rows"]), int(facts["dim"]))
    if not shape[0] or not shape[1]:
        return np.empty(shape, np.float32)
    return np.asarray(np.memmap(folder / _FILES[0], np.float32, "r", shape=shape))


def _ids(folder: Path) -> pa.ChunkedArray:
    with pa.memory_map(str(folder / _FILES[2])) as source:
        return pa.ipc.open_file(source).read_all()["item_id"]


def _mapped(folder: Path, key: str) -> Vectors | None:
    """Return what lies in a folder; None where there is nothing, or nothing whole."""
    try:
        facts = json.loads((folder / "facts.json").read_text())
        sizes = [(folder / name).stat().st_size for name in _FILES]
        whole = sizes == facts["sizes"] and sizes[0] == facts["rows"] * facts["dim"] * 4
        if not whole or _check(folder, facts) != facts["check"]:
            return None
        ids = _ids(folder).combine_chunks()
        if len(ids) != facts["rows"]:
            return None
        now = time.time_ns()  # the kernel's own "now" may be the same for a while
        os.utime(folder / "facts.json", ns=(now, now))
        addresses = np.fromfile(folder / _FILES[1], np.uint64)
        return Vectors(key, ids, _values(folder, facts), addresses, facts["largest_norm"], facts["left_out"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _in_memory(dataset: lance.LanceDataset, side: str, key: str) -> Vectors:
    width = dataset.schema.field("vector").type.list_size
    ids: list[pa.Array] = [pa.array([], pa.string())]
    addresses, values = [np.empty(0, np.uint64)], [np.empty((0, width), np.float32)]
    left_out = 0
    for of_batch, at, vectors, without in _batches(dataset, side):
        ids.append(of_batch)
        addresses.append(at)
        values.append(vectors)
        left_out += without
    everything = np.concatenate(values)
    everything.flags.writeable = False
    return Vectors(
        key, pa.concat_arrays(ids), everything, np.concatenate(addresses), _largest_norm(everything), left_out
    )


def _largest_norm(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64).max(initial=0.0)))


def make_room(folder: Path, used: str, limit_bytes: int) -> None:
    """Delete what was used longest ago until the rest fits, and what a killed process left half written."""
    found: list[tuple[float, int, Path]] = []
    for entry in folder.iterdir():
        try:
            facts = entry / "facts.json"
            if facts.exists():
                size = sum(path.stat().st_size for path in entry.iterdir())
                found.append((facts.stat().st_mtime, size, entry))
            elif entry.name.startswith("part-") and time.time() - entry.stat().st_mtime > _STALE_S:
                shutil.rmtree(entry, ignore_errors=True)
        except OSError:  # another process is deleting it too
            continue
    total = sum(size for _, size, _ in found)
    for _, size, entry in sorted(found):
        if total <= limit_bytes:
            return
        if entry.name != used:
            shutil.rmtree(entry, ignore_errors=True)  # who has it mapped keeps it until the map is closed
            total -= size
