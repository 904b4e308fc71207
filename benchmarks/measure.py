"""Run a command and measure its process tree: wall and CPU seconds, peak memory of its largest process and of all."""

import os
import platform
import subprocess
import threading
import time
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
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    driver_bytes: int
    worker_bytes: int
    output: str


def run(command: list[str], *, env: dict[str, str] | None = None) -> Cost:
    """Run a command to its end and return what it cost.

    Raises:
        RuntimeError: The command failed; the message ends with its last lines.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    cpu: dict[tuple[int, float], float] = {}
    peaks = {"tree": 0, "driver": 0, "worker": 0}
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, cpu, peaks, stop), daemon=True)
    watcher.start()
    output, errors = process.communicate()
    wall = time.perf_counter() - start
    stop.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors[-3000:]}")
    return Cost(wall, sum(cpu.values()), peaks["tree"], peaks["driver"], peaks["worker"], output)


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
    pid: int, cpu: dict[tuple[int, float], float], peaks: dict[str, int], stop: threading.Event
) -> None:
    """Poll the tree every 0.1 s; a process's CPU seconds are those last seen (short ones may lose 0.1 s)."""
    beat = 0
    while not stop.wait(0.1):
        beat += 1
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.Error:
            continue
        total = 0
        for process in tree:
            try:
                times = process.cpu_times()
                cpu[(process.pid, process.create_time())] = times.user + times.system
                rss = process.memory_info().rss
                peaks["driver" if process.pid == pid else "worker"] = max(
                    peaks["driver" if process.pid == pid else "worker"], rss
                )
                total += process.memory_full_info().pss if beat % 5 == 0 else 0
            except psutil.Error:
                continue
        peaks["tree"] = max(peaks["tree"], total)
