"""A process that has imported everything and forks a child for each job, so that a run costs no start-up.

    python -m tests.torture.nest SOCKET     wait for jobs
    python -m tests.torture.nest --job JOB  do one and end: for environments that must be there from the start

A job is a JSON object on a connection of its own: {"do", "args", "env", "log"} and, for kills, {"events", "kill",
"victim"}. The answer is the child's process number on a line, and its wait status on another when it has ended.
"""

import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.curate import curate
from flows.maintain import maintain
from schemas.recipes import load_recipe
from schemas.settings import Settings
from storage import lake as lakes


def run(recipe: str, lake: str) -> dict[str, Any]:
    """Curate once."""
    snapshot = curate(load_recipe(recipe), lake=lake)
    return {"snapshot": snapshot.snapshot_id, "digest": snapshot.digest}


def settle(recipe: str, lake: str, twice: bool) -> dict[str, Any]:
    """Curate, and perhaps once more, and tidy up: what a person does after a fault."""
    snapshot = curate(load_recipe(recipe), lake=lake)
    said = {"snapshot": snapshot.snapshot_id, "digest": snapshot.digest, "same": True}
    if twice:
        again = curate(load_recipe(recipe), lake=lake)
        status = lakes.open(lake).runs()[0]["status"]
        said["same"] = again.snapshot_id == snapshot.snapshot_id and status == "unchanged"
    return said | {"freed": maintain(lake).freed_bytes}


def tidy(lake: str, keep: int = 10) -> dict[str, Any]:
    """Compact, let old versions go, remove what nothing names."""
    return {"freed": maintain(lake, keep=keep).freed_bytes}


def dashboard(lake: str, port: int) -> dict[str, Any]:
    """Show the lake and take verdicts, until it is killed."""
    from flows.cli.dashboard import listen, writing

    opened = lakes.open(lake)
    listen(opened, "127.0.0.1", port, None, (), writing(opened))
    return {}


def sleep(recipe: str, lake: str, at: int, until: str, slept: str) -> dict[str, Any]:
    """Curate, but stand still at an event until a file is there: no thread of the process renews anything meanwhile."""
    from storage import lease
    from tests.flows.driver import Events

    real, once = Events.note, []

    def note(events: Events, what: str) -> None:
        real(events, what)
        if events.count == at + 1 and not once:
            once.append(what)
            Path(slept).touch()
            while not Path(until).exists():
                time.sleep(0.05)

    Events.note = note  # type: ignore[method-assign]
    take = lease.take
    lease.take = lambda place, lease_s: take(place, lease_s=3.0)  # others wait no longer than this
    lease.Lease._keep_up = lambda self: None  # type: ignore[method-assign]
    unseen = {"machine": "", "host": "elsewhere", "pid": 1, "started": 0.0}
    lease._this_process = lambda: unseen  # nor see that it lives
    return run(recipe, lake)


def read(lake: str, stop: str, before: str, after: str, seen: str) -> dict[str, Any]:
    """Read the tag until a file is there, and compare each read with what it may be."""
    import pickle

    from schemas.errors import LakeError
    from tests.flows.conftest import rows_of

    may_be = [pickle.loads(Path(path).read_bytes()) for path in (before, after)]
    opened = lakes.open(lake)
    said: dict[str, Any] = {"reads": 0, "wrong": 0, "refused": 0, "why": ""}
    while not Path(stop).exists():
        try:
            said["wrong"] += rows_of(opened, opened.snapshot("latest").snapshot_id) not in may_be
            said["reads"] += 1
        except LakeError as error:
            said["refused"] += 1
            said["why"] = str(error)[:300]
        Path(seen).touch()
    return said


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "run": run,
    "settle": settle,
    "tidy": tidy,
    "sleep": sleep,
    "read": read,
    "dashboard": dashboard,
}


