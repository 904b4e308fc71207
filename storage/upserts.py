"""Staged rows beside a table's: which are new, which replace a row, and where those lie. Both sides stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress, pairwise

import lance
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
from numpy.typing import NDArray

from schemas.batch import empty_on_disk
from schemas.errors import LakeError
from schemas.tables import TableSpec
from storage import rows
from storage.database import as_written, cursor
from storage.matching import keys_of
from storage.memory import give_back
from storage.repeats import first_rows
from storage.streams import numbered
from storage.windows import addressed

COMPARED_ROWS = 1 << 14  # of the table, at once
WRITTEN_ROWS = 1 << 11  # that are looked at at once: they may hold pixels or vectors
TRIMMED_ROWS = 1 << 18  # after which memory is given back
DELETED_ROWS = (
    1 << 14
)  # named one by one at once: a version each, and 600 bytes a row while Lance looks for them
DELETED_RUNS = 64  # of blocks, at once
BLOCK_BITS = 10  # rows of which the fewer are named, those that go or those that stay
_OF_FILE = 32  # bits of an address: which row of its file


@dataclass(frozen=True)
class Compared:
    """What comparing staged rows with a table found.

    Args:
        is_wanted: (N,) Which staged rows the table lacks, or has otherwise.
        replaced: (R,) Addresses of the rows it has otherwise, ascending.
        repeated: How many staged rows repeat a key; they are not wanted.
    """

    is_wanted: NDArray[np.bool_]
    replaced: NDArray[np.uint64]
    repeated: int


@dataclass(frozen=True)
class Known:
    """What is known, without a comparison, of the last of the staged rows: the table lacks them, or has them otherwise.

    Args:
        snapshot_id: The snapshot that is known of; empty for none: of another one it says nothing.
        rows: How many these are.
        replaced: (R,) Addresses of the rows it has otherwise, ascending.
    """

    snapshot_id: str
    rows: int
    replaced: NDArray[np.uint64]


def compared(
    spec: TableSpec,
    staged: pds.Dataset,
    base: lance.LanceDataset,
    *,
    repeats: bool = False,
    equal: bool = False,
    known: Known | None = None,
) -> Compared:
    """Compare keys and digests: what is held of them lies in files.

    Args:
        spec: The table's.
        staged: Rows with `row_digest`.
        base: A version of the table.
        repeats: Whether a key may stand twice in `staged`; its first row counts.
        equal: Whether rows with the same digest count as different too.
        known: What needs no comparison.

    Raises:
        LakeError: A key stands twice, and may not.
    """
    is_first = _firsts(spec, staged, repeats=repeats)
    repeated = len(is_first) - int(is_first.sum())
    if not base.count_rows():
        return Compared(is_first, np.empty(0, np.uint64), repeated)
    asked = staged.count_rows() - (known.rows if known else 0)
    is_wanted, replaced = is_first.copy(), known.replaced if known else np.empty(0, np.uint64)
    if asked:
        is_equal, others = _asked(spec, staged, base, is_first[:asked], equal=equal)
        is_wanted[:asked] &= ~is_equal
        replaced = _joined(others, replaced)
    return Compared(is_wanted, replaced, repeated)


def _joined(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the addresses of both, ascending, so that a part of what is deleted touches few files."""
    both = empty_on_disk(len(one) + len(other), np.uint64)
    both[: len(one)], both[len(one) :] = one, other
    both.sort()
    return both


def _firsts(spec: TableSpec, staged: pds.Dataset, *, repeats: bool) -> NDArray[np.bool_]:
    """Return which staged rows are the first of their key. (N,)."""
    with cursor() as con, as_written(con):
        read = partial(numbered, staged, [spec.key])
        is_first, repeated = first_rows(con, read, spec.key, staged.count_rows())
    if repeated is not None and not repeats:
        raise LakeError(f"{spec.name}: the key {repeated} stands twice among the staged rows")
    return is_first


