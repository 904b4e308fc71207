"""Where a lake's files are: one way to open local folders and object stores."""

import fcntl
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs


@dataclass(frozen=True)
class Place:
    """A folder, local or behind any fsspec protocol.

    Args:
        uri: "lake", "/data/lake", "s3://bucket/lake", "memory://lake".
        options: Keyword arguments of the fsspec file system (credentials, endpoint).
    """

    uri: str
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _resolved(self) -> tuple[fsspec.AbstractFileSystem, str]:
        options = self.options
        if "://" in self.uri and not self.uri.startswith(
            "file:"
        ):  # a remembered listing hides what others did
            options = {"use_listings_cache": False, **options}
        fs, root = url_to_fs(self.uri, **options)
        return fs, str(root).rstrip("/")

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system."""
        return self._resolved[0]

    @property
    def root(self) -> str:
        """The folder's path on its file system; absolute when local."""
        return self._resolved[1]

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine's file system."""
        return "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    @property
    def address(self) -> str:
        """The folder as an address other processes can open."""
        return self.root if self.is_local else str(self.fs.unstrip_protocol(self.root))

    def path(self, *parts: str) -> str:
        """Return a path below the folder, on its file system."""
        return "/".join((self.root, *parts))

    def write(self, path: str, data: bytes) -> None:
        """Write a file so that a reader sees all of it or none."""
        if not self.is_local:
            self.fs.pipe_file(path, data)  # one PUT: atomic on object stores
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        partial = Path(f"{path}.{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # so that clean-up sees that it is being written
                file.write(data)
                file.flush()
                os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def publish(self, local: Path, path: str) -> None:
        """Move a finished local file to `path`, all at once."""
        if not self.is_local:
            self.fs.put_file(str(local), path)
            local.unlink()
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(local, path)
