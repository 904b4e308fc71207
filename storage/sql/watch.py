"""Statements that take too long, or make the process grow too much, are interrupted."""

import atexit
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import duckdb
import psutil

from schemas.errors import SqlError
from storage.sql.contract import Limits

WATCHED_S = 0.05


@dataclass(eq=False)
class Watch:
    """A statement that runs, and what it is over."""

    con: duckdb.DuckDBPyConnection
    deadline: float
    limits: Limits
    most_bytes: int  # that the process may have
    over: str = ""

    def check(self) -> None:
        """Raise where the statement has run out of time or memory."""
        self.look(0)
        if self.over:
            raise SqlError(f"the statement {self.over}; ask for less, or raise the limit")

    def look(self, held: int) -> bool:
        """Say whether the statement has run out of time or memory."""
        if not self.over and time.monotonic() > self.deadline:
            self.over = f"took longer than {self.limits.seconds:g} s"
        elif not self.over and held > self.most_bytes:
            self.over = f"made the process grow far beyond {self.limits.memory}"
        return bool(self.over)


class Watcher:
    """One thread that interrupts statements which take too long, or whose process grows too much."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        self._over = False
        atexit.register(self._stop)

    def _stop(self) -> None:
        """End the thread at exit: what a thread still holds, the engine complains of."""
        self._over = True
        self._some.set()
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def watching(self, con: duckdb.DuckDBPyConnection, limits: Limits) -> Iterator[Watch]:
        """Interrupt a cursor once it is over its limits."""
        most = _held() + 2 * _bytes(limits.memory) + limits.result_bytes
        watch = Watch(con, time.monotonic() + limits.seconds, limits, most)
        with self._lock:
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():  # a fork has no threads
                self._thread = threading.Thread(target=self._look, name="xmodal-sql-watch", daemon=True)
                self._thread.start()
            self._some.set()
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)
                if not self._watches:
                    self._some.clear()

    def _look(self) -> None:
        while not self._over:
            self._some.wait()
            self._interrupt(_held())
            time.sleep(WATCHED_S)

    def _interrupt(self, held: int) -> None:
        with self._lock:  # held while interrupting: a cursor that is done is no longer here
            for watch in self._watches:
                if watch.look(held):
                    watch.con.interrupt()


WATCHER = Watcher()


def _held() -> int:
    """Return the bytes this process has in memory, without what it has mapped from files, where the system tells them apart."""
    found = _process(os.getpid()).memory_info()
    return int(found.rss - getattr(found, "shared", 0))


@lru_cache(maxsize=1)
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)  # looks up when the process began, which takes longer than its memory


def _bytes(memory: str) -> int:
    number, unit = "", ""
    for char in memory.strip():
        if char.isdigit() or char == ".":
            number += char
        else:
            unit += char
    powers = {"k": 10, "m": 20, "g": 30, "t": 40}
    try:
        return int(float(number) * (1 << powers.get(unit.strip().lower()[:1], 0)))
    except ValueError as error:
        raise ValueError(f"memory is a number with a unit, such as '1GB'; found {memory!r}") from error
