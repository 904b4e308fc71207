"""Which rows repeat a key, of many: told by a hash of each, where grouping all keys would hold and spill them."""

from collections.abc import Callable, Iterable, Iterator

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.batch import empty_on_disk
from storage.database import lacks_memory

HASHED_ROWS = 1 << 16  # at once
MOST_PARTS = 64  # that keys whose hash stands twice are compared in: each reads all of them


def first_rows(
    con: duckdb.DuckDBPyConnection, read: Callable[[], pa.RecordBatchReader], key: str, count: int
) -> tuple[NDArray[np.bool_], str | None]:
    """Return which rows are the first of their key, (N,), and a key that stands twice, if one does.

    Keys are told apart by 64 bits each, in a file once they are many; only those whose hash stands twice are compared, in
    parts where memory lacks.

    Args:
        con: A cursor; it gets temporary tables.
        read: Reads the rows' keys, and their numbers as `place`; called once, and again for each part.
        key: Name of the column.
        count: N.
    """
    is_first = np.ones(count, bool)
    con.register("keyed", read())
    again = twice(con.sql(f"SELECT hash({key}) AS hash FROM keyed").to_arrow_reader(HASHED_ROWS), count)
    con.unregister("keyed")
    if not len(again):
        return is_first, None
    con.register("again", pa.table({"hash": again}))
    parts = 1
    while True:
        try:
            found = [_later(con, read, key, f"{parts} = {part}", is_first) for part in range(parts)]
            break
        except (duckdb.Error, OSError) as error:  # what a reader of Arrow's says, is an OSError
            if parts >= MOST_PARTS or not lacks_memory(error):
                raise
            parts *= 2
    con.unregister("again")
    return is_first, next((one for one in found if one is not None), None)


def twice(hashes_of: Iterable[pa.RecordBatch], count: int) -> NDArray[np.uint64]:
    """Return the hashes that stand more than once, each once, ascending; in a file once they are many.

    Args:
        hashes_of: Batches with a column `hash`, uint64.
        count: Of their rows.
    """
    hashes, done = empty_on_disk(count, np.uint64), 0
    for batch in hashes_of:
        hashes[done : done + len(batch)] = batch["hash"].to_numpy()
        done += len(batch)
    hashes.sort()
    again, done = empty_on_disk(sum(map(len, _equal(hashes))), np.uint64), 0
    for part in _equal(hashes):
        again[done : done + len(part)] = part
        done += len(part)
    return again


def _equal(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.uint64]]:
    """Yield, a part at a time, the values that stand more than once among ascending ones, each once."""
    last = None
    for at in _overlapping(len(hashes)):
        part = hashes[at]
        found = np.unique(part[1:][part[1:] == part[:-1]])
        if len(found) and found[0] == last:
            found = found[1:]
        if len(found):
            last = found[-1]
        yield found


def _later(
    con: duckdb.DuckDBPyConnection,
    read: Callable[[], pa.RecordBatchReader],
    key: str,
    part: str,
    is_first: NDArray[np.bool_],
) -> str | None:
    """Mark the rows that are not the first of their key, of a part of the keys in `again`; return one that stands twice."""
    con.register("keyed", read())
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE alike AS SELECT {key} AS key, place FROM keyed k "
        f"SEMI JOIN again a ON hash(k.{key}) = a.hash WHERE hash(k.{key}) % {part}"
    )
    con.unregister("keyed")
    con.execute(
        "CREATE OR REPLACE TEMP TABLE twice AS SELECT key, min(place) AS first FROM alike GROUP BY 1 HAVING count(*) > 1"
    )
    repeated = con.execute("SELECT key FROM twice LIMIT 1").fetchall()
    later = con.sql(
        "SELECT a.place FROM alike a JOIN twice t ON t.key = a.key WHERE a.place > t.first"
    ).to_arrow_reader(HASHED_ROWS)
    for batch in later:
        is_first[batch["place"].to_numpy()] = False
    con.execute("DROP TABLE alike; DROP TABLE twice")
    return str(repeated[0][0]) if repeated else None


def _overlapping(count: int) -> Iterator[slice]:
    """Yield parts of so many rows in order, each beginning with the last row of the one before."""
    for start in range(0, count, HASHED_ROWS):
        yield slice(max(0, start - 1), start + HASHED_ROWS)
