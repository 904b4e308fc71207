"""What the run at work is doing: a file beside the tables of a local lake, written anew at each step, gone with the run."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from storage.lake import Lake

FOLDER = "_running"
PAUSE_S = 0.5  # between two writes while shards finish


@dataclass
class Running:
    """A run at work.

    Args:
        run_id: Its id.
        flow: Name of the flow.
        recipe: Name of the recipe.
        pid: Its process.
        created: When that process began, seconds since the epoch: a number may go to another one.
        started_at: When the run began, seconds since the epoch.
        step: What it does now; "" between steps.
        step_started_at: Since when, seconds since the epoch.
        label: What is counted, where a step has shards.
        done: Shards that are done.
        total: Of so many; 0: none were begun.
        steps: Steps that are done: {step, wall_s, items, counts}.
    """

    run_id: str
    flow: str
    recipe: str
    pid: int
    created: float
    started_at: float
    step: str = ""
    step_started_at: float = 0.0
    label: str = ""
    done: int = 0
    total: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        """Whether its process still runs, as far as this machine can tell."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.created) < 1
        except psutil.Error:
            return False


class Board:
    """Where a run says what it does. What cannot be written is not said: no run fails for it."""

    def __init__(self, path: Path | None, run: Running) -> None:
        self._path, self.run = path, run
        self._written = 0.0

    def began(self, step: str) -> None:
        """Say that a step began."""
        self.run.step, self.run.step_started_at = step, time.time()
        self.run.label, self.run.done, self.run.total = "", 0, 0
        self._write()

    def ended(self, step: dict[str, Any]) -> None:
        """Say that a step is done, and what it counted."""
        self.run.steps.append(step)
        self.run.step = ""
        self._write()

    def progress(self, label: str, done: int, total: int) -> None:
        """Say how many shards are done; told often, written now and then."""
        self.run.label, self.run.done, self.run.total = label, done, total
        if done in (0, total) or time.monotonic() - self._written > PAUSE_S:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written = time.monotonic()
        part = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(asdict(self.run)))
            part.replace(self._path)
        except OSError:  # a disk is full, a lake is read-only
            with suppress(OSError):
                part.unlink(missing_ok=True)


@contextmanager
def board(lake: Lake, run_id: str, flow: str, recipe: str) -> Iterator[Board]:
    """Open the board of a run that holds the lake, and clear what killed ones left.

    On an object store nobody reads it and nothing is written.
    """
    process = psutil.Process()
    run = Running(run_id, flow, recipe, os.getpid(), process.create_time(), time.time())
    path = None
    if lake.place.is_local:
        path = Path(lake.place.root) / FOLDER / f"{run_id}.json"
        for left in path.parent.glob("*"):
            with suppress(OSError):
                left.unlink()
    found = Board(path, run)
    found._write()
    try:
        yield found
    finally:
        if path is not None:
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()


def running(lake: Lake) -> list[Running]:
    """Return the runs that are at work on a local lake, the oldest first; what a killed run left behind is passed over."""
    if not lake.place.is_local:
        return []
    found = []
    for path in sorted((Path(lake.place.root) / FOLDER).glob("*.json")):
        try:
            run = Running(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):  # gone meanwhile, or of another version of us
            continue
        if run.is_alive:
            found.append(run)
    return sorted(found, key=lambda run: run.started_at)
