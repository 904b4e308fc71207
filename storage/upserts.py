"""Staged rows beside a table's: which are new, which replace a row, and where those lie. Both sides stream."""

from collections.abc import Iterator
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
from numpy.typing import NDArray

from schemas.errors import LakeError
from schemas.tables import TableSpec
from storage.database import as_written, cursor
from storage.streams import numbered
from storage.windows import addressed

COMPARED_ROWS = 1 << 13  # keys of a table at once
WRITTEN_ROWS = 1 << 11  # that are looked at at once: they may hold pixels or vectors
DELETED_ROWS = 1 << 15  # at once: a version each


@dataclass(frozen=True)
class Compared:
    """What comparing staged rows with a table found.

    Args:
        is_wanted: (N,) Which staged rows the table lacks, or has otherwise.
        replaced: (R,) Addresses of the rows it has otherwise.
        repeated: How many staged rows repeat a key; they are not wanted.
    """

    is_wanted: NDArray[np.bool_]
    replaced: NDArray[np.uint64]
    repeated: int


def compared(
    spec: TableSpec,
    staged: pds.Dataset,
    base: lance.LanceDataset,
    *,
    repeats: bool = False,
    equal: bool = False,
) -> Compared:
    """Compare keys and digests within the `database` around, which spills.

    Args:
        spec: The table's.
        staged: Rows with `row_digest`.
        base: A version of the table.
        repeats: Whether a key may stand twice in `staged`; its first row counts.
        equal: Whether rows with the same digest count as different too.

    Raises:
        LakeError: A key stands twice, and may not.
    """
    count, key = staged.count_rows(), spec.key
    columns = [key, "row_digest"]
    is_wanted, replaced = np.zeros(count, bool), [np.zeros(0, np.uint64)]
    both = (  # the smaller side is held
        f"theirs t RIGHT JOIN ours o ON t.{key} = o.{key}"
        if count < base.count_rows()
        else f"ours o LEFT JOIN theirs t ON t.{key} = o.{key}"
    )
    with cursor() as con, as_written(con):
        con.register("ours", numbered(staged, columns))
        con.execute(
            f"CREATE TEMP TABLE twice AS SELECT {key}, min(place) AS first FROM ours GROUP BY 1 HAVING count(*) > 1"
        )
        repeated = con.execute(f"SELECT {key} FROM twice LIMIT 1").fetchall()
        if repeated and not repeats:
            raise LakeError(f"{spec.name}: the key {repeated[0][0]} stands twice among the staged rows")
        is_first = np.ones(count, bool)
        if repeated:
            con.register("ours", numbered(staged, columns))
            later = con.execute(
                f"SELECT o.place FROM ours o JOIN twice t ON t.{key} = o.{key} WHERE o.place > t.first"
            )
            is_first[later.fetchnumpy()["place"]] = False
        con.register("ours", numbered(staged, columns))
        con.register("theirs", addressed(base, columns))
        differ = con.sql(
            f"SELECT o.place, t._rowaddr AS address FROM {both} "
            f"WHERE {equal} OR t.{key} IS NULL OR t.row_digest <> o.row_digest"
        ).to_arrow_reader(COMPARED_ROWS)
        for batch in differ:
            places = batch["place"].to_numpy()
            is_wanted[places] = is_first[places]
            there = batch["address"].filter(pa.array(is_first[places])).drop_null()
            replaced.append(there.to_numpy(zero_copy_only=False))
    return Compared(is_wanted, np.concatenate(replaced), count - int(is_first.sum()))


def only(staged: pds.Dataset, spec: TableSpec, wanted: NDArray[np.bool_]) -> pa.RecordBatchReader:
    """Stream the staged rows for which `wanted` is true."""

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in staged.to_batches(
            columns=spec.stored.names, batch_size=WRITTEN_ROWS, batch_readahead=2, fragment_readahead=1
        ):
            here = wanted[start : start + len(batch)]
            start += len(batch)
            if here.any():
                yield batch.filter(pa.array(here)).cast(spec.stored)

    return pa.RecordBatchReader.from_batches(spec.stored, batches())


def without(
    dataset: lance.LanceDataset, addresses: NDArray[np.uint64], options: dict[str, str] | None = None
) -> Iterator[lance.LanceDataset]:
    """Delete the rows at some addresses, a part at a time, and yield the version that each part leaves.

    No other row moves. A version is to be looked at before the next one is asked for: another writer's may lie between.
    Lance keeps the condition of a `delete` in every manifest, where the addresses would stay; so it is not told one.

    Args:
        dataset: The table.
        addresses: (R,) Of its rows.
        options: What Lance needs on an object store.

    Raises:
        CommitConflictError: Another writer has deleted rows of the same files, or moved them.
    """
    ordered = np.sort(addresses)  # so that a part touches few files
    for start in range(0, len(ordered), DELETED_ROWS):
        part = ordered[start : start + DELETED_ROWS]
        fragments = part >> np.uint64(32)
        left, gone = [], []
        for number in np.unique(fragments).tolist():
            listed = ", ".join(map(str, part[fragments == number].tolist()))
            fragment = dataset.get_fragment(number)
            assert fragment is not None  # of this version, whose addresses they are
            if (rest := fragment.delete(f"_rowaddr IN ({listed})")) is None:
                gone.append(number)
            else:
                left.append(rest)
        deletion = lance.LanceOperation.Delete(left, gone, "replaced rows")
        dataset = lance.LanceDataset.commit(
            dataset.uri, deletion, read_version=dataset.version, storage_options=options
        )
        yield dataset
