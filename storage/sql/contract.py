"""What the SQL door asks of functions that are plugged in, and the limits of a statement."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol

import pyarrow as pa

from storage.lake import Lake
from storage.versions import Snapshot

GROUP = "xmodal.sql"  # of the entry points that name a `Functions`


class TableFunction(Protocol):
    """A relation that a statement may read: `FROM search('a red bicycle', k => 50)`.

    It is called once before the statement runs, and again by no row: its arguments are constants and bound
    parameters.
    """

    def __call__(self, lake: Lake, snapshot: Snapshot | None, /, *args: Any, **named: Any) -> pa.Table:
        """Return its rows. A column `digest` of media or text ids is what other tables join on.

        Args:
            lake: The lake.
            snapshot: What the statement reads; None in an empty lake.
            *args: Positional arguments, as Python values.
            **named: Arguments given as `name => value`.

        Raises:
            TypeError: An argument is missing or unknown; said to whoever wrote the statement.
            XmodalError: As the function finds fit.
        """
        ...


class ScalarFunction(Protocol):
    """A number per row that another engine computes: `similarity(m.digest, 'a red bicycle')`.

    Its constants come first in time: it is called once with them, and may encode a text or open an index. What it
    returns is called with whole columns.
    """

    def __call__(
        self, lake: Lake, snapshot: Snapshot | None, /, *constants: Any, **named: Any
    ) -> Callable[..., pa.Array]:
        """Return a function of columns (N,), each without nulls, to (N,) float64; null where it cannot tell.

        Args:
            lake: The lake.
            snapshot: What the statement reads.
            *constants: The arguments after the columns, as Python values.
            **named: Arguments given as `name => value`.
        """
        ...


@dataclass(frozen=True)
class Functions:
    """What an engine brings to SQL.

    Args:
        tables: Table functions by name.
        scalars: Scalar functions by name.
    """

    tables: Mapping[str, TableFunction] = field(default_factory=dict)
    scalars: Mapping[str, ScalarFunction] = field(default_factory=dict)

    def and_those(self, other: "Functions") -> "Functions":
        """Return both; of one name the other's."""
        return Functions({**self.tables, **other.tables}, {**self.scalars, **other.scalars})


@dataclass(frozen=True)
class Limits:
    """What one statement may use.

    Args:
        seconds: Time until it is interrupted.
        memory: Working memory of the engine, as "1GB", before it spills to a temporary folder. Statements that run at
            the same time under the same limit share it.
        rows: Rows of the result; further ones are not read, and the result says so. None: all.
        result_bytes: Size of the result in memory; beyond it the statement fails.
        threads: Threads of the engine; as many as there are cores by default.

    Raises:
        ValueError: A limit is not positive.
    """

    seconds: float = 60.0
    memory: str = "1GB"
    rows: int | None = 100_000
    result_bytes: int = 1 << 30
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.result_bytes <= 0 or (self.rows is not None and self.rows < 0):
            raise ValueError(f"limits must be positive: {self}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, found {self.threads}")

    @property
    def cores(self) -> int:
        """Threads the engine gets."""
        if self.threads is not None:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_OFFERED: dict[str, Functions] = {}
_INSTALLED: list[Functions] = []


def offer(name: str, functions: Functions) -> None:
    """Let every statement of this process use these functions; the same name again replaces them.

    Installed packages are found without it: an entry point of group `xmodal.sql` names a `Functions`.
    """
    _OFFERED[name] = functions


def offered(names: Iterable[str] | None = None) -> Functions:
    """Return the functions that installed packages and this process offer; what was offered last wins.

    Args:
        names: Functions wanted. Packages are imported, which may take a second, only for names this process does not
            offer itself. None: all there are.
    """
    here = Functions()
    for functions in _OFFERED.values():
        here = here.and_those(functions)
    if names is not None and set(names) <= {*here.tables, *here.scalars}:
        return here
    if not _INSTALLED:
        found = Functions()
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            found = found.and_those(point.load())
        _INSTALLED.append(found)
    return _INSTALLED[0].and_those(here)
