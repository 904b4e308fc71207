"""Columns that are asked for again and again, kept in the engine's own compressed format, in memory and bounded.

A snapshot's version of a table never changes, so nothing kept can be out of date. What is asked for once is scanned
where it lies.
"""

import itertools
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import duckdb
import lance
import pyarrow as pa

from storage.remembered import Remembered
from storage.sql.scans import Scan

DATABASE = "kept"
LIMIT_BYTES = 512 << 20  # before compression, which leaves a third to a tenth
SAMPLE = 1024  # rows that say how wide a column is
REMEMBERED = 10_000  # columns asked for

Key = tuple[object, ...]


@dataclass
class _Copy:
    name: str
    columns: frozenset[str]
    nbytes: int
    users: int = 0


@dataclass
class Kept:
    """Copies of columns, those used longest ago let go first. Safe to use from several threads.

    Args:
        limit: Bytes of all copies together, before compression.
    """

    limit: int = LIMIT_BYTES
    _copies: OrderedDict[Key, _Copy] = field(default_factory=OrderedDict)
    _asked: Counter[Key] = field(default_factory=Counter)
    _sizes: Remembered = field(default_factory=lambda: Remembered(REMEMBERED))
    _numbers: itertools.count = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def borrow(
        self,
        con: duckdb.DuckDBPyConnection,
        key: Key,
        dataset: lance.LanceDataset,
        scan: Scan,
        columns: Sequence[str],
    ) -> tuple[str, Callable[[], None]] | None:
        """Return the name of a copy that has these columns and what to call when done with it; None: scan the table.

        A copy is made when columns that are plain and small enough are asked for the second time.

        Args:
            con: A cursor.
            key: Names the version of the table, for ever.
            dataset: The table.
            scan: The table, as the engine reads it.
            columns: Columns asked for.
        """
        wanted = frozenset(columns)
        if not wanted or not all(_plain(dataset.schema.field(name).type) for name in wanted):
            return None
        with self._lock:
            copy = self._copies.get(key)
            if copy is None or not wanted <= copy.columns:
                copy = self._made(con, key, dataset, scan, wanted | (copy.columns if copy else frozenset()))
            if copy is None:
                return None
            self._copies.move_to_end(key)
            copy.users += 1

        def done() -> None:
            with self._lock:
                copy.users -= 1

        return f'{DATABASE}.main."{copy.name}"', done

    def forget(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let go of everything nobody uses, and of what was asked for."""
        with self._lock:
            self._asked.clear()
            self._let_go(con, self.limit)

    @property
    def nbytes(self) -> int:
        """Bytes kept, before compression."""
        return sum(copy.nbytes for copy in self._copies.values())

    def _made(
        self,
        con: duckdb.DuckDBPyConnection,
        key: Key,
        dataset: lance.LanceDataset,
        scan: Scan,
        columns: frozenset[str],
    ) -> _Copy | None:
        new = [name for name in columns if not self._asked[*key, name]]
        if len(self._asked) > REMEMBERED:
            self._asked.clear()
        self._asked.update((*key, name) for name in columns)
        if new:
            return None
        nbytes = self._sizes.get((key, columns), lambda: _size(dataset, columns))
        if not nbytes or nbytes > self.limit // 2:
            return None
        old = self._copies.get(key)
        if old is not None and old.users:
            return None
        if old is not None:
            self._drop(con, key)
        self._let_go(con, nbytes)
        if self.nbytes + nbytes > self.limit:
            return None
        name = f"copy_{next(self._numbers)}"
        con.register("copied", scan)
        try:
            listed = ", ".join(f'"{column}"' for column in dataset.schema.names if column in columns)
            con.execute(f'CREATE TABLE {DATABASE}.main."{name}" AS SELECT {listed} FROM copied')
        except duckdb.OutOfMemoryException:
            return None
        finally:
            con.unregister("copied")
        with suppress(duckdb.TransactionException):  # another statement is writing: it stays uncompressed
            con.execute(f"CHECKPOINT {DATABASE}")
        self._copies[key] = _Copy(name, columns, nbytes)
        return self._copies[key]

    def _let_go(self, con: duckdb.DuckDBPyConnection, nbytes: int) -> None:
        for key in [key for key, copy in self._copies.items() if not copy.users]:
            if self.nbytes + nbytes <= self.limit:
                break
            self._drop(con, key)

    def _drop(self, con: duckdb.DuckDBPyConnection, key: Key) -> None:
        con.execute(f'DROP TABLE {DATABASE}.main."{self._copies.pop(key).name}"')


def _size(dataset: lance.LanceDataset, columns: Iterable[str]) -> int:
    """Return the bytes of some columns, guessed from the first rows."""
    sample = dataset.head(SAMPLE, columns=sorted(columns))
    return int(sample.nbytes * (dataset.count_rows() / max(1, sample.num_rows)))


def _plain(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind)
        or pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_timestamp(kind)
    )
