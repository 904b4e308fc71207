"""Who writes to a lake on an object store: there is no lock to take there, so the writer holds a lease.

Two objects decide, each made by a PUT that fails where something lies already (`If-None-Match: *`). `_writer/<n>` is
the lease: the highest number holds it and says so every few seconds. `_commits/<snapshot>` is the commit: whoever makes
it names that snapshot, so of two writers who both believe they hold the lake one is refused. The lease saves work, the
commit saves the lake.
"""

import json
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from schemas.errors import LakeBusy, LakeError, Overtaken
from storage.places import Place
from storage.versions import Snapshot

LEASE_S = 30.0  # a holder that is silent for so long is taken to be dead
BEATS = 6  # signs of life in that time


@dataclass
class Lease:
    """A lake held by this process until it is released, or until another finds it silent and takes over.

    Args:
        place: The lake's place.
        number: Counts holders; the highest one holds the lake.
        lease_s: How long others wait for a sign of life before they take over, in seconds.
    """

    place: Place
    number: int
    lease_s: float
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self._beat = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="lease", daemon=True)

    def check(self) -> None:
        """Make sure that nobody took over.

        Raises:
            Overtaken: Somebody did.
        """
        if (holder := _newest(self.place)) != self.number:
            raise Overtaken(
                f"another run took {self.place.uri} over: this one gave no sign of life for {self.lease_s:g} s "
                f"(holder {holder}, this one {self.number}); run again"
            )

    def release(self) -> None:
        """Let go at once, so that nobody has to wait."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(
            Exception
        ):  # whatever a store out of reach raises: the next one waits until the lease runs out
            if _newest(self.place) == self.number:
                self.place.write(_path(self.place, self.number), self.body("released"))

    def body(self, state: str) -> bytes:
        """Return what the lease's object says."""
        told = {"token": self.token, "state": state, "beat": self._beat, "lease_s": self.lease_s}
        return json.dumps(told | _this_process()).encode()

    def start(self) -> None:
        """Give signs of life from now on."""
        self._thread.start()

    def _keep_up(self) -> None:
        while not self._over.wait(self.lease_s / BEATS):
            self._beat += 1
            with suppress(Exception):  # whatever a store out of reach raises: the next beat may get through
                if _newest(self.place) != self.number:
                    return
                self.place.write(_path(self.place, self.number), self.body("held"))


def take(place: Place, *, lease_s: float = LEASE_S) -> Lease:
    """Return the lease of a lake. Finding out that its holder is dead takes as long as the lease, unless it died here.

    Raises:
        LakeBusy: Another run holds it.
        LakeError: The store overwrites where it was told not to, so nothing could keep two writers apart.
    """
    newest = _newest(place)
    if newest and not _is_free(place, newest):
        raise LakeBusy(f"another run is writing to {place.uri}; wait for it, or look with `xmodal status`")
    lease = Lease(place, newest + 1, lease_s)
    path = _path(place, lease.number)
    if not put_new(place, path, lease.body("held")):
        raise LakeBusy(f"another run began to write to {place.uri} in the same moment")
    if put_new(place, path, b"{}"):
        place.fs.rm_file(path)
        raise LakeError(
            f"the store of {place.uri} ignores `If-None-Match`, so nothing keeps two writers apart and rows could be "
            "lost; use a store that honours conditional writes"
        )
    if _newest(place) != lease.number:  # an old listing led to a number that was gone already
        place.fs.rm_file(path)
        raise LakeBusy(f"another run began to write to {place.uri} in the same moment")
    for number in _numbers(place):
        if number < lease.number:
            with suppress(OSError):
                place.fs.rm_file(_path(place, number))
    lease.start()
    return lease


def claim(place: Place, snapshot: Snapshot) -> Snapshot:
    """Say what a snapshot is, once and for all, and return what was said first."""
    path = place.path("_commits", f"{snapshot.snapshot_id}.json")
    if put_new(place, path, json.dumps(snapshot.as_row(), default=str).encode()):
        return snapshot
    return claimed(place, snapshot.snapshot_id) or snapshot


def claimed(place: Place, snapshot_id: str) -> Snapshot | None:
    """Return what was said a snapshot is; None when nobody said anything."""
    data = _read(place, place.path("_commits", f"{snapshot_id}.json"))
    if data is None:
        return None
    row = json.loads(data)
    return Snapshot.from_row(row | {"created_at": datetime.fromisoformat(row["created_at"])})


def honours_conditions(place: Place) -> bool:
    """Whether the store refuses to write where something lies, if told to: what two writers are kept apart by."""
    path = place.path("_writer", f"probe-{uuid.uuid4().hex}")
    try:
        return put_new(place, path, b"1") and not put_new(place, path, b"2")
    finally:
        place.fs.rm_file(path)


def put_new(place: Place, path: str, data: bytes) -> bool:
    """Write an object where there is none, and return whether what lies there now is ours.

    Raises:
        OSError: The store cannot be reached.
    """
    try:
        place.fs.pipe_file(path, data, mode="create")
    except (
        Exception
    ):  # refused; or the answer was lost, which stores' clients say in many ways, and our write may be there
        found = _read(place, path)
        if found is None:
            raise
        return found == data
    return True


def _is_free(place: Place, number: int) -> bool:
    """Whether a holder is gone: it said so, its process ended on this machine, or it is silent for its lease."""
    first = _read(place, _path(place, number))
    holder = json.loads(first) if first else {}
    if not first or holder.get("state") == "released":
        return True
    mine = _this_process()
    if holder["machine"] and holder["machine"] == mine["machine"]:
        return not _runs(holder["pid"], holder["started"])
    lease_s, start = float(holder["lease_s"]), time.monotonic()
    while time.monotonic() - start < lease_s:
        time.sleep(lease_s / BEATS / 2)
        if _read(place, _path(place, number)) != first:
            return False
    return True


def _runs(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.Error:
        return False


def _this_process() -> dict[str, Any]:
    """Return which process this is. The machine is "" where process numbers cannot be told from another machine's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        machine = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        machine = ""
    started = psutil.Process().create_time()
    return {"machine": machine, "host": platform.node(), "pid": os.getpid(), "started": started}


def _newest(place: Place) -> int:
    """Return the highest number; 0 when nobody ever held the lake."""
    return max(_numbers(place), default=0)


def _numbers(place: Place) -> list[int]:
    try:
        names = [path.rsplit("/", 1)[-1] for path in place.fs.ls(place.path("_writer"), detail=False)]
    except FileNotFoundError:
        return []
    return [int(name) for name in names if name.isdigit()]


def _read(place: Place, path: str) -> bytes | None:
    try:
        return bytes(place.fs.cat_file(path))
    except FileNotFoundError:
        return None


def _path(place: Place, number: int) -> str:
    return place.path("_writer", f"{number:010d}")
