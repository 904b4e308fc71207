"""One DuckDB for what a flow joins: little memory, and a folder for what does not fit in."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb
import psutil

from storage.memory import give_back
from storage.scratch import scratch

T = TypeVar("T")
_log = logging.getLogger("xmodal.joins")
MEMORY = "256MB"
# Of a flow that sorts in parts and joins two tables a statement: enough for nearly all of them, up to so many rows.
LITTLE_MB = 32
LITTLE_ROWS = 1_300_000
MUCH_ROWS = 100_000  # with fewer, what joins hold is not worth a millisecond a statement
MORE = 1.25  # times as much for a statement that lacks memory; what it lacks shows within a second
# What a join must hold at least grows with its rows: 32 to 64 MB at 1.3 million keys, 128 to 256 at thirteen. There one took 17
# CPU s with 101 MB, by the square root, and 11 with 140 to 320.
MORE_ROWS_POWER = 2 / 3
# What a query held goes back to the system when it is done, not at some later query: the engine's allocator keeps it.
GIVING_BACK = {
    "allocator_background_threads": "true",
    "allocator_flush_threshold": "16MB",
    "allocator_bulk_deallocation_flush_threshold": "16MB",
}

_DATABASE: ContextVar[Sequence[duckdb.DuckDBPyConnection]] = ContextVar("database", default=())
_LITTLE: ContextVar["_Little | None"] = ContextVar("little", default=None)  # where the limit is ours to raise


@dataclass
class _Little:
    """What a `database` of little memory may hold at present, and whether there is much to join."""

    least_mb: float
    limit_mb: float
    is_much: bool = False


@contextmanager
def database(memory: str = MEMORY, *, little: int | None = None) -> Iterator[None]:
    """Have all cursors opened inside share one DuckDB: starting one costs more than most of their queries.

    It reads nothing but what a cursor is given.

    Args:
        memory: Limit of all of them together before queries spill to a temporary folder, such as "4GB"; auto: `MEMORY`. Of
            several joins of one statement each holds a part of its keys, whatever the limit.
        little: MB that "auto" means instead, for one thread, to begin with: `expect` and `with_enough` make it more.
    """
    if memory != "auto":
        little = None
    elif little is None:
        memory = MEMORY
    else:
        memory = f"{little}MB"
    with scratch("spill") as spill:
        config: dict[str, Any] = {
            **GIVING_BACK,
            "memory_limit": memory,
            "temp_directory": spill,
            "python_enable_replacements": "false",
            "threads": "1" if little else "2",  # each holds its own part of every join
            "preserve_insertion_order": "false",
        }
        with duckdb.connect(config=config) as con:
            con.execute("SET enable_external_access = false")  # last: it also freezes temp_directory
            shared = [con]
            token, was_little = (
                _DATABASE.set(shared),
                _LITTLE.set(_Little(little, little) if little else None),
            )
            try:
                yield
            finally:
                _LITTLE.reset(was_little)
                _DATABASE.reset(token)
                shared.clear()  # a task's copy of the context lives on: it shall not hold the connection


def expect(rows: int) -> None:
    """Let joins hold what they must, where the limit of the `database` around is a little one.

    Args:
        rows: Of the largest tables.
    """
    if (little := _LITTLE.get()) is not None:
        little.is_much = little.is_much or rows > MUCH_ROWS
        least = little.least_mb * max(1, rows / LITTLE_ROWS) ** MORE_ROWS_POWER
        if least > little.limit_mb:
            _set_limit(little, least)


def with_enough(make: Callable[[], T]) -> T:
    """Return what is made from the start by a statement, with as much memory as it takes, where the limit is ours to raise.

    Afterwards the limit is what it was.
    """
    little = _LITTLE.get()
    if little is None:
        return make()
    before, most = little.limit_mb, psutil.virtual_memory().total / 1e6 / 8
    try:
        while True:
            try:
                return make()
            except (duckdb.Error, OSError) as error:  # what a reader of Arrow's says, is an OSError
                if not lacks_memory(error) or little.limit_mb > most:
                    raise
                more = MORE * little.limit_mb
                _log.debug("A join gets more memory, %.0f MB: %s", more, str(error).splitlines()[0])
                _set_limit(little, more)
    finally:
        _give_back(little, before)


def lacks_memory(error: Exception) -> bool:
    """Whether a statement failed for lack of memory."""
    return isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory Error" in str(error)


def _give_back(little: _Little, limit_mb: float) -> None:
    """Go back to a limit, and have what was freed go back to the system: the engine keeps up to 75 MB and more of it."""
    if little.is_much or limit_mb < little.limit_mb:
        with suppress(duckdb.OutOfMemoryException):  # a result that is still being read holds more
            _set_limit(little, limit_mb)
    if little.is_much:
        give_back()


def _set_limit(little: _Little, limit_mb: float) -> None:
    """Set what joins may hold; it also empties what the engine's allocator keeps, in some ten milliseconds."""
    with _DATABASE.get()[0].cursor() as con:
        con.execute(f"SET GLOBAL memory_limit = '{limit_mb:.0f}MB'")
    little.limit_mb = limit_mb


@contextmanager
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection of its own, names included, to the `database` around it, or to a new one."""
    with ExitStack() as stack:
        if not _DATABASE.get():
            stack.enter_context(database())
        con = stack.enter_context(_DATABASE.get()[0].cursor())
        con.execute("SET TimeZone = 'UTC'")
        yield con
        con.close()  # and what it names
        if (little := _LITTLE.get()) is not None:
            _give_back(little, little.limit_mb)


@contextmanager
def as_written(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Have joins take place as they are written: what stands on the right is held in memory, what stands left passes by.

    For rows with pixels. Sizes are not known here, and the engine would hold them as soon as keys.
    """
    setting = con.cursor()  # one of its own: where the block fails, ours still has an open result
    ((before,),) = setting.execute("SELECT current_setting('disabled_optimizers')").fetchall()
    setting.execute("SET GLOBAL disabled_optimizers = 'join_order,build_side_probe_side'")
    try:
        yield
    finally:
        setting.execute(f"SET GLOBAL disabled_optimizers = '{before}'")  # one of these may stand in another
        setting.close()
