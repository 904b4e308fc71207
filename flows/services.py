"""Processes that keep running on one machine, each in a group of its own, found again by its pid file."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from schemas.errors import ServiceError

TAIL = 20  # lines of a log that are shown when its process has died


@dataclass(frozen=True)
class Service:
    """A process to keep running.

    Args:
        name: Names its pid file and its log.
        command: What to run.
        environment: All of its environment.
        url: Where it answers, for people; "" for nowhere.
        is_healthy: Whether it answers, given the time it was started at.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str
    is_healthy: Callable[[float], bool]


@dataclass(frozen=True)
class Running:
    """What a pid file says: enough to know the process again, even after its number went to another one.

    Args:
        name: Of the service.
        pid: Its number, which is also its process group's.
        created: When the process began, in seconds since the epoch.
        url: Where it answers.
    """

    name: str
    pid: int
    created: float
    url: str

    @property
    def process(self) -> psutil.Process | None:
        """The process, unless it has ended."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < 1
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class State:
    """The folder of what was started: `<name>.pid` and `<name>.log`.

    Args:
        folder: Where.
    """

    folder: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, so that two commands do not start or stop the same thing.

        Raises:
            ServiceError: Another one holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ServiceError(f"another `xmodal up` or `down` is at work in {self.folder}") from error
        try:
            yield
        finally:
            lock.release()

    def log(self, name: str) -> Path:
        """Return where a service's output goes."""
        return self.folder / f"{name}.log"

    def found(self, name: str) -> Running | None:
        """Return what was started under a name, whether or not it still runs."""
        try:
            return Running(**json.loads(self._pid_file(name).read_text()))
        except (FileNotFoundError, ValueError, TypeError):  # a pid file cut short says nothing
            return None

    def running(self, name: str) -> Running | None:
        """Return a service that runs."""
        found = self.found(name)
        return found if found and found.process else None

    def start(self, service: Service) -> Running:
        """Start a service and return it. Its last log is kept beside the new one."""
        log = self.log(service.name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        with log.open("wb") as out:
            process = subprocess.Popen(
                service.command,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        created = psutil.Process(process.pid).create_time()
        started = Running(service.name, process.pid, created, service.url)
        written = self._pid_file(service.name).with_suffix(".part")
        written.write_text(json.dumps(asdict(started)))
        written.replace(self._pid_file(service.name))
        return started

    def wait(self, service: Service, started: Running, *, seconds: float, say: Callable[[str], None]) -> None:
        """Return when a service answers.

        Raises:
            ServiceError: It has died, or does not answer in time; says the end of its log.
        """
        begun = told = time.monotonic()
        while not service.is_healthy(started.created):
            now = time.monotonic()
            if started.process is None:
                raise ServiceError(f"{service.name} has died; {self._said(service.name)}")
            if now - begun > seconds:
                raise ServiceError(
                    f"{service.name} does not answer after {seconds:.0f} s; {self._said(service.name)}"
                )
            if now - told > 5:
                told = now
                say(f"{service.name}: starting, {now - begun:.0f} s")
            time.sleep(0.25)

    def stop(self, name: str, *, grace_s: float) -> bool:
        """End a service and whatever it started: asked at first, killed after a while. Return whether it ran.

        Args:
            name: Of the service.
            grace_s: Seconds between asking and killing.
        """
        running = self.running(name)
        if running is not None and (process := running.process) is not None:
            end([process, *process.children(recursive=True)], grace_s=grace_s)
        self._pid_file(name).unlink(missing_ok=True)
        return running is not None

    def strays(self) -> list[psutil.Process]:
        """Return flow runs whose worker is gone: their environment names this folder and a run."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if (
                    "PREFECT__FLOW_RUN_ID" in environment
                    and environment.get("XMODAL_STATE") == str(self.folder)
                    and process.pid != os.getpid()
                ):
                    found.append(process)
        return found

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}.pid"

    def _said(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join([f"the end of {self.log(name)}:", *lines])


def is_free(host: str, port: int) -> bool:
    """Whether nothing listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def end(processes: list[psutil.Process], *, grace_s: float) -> None:
    """End processes and their groups: asked at first, and what is left after `grace_s` seconds is killed."""
    _signal(processes, signal.SIGTERM)
    if left := _left_after(grace_s, processes):
        left += [child for one in left for child in _children(one)]
        _signal(left, signal.SIGKILL)
        _left_after(5, left)


def _signal(processes: list[psutil.Process], number: int) -> None:
    """Send a signal to each process once, and to all of the groups that one of them leads."""
    groups = set()
    for process in processes:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if process.is_running() and os.getpgid(process.pid) == process.pid:
                groups.add(process.pid)
    for process in processes:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) not in groups and process.is_running():
                process.send_signal(number)
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, number)


def _left_after(seconds: float, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that still run then; sooner, when none does."""
    until = time.monotonic() + seconds
    while (left := [one for one in processes if _alive(one)]) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