def _asked(
    spec: TableSpec,
    staged: pds.Dataset,
    base: lance.LanceDataset,
    is_first: NDArray[np.bool_],
    *,
    equal: bool,
) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Return which of the first staged rows the table has as they are, and where the rows lie that it has otherwise.

    Args:
        spec: The table's.
        staged: All staged rows.
        base: The table.
        is_first: (A,) Which of the first A staged rows count.
        equal: Whether the table has none as it is, even with the same digest.
    """
    digests = empty_on_disk((len(is_first), 2), np.uint64)
    for batch in numbered(staged, ["row_digest"]):
        place = batch["place"].to_numpy()
        here = place < len(is_first)
        digests[place[here]] = rows.halves(batch["row_digest"])[here]
    is_equal, replaced, done = np.zeros(len(is_first), bool), empty_on_disk(len(is_first), np.uint64), 0
    with cursor() as con:
        keys = keys_of(con, partial(numbered, staged, [spec.key]), spec.key, is_first)
        con.register("theirs", addressed(base, [spec.key, "row_digest"]))
        theirs = con.sql(
            f"SELECT hash({spec.key}) AS hash, {spec.key} AS key, row_digest, _rowaddr FROM theirs"
        )
        for batch in theirs.to_arrow_reader(COMPARED_ROWS):
            here = rows.halves(batch["row_digest"].cast(pa.binary(16)))
            for found, numbers in keys.matches(batch["hash"].to_numpy(), batch["key"]):
                same = (here[found] == digests[numbers]).all(axis=1) & (not equal)
                is_equal[numbers[same]] = True
                others = batch["_rowaddr"].to_numpy()[found[~same]]
                replaced[done : done + len(others)] = others
                done += len(others)
    return is_equal, replaced[:done]


def only(staged: pds.Dataset, spec: TableSpec, wanted: NDArray[np.bool_]) -> pa.RecordBatchReader:
    """Stream the staged rows for which `wanted` is true."""

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in staged.to_batches(
            columns=spec.stored.names, batch_size=WRITTEN_ROWS, batch_readahead=2, fragment_readahead=1
        ):
            here = wanted[start : start + len(batch)]
            start += len(batch)
            if start // TRIMMED_ROWS > (start - len(batch)) // TRIMMED_ROWS:
                give_back()  # what Lance's pages took before they were written
            if here.any():
                yield batch.filter(pa.array(here)).cast(spec.stored)

    return pa.RecordBatchReader.from_batches(spec.stored, batches())


def without(
    dataset: lance.LanceDataset, addresses: NDArray[np.uint64], options: dict[str, str] | None = None
) -> Iterator[lance.LanceDataset]:
    """Delete the rows at some addresses, a part at a time, and yield the version that each part leaves.

    Files of which no row is left go first, in one part. No other row moves. A version is to be looked at before the next one
    is asked for: another writer's may lie between.
    Lance keeps the condition of a `delete` in every manifest, where the addresses would stay; so it is not told one.

    Args:
        dataset: The table.
        addresses: (R,) Of its rows, ascending.
        options: What Lance needs on an object store.

    Raises:
        CommitConflictError: Another writer has deleted rows of the same files, or moved them.
    """
    whole = [
        number
        for start, end, number in _by_fragment(addresses)
        if end - start == _fragment(dataset, number).count_rows()
    ]
    for step in chain([[]] * bool(whole), _conditions(addresses, whole)):
        left, gone = [], [] if step else whole
        for number, condition in step:
            if (kept := _fragment(dataset, number).delete(condition)) is None:
                gone.append(number)
            else:
                left.append(kept)
        deletion = lance.LanceOperation.Delete(left, gone, "replaced rows")
        dataset = lance.LanceDataset.commit(
            dataset.uri, deletion, read_version=dataset.version, storage_options=options
        )
        yield dataset


def _conditions(addresses: NDArray[np.uint64], but: list[int]) -> Iterator[list[tuple[int, str]]]:
    """Yield, a version at a time, files and the condition that some of the ascending addresses fulfil, but for some files.

    Of a set scored anew nearly all rows of a method go, and they lie side by side: what is named are those that stay.
    """
    starts = _blocks(addresses)
    ends = np.append(starts[1:], len(addresses))[: len(starts)]
    blocks = (addresses[starts] >> np.uint64(BLOCK_BITS)).astype(np.int64)
    is_wanted = ~np.isin(blocks >> (_OF_FILE - BLOCK_BITS), but)
    starts, ends, blocks = starts[is_wanted], ends[is_wanted], blocks[is_wanted]
    counts = ends - starts
    is_dense = 2 * counts > 1 << BLOCK_BITS
    goes_on = np.zeros(len(blocks), bool)
    goes_on[1:] = is_dense[1:] & is_dense[:-1] & (np.diff(blocks) == 1)
    cost = np.where(is_dense, (1 << BLOCK_BITS) - counts, counts) + np.where(
        is_dense & ~goes_on, DELETED_ROWS // DELETED_RUNS, 0
    )
    step = np.cumsum(cost) // DELETED_ROWS
    files = blocks >> (_OF_FILE - BLOCK_BITS)
    for first, last in _equal(step):
        yield [
            (
                int(files[first + start]),
                _condition(
                    blocks[first + start : first + end],
                    is_dense[first + start : first + end],
                    [addresses[starts[at] : ends[at]] for at in range(first + start, first + end)],
                ),
            )
            for start, end in _equal(files[first:last])
        ]


def _condition(blocks: NDArray[np.int64], is_dense: NDArray[np.bool_], rows: list[NDArray[np.uint64]]) -> str:
    """Return what addresses of some blocks of a file fulfil, and no other of the file."""
    said, size = [], 1 << BLOCK_BITS
    dense = blocks[is_dense]
    if len(dense):
        firsts = dense[np.diff(dense, prepend=dense[0] - 2) != 1].tolist()
        lasts = dense[np.diff(dense, append=dense[-1] + 2) != 1].tolist()
        runs = " OR ".join(
            f"(_rowaddr >= {first * size} AND _rowaddr < {last * size + size})"
            for first, last in zip(firsts, lasts, strict=True)
        )
        staying = [
            address
            for block, gone in zip(dense.tolist(), compress(rows, is_dense), strict=True)
            for address in sorted(set(range(block * size, block * size + size)).difference(gone.tolist()))
        ]
        said.append(f"({runs}) AND _rowaddr NOT IN ({_listed(staying)})" if staying else runs)
    going = [address for gone in compress(rows, ~is_dense) for address in gone.tolist()]
    if going:
        said.append(f"_rowaddr IN ({_listed(going)})")
    return " OR ".join(f"({each})" for each in said)


def _listed(addresses: list[int]) -> str:
    return ", ".join(map(str, addresses))


def _blocks(addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return where the addresses of each block begin among ascending ones."""
    found = [np.zeros(min(1, len(addresses)), np.int64)]
    for at in range(0, len(addresses), TRIMMED_ROWS):  # a part at a time: memory
        part = addresses[at : at + TRIMMED_ROWS + 1] >> np.uint64(BLOCK_BITS)
        found.append(at + 1 + np.flatnonzero(part[1:] != part[:-1]))
    return np.concatenate(found)


def _equal(values: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield where each run of equal values begins and ends."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from ((start, end) for start, end in pairwise(edges) if end > start)


def _by_fragment(addresses: NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
    """Yield where the addresses of each file begin and end among ascending ones, and the file's number."""
    start = 0
    while start < len(addresses):
        number = int(addresses[start]) >> _OF_FILE
        end = int(np.searchsorted(addresses, np.uint64((number + 1) << _OF_FILE)))
        yield start, end, number
        start = end


def _fragment(dataset: lance.LanceDataset, number: int) -> lance.LanceFragment:
    fragment = dataset.get_fragment(number)
    assert fragment is not None  # of this version, whose addresses they are
    return fragment
