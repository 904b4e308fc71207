"""Run a command and measure its process tree: wall and CPU seconds, peak memory of its largest process and of all."""

import os
import platform
import resource
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Cost:
    """What a command cost.

    Args:
        wall_s: Seconds from start to end.
        cpu_s: User and system seconds of the command and every process it started.
        peak_bytes: Largest proportional set size of the whole tree, shared pages counted once.
        driver_bytes: Largest resident set of the command's own process.
        worker_bytes: Largest resident set of any other process of the tree.
        output: Standard output.
        driver_own_bytes: Largest memory of the command's own process that is not files mapped into it.
        written_bytes: Bytes that the tree's processes sent to disk, those seen last of each.
        errors: Standard error.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    driver_bytes: int
    worker_bytes: int
    output: str
    driver_own_bytes: int = 0
    written_bytes: int = 0
    errors: str = ""


def run(
    command: list[str], *, env: dict[str, str] | None = None, cwd: Path | None = None, detached: str = ""
) -> Cost:
    """Run a command to its end and return what it cost.

    Args:
        command: What to run.
        env: Variables beside those of this process.
        cwd: Where; here by default.
        detached: Processes that the command left the tree of, a database say, are those whose command line holds this text:
            they are measured too, and ended when the command has ended. "": none.

    Raises:
        RuntimeError: The command failed; the message ends with its last lines.
    """
    start = time.perf_counter()
    reaped = sum(_children_cpu())
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )
    cpu: dict[tuple[int, float], float] = {}
    peaks = {"tree": 0, "driver": 0, "worker": 0, "own": 0}
    written: dict[tuple[int, float], int] = {}
    stop = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(process.pid, cpu, peaks, written, stop, detached), daemon=True
    )
    watcher.start()
    output, errors = process.communicate()
    wall = time.perf_counter() - start
    stop.set()
    watcher.join()
    beside = _detached(detached, process.pid)
    for left in beside:
        with suppress(psutil.Error):
            left.terminate()
    psutil.wait_procs(beside, timeout=20)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors[-3000:]}")
    return Cost(
        wall,
        max(sum(cpu.values()), sum(_children_cpu()) - reaped),
        peaks["tree"],
        peaks["driver"],
        peaks["worker"],
        output,
        peaks["own"],
        sum(written.values()),
        errors,
    )


def machine() -> str:
    """Return one line that says what was measured on."""
    cpus = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":", 1)[1].strip() for line in cpus.splitlines() if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, CPython {platform.python_version()}, load {os.getloadavg()[0]:.1f} at start"
    )


def table(columns: list[str], rows: list[list[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def _watch(
    pid: int,
    cpu: dict[tuple[int, float], float],
    peaks: dict[str, int],
    written: dict[tuple[int, float], int],
    stop: threading.Event,
    detached: str,
) -> None:
    """Poll the tree every 0.1 s; a process's CPU seconds are those last seen."""
    beat = 0
    beside: list[psutil.Process] = []
    while not stop.wait(0.1):
        beat += 1
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
            beside = _detached(detached, pid) if beat % 10 == 0 else beside
            tree += [each for each in beside if each not in tree]
        except psutil.Error:
            continue
        total = 0
        for process in tree:
            try:
                times = process.cpu_times()
                who = (process.pid, process.create_time())
                cpu[who] = times.user + times.system
                written[who] = process.io_counters().write_bytes
                if process.pid == pid:
                    peaks["own"] = max(peaks["own"], _own(pid))
                rss = process.memory_info().rss
                peaks["driver" if process.pid == pid else "worker"] = max(
                    peaks["driver" if process.pid == pid else "worker"], rss
                )
                total += process.memory_full_info().pss if beat % 5 == 0 else 0
            except psutil.Error:
                continue
        peaks["tree"] = max(peaks["tree"], total)


def _own(pid: int) -> int:
    """Return a process's memory that belongs to no file, where the system tells."""
    try:
        said = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in said.splitlines() if line.startswith("RssAnon:")), 0)


def _children_cpu() -> tuple[float, float]:
    """Return user and system seconds of every child that has ended: what polling missed of short ones is in it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime, used.ru_stime


def _detached(text: str, root: int) -> list[psutil.Process]:
    """Return other processes whose command line holds a text, and their children."""
    if not text:
        return []
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if process.pid not in (root, os.getpid()) and text in " ".join(process.info["cmdline"] or []):
            with suppress(psutil.Error):
                found += [process, *process.children(recursive=True)]
    return list(dict.fromkeys(found))
