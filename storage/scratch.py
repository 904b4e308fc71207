"""Temporary folders that do not outlive a killed process: the next one to make a folder removes those of the dead."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PREFIX = "xmodal-"
_HELD = ".held"  # in each folder: locked as long as the process that made it lives


@contextmanager
def scratch(purpose: str, place: Path | None = None) -> Iterator[str]:
    """Offer a temporary folder `xmodal-<purpose>-...`, and remove it afterwards.

    Args:
        purpose: What it is for, in a word.
        place: Where, if what is made there is to be moved within one file system; the system's place for such by default.
    """
    with ExitStack() as stack:
        yield kept(purpose, stack, place)


def kept(purpose: str, until: ExitStack, place: Path | None = None) -> str:
    """Return a temporary folder that goes when the stack is closed, or after the process's death.

    Args:
        purpose: What it is for, in a word.
        until: What closes with it.
        place: Where; the system's place for temporary files by default.
    """
    place = place or Path(tempfile.gettempdir())
    with _alone(place):
        _swept(place)
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-", dir=place))
        inner = folder / "files"
        inner.mkdir()
        held = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
    until.callback(os.close, held)
    until.callback(shutil.rmtree, folder, ignore_errors=True)
    return str(inner)


def sweep(place: Path | None = None) -> list[str]:
    """Remove our folders whose process is gone, and return their names. Folders that say nothing are left alone.

    Args:
        place: Where; the system's place for temporary files by default.
    """
    place = place or Path(tempfile.gettempdir())
    with _alone(place):
        return _swept(place)


def _swept(place: Path) -> list[str]:
    removed = []
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # in use, another user's, or gone meanwhile
            held = os.open(folder / _HELD, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
            finally:
                os.close(held)
    return sorted(removed)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process at a time make or sweep: a folder that was just made is not held yet."""
    door = os.open(place / f".{PREFIX}scratch-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)