def do(job: dict[str, Any]) -> int:
    """Do a job in this process and return its exit code; the result, or the error, goes to `<log>.json`."""
    out = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(job["env"])
    tempfile.tempdir = None  # the environment may name another
    if job.get("events"):
        from tests.flows.driver import watch

        watch(job["events"], job.get("kill"), job.get("victim"))
    if "faketime" in os.environ.get("LD_PRELOAD", ""):  # it sets an end of a sleep that lies in another year
        time.sleep = lambda seconds: select.select([], [], [], max(0.0, seconds)) and None
    said = Path(f"{job['log']}.json")
    try:
        if url := job["env"].get("PREFECT_API_URL"):
            from prefect.settings import PREFECT_API_URL, temporary_settings

            with temporary_settings({PREFECT_API_URL: url}):
                result = JOBS[job["do"]](**job["args"])
        else:
            result = JOBS[job["do"]](**job["args"])
        said.write_text(json.dumps(result))
    except BaseException as error:
        traceback.print_exc()
        said.write_text(json.dumps({"error": type(error).__name__, "message": str(error)[:2000]}))
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def serve(address: str) -> None:
    """Fork for every connection: a child that does the job, and a parent of it that waits and says how it ended."""
    for module in ("tasks.quality.expectations", "uvicorn", "dashboards.server", "distributed", "s3fs"):
        importlib.import_module(module)
    Settings()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen(16)
        while True:
            connection, _ = door.accept()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if os.fork():
                connection.close()
                continue
            door.close()
            file = connection.makefile("rw")
            job = json.loads(file.readline())
            child = os.fork()
            if child == 0:
                connection.close()
                file.close()
                code = 1
                try:
                    code = do(job)
                finally:
                    os._exit(code)
            file.write(f"{child}\n")
            file.flush()
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            try:
                file.write(f"{status}\n")
                file.flush()
            finally:
                os._exit(0)


@dataclass
class Started:
    """A job at work.

    Args:
        pid: Of the process that does it.
        log: Its output; `<log>.json` has its result.
    """

    pid: int
    log: Path
    _connection: socket.socket
    _buffer: bytes = b""

    def wait(self, timeout_s: float = 300) -> int:
        """Return its exit code, negative for a signal.

        Raises:
            TimeoutError: It has not ended; it is killed.
        """
        if (code := self.ended(timeout_s)) is None:
            self.kill()
            raise TimeoutError(f"it did not end within {timeout_s:.0f} s and was killed; see {self.log}")
        return code

    def ended(self, within_s: float = 0.0) -> int | None:
        """Return its exit code if it ends in time; None if it does not."""
        end = time.monotonic() + within_s
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([self._connection], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                return None
            self._buffer += self._connection.recv(64)
        return int(self._buffer)

    def kill(self) -> None:
        """End it at once."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    @property
    def result(self) -> dict[str, Any]:
        """What it said; empty if it was killed before."""
        said = Path(f"{self.log}.json")
        return json.loads(said.read_text()) if said.exists() else {}


@dataclass
class Nest:
    """The warm process, from outside.

    Args:
        folder: For its socket and the logs of jobs.
        env: Environment of every job, beside its own.
    """

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        """Start it."""
        import subprocess

        self.folder.mkdir(parents=True, exist_ok=True)
        self._address = str(self.folder / "nest")
        with (self.folder / "nest.log").open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.nest", self._address],
                env=os.environ | self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def start(
        self, what: str, *, env: dict[str, str] | None = None, kill: tuple[str, int | None, int | None] | None = None,
        **args: Any,
    ) -> Started:  # fmt: skip
        """Start a job.

        Args:
            what: One of `JOBS`.
            env: Its environment beside the nest's.
            kill: File for its events, number of the one to kill at, whom; None, None: only noted.
            args: Of the job.
        """
        self._count += 1
        log = self.folder / f"{self._count:04d}-{what}.log"
        job: dict[str, Any] = {"do": what, "args": args, "env": env or {}, "log": str(log)}
        if kill is not None:
            job |= dict(zip(("events", "kill", "victim"), kill, strict=True))
        connection = self._connected()
        connection.sendall(json.dumps(job).encode() + b"\n")
        said = b""
        while b"\n" not in said:
            said += connection.recv(64)
        pid, _, rest = said.partition(b"\n")
        return Started(int(pid), log, connection, rest)

    def _connected(self) -> socket.socket:
        from tests.torture.world import until

        connection = socket.socket(socket.AF_UNIX)

        def reached() -> bool:
            assert self._process.poll() is None, (self.folder / "nest.log").read_text()[-2000:]
            try:
                connection.connect(self._address)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            return True

        until(reached)
        return connection

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(30)


if __name__ == "__main__":
    if sys.argv[1] == "--job":
        sys.exit(do(json.loads(sys.argv[2])))
    serve(sys.argv[1])
