"""A corpus folder: media below it and a manifest beside them, there whole or not at all."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from schemas.errors import CorpusError
from schemas.items import ItemText
from tasks.corpora.contract import Report

MANIFEST = "manifest.jsonl"
RowsInto = Callable[[Path], Iterable[Mapping[str, Any]]]


def corpus_folder(cache: Path, name: str) -> Path:
    """Return where the corpus of this name lies in the cache."""
    return cache / "corpora" / name


def collect(cache: Path, name: str, rows_into: RowsInto, report: Report) -> Path:
    """Return the corpus's manifest, making the corpus first if it is not there.

    Args:
        cache: Folder of all corpora.
        name: The corpus.
        rows_into: Puts media into the folder it is given and yields their manifest rows.
        report: Called with lines of progress.

    Raises:
        CorpusError: The cache cannot be written, or `rows_into` says so.
    """
    folder = corpus_folder(cache, name)
    manifest = folder / MANIFEST
    if manifest.is_file():
        report(f"{name}: already at {folder}")
        return manifest
    partial = folder.with_name(f".{name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f".{name}.lock")):
            if manifest.is_file():  # another process made it while we waited
                return manifest
            if folder.exists():
                raise CorpusError(f"{folder} exists without {MANIFEST}, so it is not ours; move it away")
            shutil.rmtree(partial, ignore_errors=True)  # of a get that was killed
            try:
                partial.mkdir()
                count = write_manifest(partial / MANIFEST, rows_into(partial))
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise CorpusError(
            f"{name} cannot be written to {folder.parent}: {error}; free space or set another XMODAL_CACHE"
        ) from error
    report(f"{name}: {count} rows in {manifest}")
    return manifest


def write_manifest(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line, UTF-8. Return how many."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def manifest_texts(texts: Iterable[ItemText]) -> list[dict[str, str]]:
    """Return the texts as the manifest holds them, each once, empty ones left out."""
    return [asdict(text) for text in dict.fromkeys(texts) if text.text]


def real_file(path: Path, root: Path) -> Path | None:
    """Return the file behind `path` with links resolved, or None unless it is a file below `root`.

    Args:
        path: A file or a link to one.
        root: Resolved folder that nothing may lead out of.
    """
    target = path.resolve()
    return target if target.is_file() and target.is_relative_to(root) else None


def place(file: Path, root: Path, folder: Path) -> str:
    """Copy a file below `root` to the same place below `folder`. Return its path relative to `folder`."""
    relative = file.relative_to(root)
    target = folder / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, target)  # with its time, so that two caches give equal fingerprints
    return relative.as_posix()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
