"""Which rows of a stream have a key of a set, where a join would hold the set: hashes in a file, then the keys themselves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.batch import empty_on_disk

READ_ROWS = 1 << 14  # at once


@dataclass(frozen=True)
class Keys:
    """Keys, each once, to be found again by their hashes: 8 bytes and its own a key, in files once they are many.

    Args:
        hashed: (N,) uint64, ascending: the upper bits of a key's hash, and its number below.
        keys: (M,) bytes, by their numbers; no key ends in a zero byte.
    """

    hashed: NDArray[np.uint64]
    keys: NDArray[np.bytes_]

    def matches(
        self, hashes: NDArray[np.uint64], keys: pa.Array
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint64]]]:
        """Yield which of some rows have one of the keys, and the keys' numbers. Each row once.

        Args:
            hashes: (B,) Of the rows' keys, as the engine's `hash` gives them.
            keys: (B,) strings.
        """
        mask = _mask(len(self.keys))
        order = np.argsort(
            hashes
        )  # looked up one after another, they find most of the way in the processor's memory
        upper = hashes[order] & ~mask
        next_ = np.searchsorted(self.hashed, upper)
        found = np.flatnonzero(next_ < len(self.hashed))
        found = found[self.hashed[next_[found]] & ~mask == upper[found]]
        rows, next_ = order[found], next_[found]
        end = np.searchsorted(self.hashed, upper[found] | mask, "right")
        theirs = np.array(keys.take(pa.array(rows)).cast(pa.binary()).to_pylist(), np.bytes_)
        while len(rows):  # twice where two keys' hashes begin alike
            numbers = self.hashed[next_] & mask
            same = self.keys[numbers] == theirs
            yield rows[same], numbers[same]
            next_ = next_ + 1
            going_on = ~same & (next_ < end)
            rows, theirs, next_, end = rows[going_on], theirs[going_on], next_[going_on], end[going_on]


def keys_of(
    con: duckdb.DuckDBPyConnection,
    read: Callable[[], pa.RecordBatchReader],
    key: str,
    wanted: NDArray[np.bool_],
) -> Keys:
    """Return the keys of the rows that are wanted, each with its row's number.

    Args:
        con: A cursor.
        read: Reads the rows' keys, and their numbers as `place`; called twice.
        key: Name of the column, never null.
        wanted: (M,) Of the rows, each key once; fewer than are read: the others are not wanted.
    """
    con.register("keyed", read())
    ((width,),) = con.execute(f"SELECT max(strlen({key})) FROM keyed").fetchall()
    hashed, done = empty_on_disk(int(wanted.sum()), np.uint64), 0
    keys = empty_on_disk(len(wanted), f"S{max(1, width or 0)}")
    con.register("keyed", read())
    rows = con.sql(f"SELECT place, hash({key}) AS hash, {key} AS key FROM keyed WHERE place < {len(wanted)}")
    for batch in rows.to_arrow_reader(READ_ROWS):
        place = batch["place"].to_numpy()
        keys[place] = np.array(batch["key"].cast(pa.binary()).to_pylist(), keys.dtype)
        here = wanted[place]
        hashed[done : done + here.sum()] = batch["hash"].to_numpy()[here] & ~_mask(len(wanted)) | place[
            here
        ].astype(np.uint64)
        done += here.sum()
    con.unregister("keyed")
    hashed.sort()
    return Keys(hashed, keys)


def _mask(count: int) -> np.uint64:
    """Return the bits that numbers below a count take."""
    return np.uint64((1 << max(1, (count - 1).bit_length())) - 1)
