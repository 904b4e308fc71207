"""Processes that this one started to work for it: what they cost is its own."""

import resource
from contextlib import suppress

import psutil

_LIVING: set[int] = set()


def began(pid: int) -> None:
    """Count a child from now on. Looking for children instead reads what /proc says of every process of the machine."""
    _LIVING.add(pid)


def ended(pid: int) -> None:
    """Say that a child has been waited for: the system counts it from now on."""
    _LIVING.discard(pid)


def cpu_seconds() -> float:
    """Return CPU seconds of all children so far: those waited for, and those that `began`."""
    gone = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = gone.ru_utime + gone.ru_stime
    for pid in tuple(_LIVING):
        with suppress(psutil.Error):
            total += sum(psutil.Process(pid).cpu_times()[:2])
    return total
