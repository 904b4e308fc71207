"""What killed runs leave in a lake beside versions of tables, and how to be rid of it."""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from schemas.tables import LOGS, MEDIA, QUARANTINE
from storage.lake import Lake

_PART = re.compile(r"\.(\d+)\.part$")  # <file>.<process>.part
_HOUR_S = 3600.0


def remove(lake: Lake) -> int:
    """Remove what no snapshot and no run at work can name, and return the bytes freed. Only while holding the writer.

    That is: staged files older than the newest snapshot, since a run that is started again looks for those staged after
    it; tables of runs that never committed; files half written; stored media that no row names.
    """
    head = lake.head()
    freed = 0
    for path, size in [*_staged(lake, head.created_at.timestamp() if head else None), *_tables(lake)]:
        lake.place.fs.rm(path, recursive=True)
        freed += size
    resumable = bool(_folders(lake, "_staging"))  # the run that left them counts on the media it has stored
    for path, size in [*_parts(lake), *(() if resumable else _media(lake))]:
        with suppress(FileNotFoundError):
            lake.place.fs.rm_file(path)
            freed += size
    return freed


def _staged(lake: Lake, head_at: float | None) -> Iterator[tuple[str, int]]:
    """Yield staging folders nothing was written to since the newest snapshot."""
    if head_at is None:
        return
    for folder in _folders(lake, "_staging"):
        files = lake.place.fs.find(folder, detail=True).values()
        if all(_written(file) < head_at for file in files):
            yield folder, sum(int(file["size"]) for file in files)


def _tables(lake: Lake) -> Iterator[tuple[str, int]]:
    """Yield tables that no snapshot has ever named."""
    named = {table for snapshot in lake.snapshots() for table in snapshot.versions} | LOGS.keys()
    for folder in _folders(lake):
        name = folder.rsplit("/", 1)[-1]
        if name.endswith(".lance") and name.removesuffix(".lance") not in named:
            yield folder, sum(int(file["size"]) for file in lake.place.fs.find(folder, detail=True).values())


def _parts(lake: Lake) -> Iterator[tuple[str, int]]:
    """Yield files whose writer died before they were whole; on object stores there are none."""
    if not lake.place.is_local:
        return
    root = Path(lake.place.root)
    places = [root.glob("*.part"), (root / "media").rglob("*.part"), (root / "checkpoints").rglob("*.part")]
    for path in (path for place in places for path in place):
        with suppress(OSError):
            if _is_abandoned(path):
                yield str(path), path.stat().st_size


def _is_abandoned(path: Path) -> bool:
    """Whether nobody writes to a file any more: its writer's number is nobody's, and nobody holds it."""
    match = _PART.search(path.name)
    if match is None:
        return time.time() - path.stat().st_mtime > _HOUR_S
    if psutil.pid_exists(int(match[1])):
        return False
    held = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    return True


def _media(lake: Lake) -> Iterator[tuple[str, int]]:
    """Yield stored media that no row of a snapshot that is still there names, a sixteenth of them at a time."""
    if lake.head() is None:
        return
    by_digit: dict[str, list[str]] = {}
    for folder in _folders(lake, "media"):
        by_digit.setdefault(folder.rsplit("/", 1)[-1][:1], []).append(folder)
    for digit, folders in sorted(by_digit.items()):
        named = _named(lake, digit)
        for folder in folders:
            for path, file in lake.place.fs.find(folder, detail=True).items():
                name = str(path).rsplit("/", 1)[-1]
                if re.fullmatch(r"[0-9a-f]{64}", name) and name not in named:
                    yield str(path), int(file["size"])


def _named(lake: Lake, digit: str) -> set[str]:
    """Return the digests that rows name and that begin with a digit."""
    found: set[str] = set()
    for spec, column in ((MEDIA, "media_id"), (QUARANTINE, "media_id")):
        dataset = lake.latest(spec.name)
        if dataset is None:
            continue
        there = {int(entry["version"]) for entry in dataset.versions()}
        for version in {s.versions[spec.name] for s in lake.snapshots() if spec.name in s.versions} & there:
            rows = dataset.checkout_version(version).to_table(
                columns=[column], filter=f"starts_with({column}, '{digit}')"
            )
            found.update(value for value in rows[column].to_pylist() if value)
    return found


def _folders(lake: Lake, *parts: str) -> list[str]:
    fs, folder = lake.place.fs, lake.place.path(*parts)
    fs.invalidate_cache()
    if not fs.exists(folder):
        return []
    return [str(entry["name"]) for entry in fs.ls(folder, detail=True) if entry["type"] == "directory"]


def _written(file: dict[str, Any]) -> float:
    at = file.get("mtime", file.get("LastModified", 0.0))
    return at.timestamp() if isinstance(at, datetime) else float(at)
