"""Check rows one by one, a shard of a table at a time. Runs in the driver or in a worker."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.quality import OF_ROWS, Expectation
from tasks.run import ShardReport, cpu_seconds

if TYPE_CHECKING:
    import pandas as pd

SHARD_ROWS = 1 << 18
BATCH_ROWS = 1 << 15  # rows in memory at once
VECTOR_BYTES = 4 << 20  # of vectors in memory at once
AHEAD = 4  # batches that Lance may read ahead
IDS = 20  # offending rows that are remembered


@dataclass(frozen=True)
class RowShard:
    """Rows of one version of a table, and what they are expected to be.

    Args:
        uri: Where the table is.
        version: Its version.
        key: Column that identifies a row.
        expectations: Checks of single rows.
        start: First row.
        rows: How many.
        storage_options: What Lance needs on an object store.
    """

    uri: str
    version: int
    key: str
    expectations: tuple[Expectation, ...]
    start: int
    rows: int
    storage_options: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Tally:
    """What was found of rows. Tallies of parts of a table add up to that of the table.

    Args:
        rows: Rows looked at, without nulls where nulls do not count.
        unexpected: Rows that failed.
        offending: Ids of the first of them.
        raised: What went wrong where rows could not be looked at; "" if nothing did.
    """

    rows: int = 0
    unexpected: int = 0
    offending: tuple[str, ...] = ()
    raised: str = ""

    def __add__(self, other: "Tally") -> "Tally":
        """Return the tally of both parts, this one first."""
        return Tally(
            self.rows + other.rows,
            self.unexpected + other.unexpected,
            (*self.offending, *other.offending)[:IDS],
            self.raised or other.raised,
        )


@dataclass(frozen=True)
class ShardTally:
    """The tallies of a shard by name of the expectation, and what they cost."""

    shard: RowShard
    tallies: dict[str, Tally] = field(default_factory=dict)
    cost: ShardReport = field(default_factory=ShardReport)


def shards_of(
    dataset: lance.LanceDataset, key: str, suite: Sequence[Expectation], options: Mapping[str, str] | None
) -> list[RowShard]:
    """Return the shards of a table; none where nothing is expected of single rows."""
    wanted = tuple(each for each in suite if each.check in OF_ROWS)
    count = dataset.count_rows() if wanted else 0
    return [
        RowShard(dataset.uri, dataset.version, key, wanted, start, min(SHARD_ROWS, count - start), options)
        for start in range(0, count, SHARD_ROWS)
    ]


def check_shard(shard: RowShard) -> ShardTally:
    """Return what was found of a shard's rows, reading them batch by batch."""
    options = dict(shard.storage_options) if shard.storage_options else None
    dataset = lance.dataset(shard.uri, version=shard.version, storage_options=options)
    columns = sorted({shard.key, *(each.column for each in shard.expectations)} & set(dataset.schema.names))
    dims = sum(_width(dataset.schema, name) or 0 for name in columns)
    size = min(BATCH_ROWS, max(1, VECTOR_BYTES // (4 * dims))) if dims else BATCH_ROWS
    with cpu_seconds() as cpu:
        try:
            batches = _read(dataset, columns, shard, size)
            tallies = check_batches(batches, shard.key, shard.expectations)
        except (
            OSError,
            ValueError,
        ) as error:  # rows that cannot be read: Arrow's and Lance's errors are such
            raised = Tally(raised=f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
            tallies = {each.name: raised for each in shard.expectations}
    return ShardTally(shard, tallies, ShardReport(items=shard.rows, cpu_s=cpu[0]))


def _read(
    dataset: lance.LanceDataset, columns: list[str], shard: RowShard, size: int
) -> Iterator[pa.RecordBatch]:
    end = shard.start + shard.rows
    for start in range(shard.start, end, AHEAD * size):
        yield from dataset.to_batches(
            columns=columns,
            offset=start,
            limit=min(AHEAD * size, end - start),
            batch_size=size,
            batch_readahead=1,
        )


def check_batches(
    batches: Iterable[pa.RecordBatch], key: str, expectations: Sequence[Expectation]
) -> dict[str, Tally]:
    """Return {name: what was found} of rows in batches. Vectors are looked at by their lengths alone."""
    from tasks.quality import expectations as gx

    definition = gx.batches()
    found = {each.name: Tally() for each in expectations}
    for rows in _gathered(map(_with_lengths, batches)):
        suite = [gx.of_column(each) for each in expectations]
        frame = _frame(rows, expectations)
        for result in gx.validated(definition, frame, suite):
            name = result.expectation_config.meta["name"]
            found[name] += _tally(result, rows[key], gx.exception_of(result))
    return found


def _frame(rows: pa.Table, expectations: Sequence[Expectation]) -> "pd.DataFrame":
    """Return the columns that are looked at; of those that only have to be there, whether they are."""
    checks: dict[str, set[str]] = {}
    for each in expectations:
        checks.setdefault(each.column, set()).add(each.check)
    seen = {}
    for name in rows.schema.names:
        if of := checks.get(name):
            is_there = pc.if_else(rows[name].is_valid(), pa.scalar(1, pa.int8()), None)
            seen[name] = is_there if of == {"not-null"} else rows[name]
    return pa.table(seen).to_pandas()


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield batches put together: what Great Expectations does costs as much for a row as for ten thousand."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if held and sum(map(len, held)) + len(batch) > BATCH_ROWS:
            yield pa.Table.from_batches(held)
            held = []
        if len(batch):
            held.append(batch)
    if held:
        yield pa.Table.from_batches(held)


def _tally(result: Any, keys: pa.ChunkedArray, raised: str) -> Tally:
    """Read a result. Of an offending row only its id is taken: values may be pixels or vectors."""
    if raised:
        return Tally(raised=raised)
    said = result.result
    places = (said.get("unexpected_index_list") or ())[:IDS]
    ids = tuple(row for row in (keys[place].as_py() for place in places) if isinstance(row, str))
    return Tally(
        int(said["element_count"]) - int(said.get("missing_count") or 0), int(said["unexpected_count"]), ids
    )


def _with_lengths(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with the Euclidean lengths of its vectors in their place, infinite where a number is not finite."""
    for place, of in enumerate(batch.schema):
        if pa.types.is_fixed_size_list(of.type):
            vectors = batch.column(place)
            numbers = pc.list_flatten(vectors).to_numpy(zero_copy_only=False).reshape(-1, of.type.list_size)
            lengths = np.sqrt(np.einsum("ij,ij->i", numbers, numbers, dtype=np.float64))
            found = np.full(len(vectors), np.inf)
            is_there = vectors.is_valid().to_numpy(zero_copy_only=False)
            found[is_there] = np.where(np.isfinite(lengths), lengths, np.inf)
            batch = batch.set_column(place, of.name, pa.array(found, mask=~is_there))
    return batch


def _width(schema: pa.Schema, column: str) -> int | None:
    if column not in schema.names:
        return None
    kind = schema.field(column).type
    return kind.list_size if pa.types.is_fixed_size_list(kind) else None
