"""Shards in and out of shared storage: what tasks pass to each other instead of tables."""

import atexit
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from schemas.digests import key
from storage.places import Place
from storage.scratch import kept

if TYPE_CHECKING:
    import pyarrow.dataset as pds


@dataclass(frozen=True)
class Staging:
    """A run's working folder. Every file appears whole or not at all, so what is there is done.

    Args:
        place: The lake's place; staging lies inside it, where every worker can reach it.
        run_key: Names the folder by what is worked on: the same work finds its own files again after a kill.
    """

    place: Place
    run_key: str

    def path(self, *parts: str) -> str:
        """Return a path inside the working folder."""
        return self.place.path("_staging", self.run_key, *parts)

    def exists(self, *parts: str) -> bool:
        """Whether a file was published."""
        return bool(self.place.fs.exists(self.path(*parts)))

    def names(self, *parts: str) -> list[str]:
        """Return the base names of the files in a sub-folder, sorted; none when it does not exist."""
        folder = self.path(*parts)
        if not self.place.fs.exists(folder):
            return []
        paths = self.place.fs.ls(folder, detail=False)
        return sorted(name for path in paths if not (name := path.rsplit("/", 1)[-1]).endswith(".part"))

    @contextmanager
    def writer(self, schema: pa.Schema, *parts: str) -> Iterator[pa.RecordBatchFileWriter]:
        """Stream batches into one Arrow file that is published when the block ends without an error."""
        target = self.path(*parts)
        folder = Path(target).parent if self.place.is_local else Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{parts[-1]}.{os.getpid()}.part"
        try:
            with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                yield writer
            self.place.publish(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def write(self, rows: pa.Table, *parts: str) -> str:
        """Write one Arrow file and return its path."""
        with self.writer(rows.schema, *parts) as writer:
            writer.write_table(rows)
        return self.path(*parts)

    def write_batches(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, *parts: str) -> str:
        """Stream batches into one Arrow file and return its path."""
        with self.writer(schema, *parts) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return self.path(*parts)

    def size_bytes(self, path: str) -> int:
        """Return one file's size."""
        return int(self.place.fs.size(path))

    def read(self, path: str) -> pa.Table:
        """Return one file's rows."""
        with self.place.fs.open(path, "rb") as file:
            return pa.ipc.open_file(file.read()).read_all()

    def dataset(self, paths: Sequence[str], schema: pa.Schema) -> "pds.Dataset":
        """Return files as one table, read in their order and only as far as it is asked for; no files, no rows.

        From an object store they are copied to local disk first.

        Raises:
            FileNotFoundError: One is not there any more.
        """
        from storage.streams import mapped_files  # brings pandas: half of a worker's start

        here = [path if self.place.is_local else self._fetched(path) for path in paths]
        return mapped_files(here, schema)

    def _fetched(self, path: str) -> str:
        """Copy a file to this process's own temporary folder, unless it is there as it is now, and return its path."""
        fs = self.place.fs
        fs.invalidate_cache()
        about = fs.info(path)
        stamp = [
            path,
            *(str(about.get(name)) for name in ("ETag", "LastModified", "mtime", "size", "created")),
        ]
        local = Path(_copies()) / f"{key(*stamp)}.arrow"
        if not local.exists():
            part = local.with_suffix(f".{threading.get_ident()}.part")
            fs.get_file(path, str(part))
            os.replace(part, local)
        return str(local)

    def drop(self, *parts: str) -> None:
        """Remove a file or a sub-folder that nothing will read again; it need not be there."""
        path = self.path(*parts)
        if self.place.fs.exists(path):
            self.place.fs.rm(path, recursive=True)

    def clear(self) -> None:
        """Remove the working folder.

        On a local disk the lake has one writer, so folders of runs that died and were overtaken go too.
        """
        if not self.place.is_local:
            self.drop()
        elif self.place.fs.exists(folder := self.place.path("_staging")):
            self.place.fs.rm(folder, recursive=True)


@cache
def _copies() -> str:
    """Return the folder of what was fetched by this process; it goes with the process."""
    until = ExitStack()
    atexit.register(until.close)
    return kept("staged", until)
