"""Verdicts on their way to the lake: written down at once, stated in batches, tried again while the lake is busy.

A keystroke takes a millisecond here; stating a verdict takes a run of the lake's one writer. What is written down is
on disk before the page says so, outlives the server, and leaves only when the lake has it or refuses it for good.
"""

import contextvars
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from schemas.errors import LakeBusy, XmodalError

Say = Literal["keep", "drop", "withdraw"]
State = Callable[[Say, tuple[str, ...], str, str], str]  # what, of which subjects, who, why -> snapshot id

_TABLE = """CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, subject_id TEXT, say TEXT, person TEXT, comment TEXT, made_at TEXT, status TEXT,
    message TEXT DEFAULT '', snapshot_id TEXT DEFAULT '', undoes INTEGER)"""
_OPEN = "('waiting', 'writing')"
_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_LOG = logging.getLogger("xmodal.journal")


@dataclass(frozen=True)
class Entry:
    """One thing a person said.

    Args:
        id: Order in which it was said.
        subject_id: Of what.
        say: keep, drop or withdraw.
        person: Who.
        comment: Why.
        status: waiting, writing, written, refused, or taken back before it was written.
        message: Why it was refused or waits.
    """

    id: int
    subject_id: str
    say: Say
    person: str
    comment: str
    status: str
    message: str


