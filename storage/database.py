"""One DuckDB for what a flow joins: little memory, and a folder for what does not fit in."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import duckdb
import psutil

from storage.scratch import scratch

T = TypeVar("T")
_log = logging.getLogger("xmodal.joins")
MEMORY = "256MB"
# Of a flow that sorts in parts: what a statement of one narrow join needs, and what one of several does.
LITTLE_MB = 64
SEVERAL_MB = 96
LITTLE_ROWS = 1_300_000  # that they are enough for
# What a join must hold at least grows with its rows: 64 MB at 1.3 million keys, between 128 and 256 at thirteen.
MORE_ROWS_POWER = 0.5
# What a query held goes back to the system when it is done, not at some later query: the engine's allocator keeps it.
GIVING_BACK = {
    "allocator_background_threads": "true",
    "allocator_flush_threshold": "16MB",
    "allocator_bulk_deallocation_flush_threshold": "16MB",
}

_DATABASE: ContextVar[Sequence[duckdb.DuckDBPyConnection]] = ContextVar("database", default=())
_LITTLE: ContextVar[list[float] | None] = ContextVar(
    "little", default=None
)  # MB, where the limit is ours to raise


@contextmanager
def database(memory: str = MEMORY, *, little: bool = False) -> Iterator[None]:
    """Have all cursors opened inside share one DuckDB: starting one costs more than most of their queries.

    It reads nothing but what a cursor is given.

    Args:
        memory: Limit of all of them together before queries spill to a temporary folder, such as "4GB"; auto: `MEMORY`. Of
            several joins of one statement each holds a part of its keys, whatever the limit.
        little: Have "auto" mean `LITTLE_MB` instead, and what `expect` makes of it.
    """
    little = little and memory == "auto"
    if memory == "auto":
        memory = f"{LITTLE_MB}MB" if little else MEMORY
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
            token, was_little = _DATABASE.set(shared), _LITTLE.set([LITTLE_MB] if little else None)
            try:
                yield
            finally:
                _LITTLE.reset(was_little)
                _DATABASE.reset(token)
                shared.clear()  # a task's copy of the context lives on: it shall not hold the connection


def expect(rows: int, *, several: bool = False) -> None:
    """Let joins hold what they must, where the limit of the `database` around is a little one.

    Args:
        rows: Of the largest tables.
        several: Whether a statement makes several joins, from now on.
    """
    _raise_to((SEVERAL_MB if several else LITTLE_MB) * max(1, rows / LITTLE_ROWS) ** MORE_ROWS_POWER)


def with_enough(make: Callable[[], T]) -> T:
    """Return what is made from the start by a statement, with as much memory as it takes, where the limit is ours to raise."""
    while True:
        try:
            return make()
        except (duckdb.Error, OSError) as error:  # what a reader of Arrow's says, is an OSError
            little = _LITTLE.get()
            if (
                little is None
                or not lacks_memory(error)
                or little[0] > psutil.virtual_memory().total / 1e6 / 8
            ):
                raise
            _log.warning(
                "Joins get twice as much memory, %.0f MB: %s", 2 * little[0], str(error).splitlines()[0]
            )
            _raise_to(2 * little[0])


def lacks_memory(error: Exception) -> bool:
    """Whether a statement failed for lack of memory."""
    return isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory Error" in str(error)


def _raise_to(limit_mb: float) -> None:
    little = _LITTLE.get()
    if little is not None and limit_mb > little[0]:
        with _DATABASE.get()[0].cursor() as con:
            con.execute(f"SET GLOBAL memory_limit = '{limit_mb:.0f}MB'")
        little[0] = limit_mb


@contextmanager
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection of its own, names included, to the `database` around it, or to a new one."""
    with ExitStack() as stack:
        if not _DATABASE.get():
            stack.enter_context(database())
        con = stack.enter_context(_DATABASE.get()[0].cursor())
        con.execute("SET TimeZone = 'UTC'")
        yield con


@contextmanager
def as_written(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Have joins take place as they are written: what stands on the right is held in memory, what stands left passes by.

    For rows with pixels. Sizes are not known here, and the engine would hold them as soon as keys.
    """
    setting = con.cursor()  # one of its own: where the block fails, ours still has an open result
    setting.execute("SET GLOBAL disabled_optimizers = 'join_order,build_side_probe_side'")
    try:
        yield
    finally:
        setting.execute("RESET GLOBAL disabled_optimizers")
        setting.close()