class Journal:
    """Takes verdicts and sees to it that the lake gets them, in order for each subject.

    Args:
        path: SQLite file; several servers may share it.
        state: States a verdict; raises LakeBusy while another run writes.
        patience_s: How long to wait for more verdicts before a batch is stated.
        most: Verdicts of a batch.
    """

    def __init__(self, path: Path, state: State, *, patience_s: float = 1.5, most: int = 64) -> None:
        self.path, self.patience_s, self.most = path, patience_s, most
        self.trouble = ""  # why nothing is written just now; "" if all is well
        self._state = state
        self._wake, self._ending = threading.Event(), threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, subject_id: str, say: Say, person: str, comment: str = "") -> int:
        """Write a verdict down and return its number. It is on disk when this returns."""
        if not self.path.exists():
            self._make()
        with self._opened() as db:
            number = self._insert(db, subject_id, say, person, comment)
        self.start()
        return number

    def undo(self, person: str) -> Entry | None:
        """Take back the last thing a person said, written or not, and return it; None where there is nothing."""
        if not self.path.exists():
            return None
        with self._opened() as db:
            row = db.execute(
                "SELECT id, subject_id, say, person, comment, status, message FROM entries WHERE person = ? AND say <> "
                "'withdraw' AND status IN ('waiting', 'writing', 'written') AND id NOT IN (SELECT undoes FROM entries "
                "WHERE undoes IS NOT NULL) ORDER BY id DESC LIMIT 1",
                [person],
            ).fetchone()
            if row is None:
                return None
            last = Entry(*row)
            if last.status == "waiting":
                db.execute("UPDATE entries SET status = 'taken back' WHERE id = ?", [last.id])
            else:
                self._insert(db, last.subject_id, "withdraw", person, "", undoes=last.id)
        self.start()
        return last

    def waiting(self) -> dict[str, Say]:
        """Return {subject: what was said of it last} of what is not in the lake yet."""
        if not self.path.exists():
            return {}
        with self._opened() as db:
            rows = db.execute(
                f"SELECT subject_id, say FROM entries WHERE status IN {_OPEN} ORDER BY id"
            ).fetchall()
        return dict(rows)

    def counts(self) -> dict[str, int]:
        """Return {status: entries}."""
        if not self.path.exists():
            return {}
        with self._opened() as db:
            return dict(db.execute("SELECT status, count(*) FROM entries GROUP BY 1").fetchall())

    def last(self, n: int = 10) -> list[Entry]:
        """Return the last entries, newest first."""
        if not self.path.exists():
            return []
        with self._opened() as db:
            rows = db.execute(
                "SELECT id, subject_id, say, person, comment, status, message FROM entries ORDER BY id DESC LIMIT ?",
                [n],
            ).fetchall()
        return [Entry(*row) for row in rows]

    def start(self) -> None:
        """See to it that what waits is being written."""
        with self._guard:
            if self._thread is None or not self._thread.is_alive():
                context = contextvars.copy_context()  # flows find their server there
                self._thread = threading.Thread(
                    target=lambda: context.run(self._work), name="xmodal-verdicts", daemon=True
                )
                self._thread.start()
            self._wake.set()

    def settle(self, timeout_s: float = 60.0) -> bool:
        """Wait until nothing waits; say whether that came to be."""
        until = time.monotonic() + timeout_s
        while self.waiting():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def close(self, timeout_s: float = 30.0) -> None:
        """Stop writing after the batch at hand. What waits stays written down for the next start."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _make(self) -> None:
        """Make the file, whole or not at all: others may look for it, or make it, at the same moment."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.part")
        with closing(sqlite3.connect(part)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(_TABLE)
        with suppress(FileExistsError):
            os.link(part, self.path)
        part.unlink()

    def _work(self) -> None:
        failures = 0
        while not self._ending.is_set():
            if not self.waiting():
                self.trouble = ""
                self._wake.clear()
                if not self.waiting():
                    self._wake.wait(5.0)
                continue
            self._ending.wait(
                self.patience_s if not failures else _PAUSES_S[min(failures, len(_PAUSES_S)) - 1]
            )
            if self._ending.is_set():
                return
            try:
                with FileLock(f"{self.path}.lock").acquire(timeout=0):
                    with self._opened() as db:  # what another writer left behind when it was killed
                        db.execute("UPDATE entries SET status = 'waiting' WHERE status = 'writing'")
                    while not self._ending.is_set() and (batch := self._claimed()):
                        self._stated(batch)
                failures, self.trouble = 0, ""
            except Timeout:
                failures, self.trouble = failures + 1, "another server is writing verdicts to this lake"
            except LakeBusy as error:
                failures, self.trouble = failures + 1, str(error)
            except Exception as error:  # whatever it is, verdicts wait: they are never lost
                _LOG.exception("verdicts could not be stated and wait")
                failures, self.trouble = failures + 1, f"{type(error).__name__}: {error}"[:300]

    def _claimed(self) -> list[Entry]:
        """Return verdicts that one statement can hold: of one person, to one effect, none overtaking another of its subject."""
        with self._opened() as db:
            rows = db.execute(
                "SELECT id, subject_id, say, person, comment, status, message FROM entries WHERE status = 'waiting' "
                "ORDER BY id LIMIT 1000"
            ).fetchall()
            batch: list[Entry] = []
            seen: set[str] = set()
            for entry in (Entry(*row) for row in rows):
                alike = not batch or (entry.say, entry.person, entry.comment) == (
                    batch[0].say, batch[0].person, batch[0].comment,
                )  # fmt: skip
                if alike and entry.subject_id not in seen and len(batch) < self.most:
                    batch.append(entry)
                seen.add(entry.subject_id)
            db.executemany(
                "UPDATE entries SET status = 'writing' WHERE id = ?", [[entry.id] for entry in batch]
            )
        return batch

    def _stated(self, batch: list[Entry]) -> None:
        first = batch[0]
        try:
            subjects = tuple(entry.subject_id for entry in batch)
            snapshot_id = self._state(first.say, subjects, first.person, first.comment)
        except LakeBusy:
            self._mark(batch, "waiting", "the lake is busy")
            raise
        except XmodalError as error:
            if len(batch) == 1:
                self._mark(batch, "refused", str(error)[:500])
                return
            for entry in batch:  # one of them is at fault; the others shall not suffer
                self._stated([entry])
        except Exception:
            self._mark(batch, "waiting", "it could not be written yet")
            raise
        else:
            self._mark(batch, "written", "", snapshot_id)

    def _mark(self, batch: list[Entry], status: str, message: str, snapshot_id: str = "") -> None:
        with self._opened() as db:
            db.executemany(
                "UPDATE entries SET status = ?, message = ?, snapshot_id = ? WHERE id = ?",
                [[status, message, snapshot_id, entry.id] for entry in batch],
            )

    def _insert(
        self,
        db: sqlite3.Connection,
        subject_id: str,
        say: Say,
        person: str,
        comment: str,
        undoes: int | None = None,
    ) -> int:
        found = db.execute(
            "INSERT INTO entries (subject_id, say, person, comment, made_at, status, undoes) "
            "VALUES (?, ?, ?, ?, ?, 'waiting', ?)",
            [subject_id, say, person, comment, datetime.now(UTC).isoformat(), undoes],
        )
        return int(found.lastrowid or 0)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction, which is on disk when the block ends."""
        with closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
