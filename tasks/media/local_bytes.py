"""A range of a local file, read by whoever decodes it, so that it is not copied between processes."""

import os
import stat
from dataclasses import dataclass

from schemas.errors import BadInput


@dataclass(frozen=True)
class LocalBytes:
    """Where bytes lie.

    Args:
        path: Of a regular file; links are followed, so whoever lists must have resolved them.
        offset: First byte.
        size: How many bytes; None for all up to the end.
    """

    path: str
    offset: int = 0
    size: int | None = None

    def read(self, max_bytes: int) -> bytes:
        """Return the bytes. Never waits on a pipe and never reads a device.

        Raises:
            BadInput: "missing-file", "unreadable", "not-a-file", "too-many-bytes" or "truncated".
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except FileNotFoundError as error:
            raise BadInput(
                "missing-file", f"no file at {self.path}", error_class="FileNotFoundError"
            ) from error
        except (OSError, ValueError) as error:
            is_socket = isinstance(error, OSError) and _is_special(self.path)
            reason = "not-a-file" if is_socket else "unreadable"
            raise BadInput(reason, f"{self.path}: {error}", error_class=type(error).__name__) from error
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BadInput("not-a-file", f"{self.path} is a {_kind(found.st_mode)}")
            size = max(0, found.st_size - self.offset) if self.size is None else self.size
            if size > max_bytes:
                raise BadInput("too-many-bytes", f"{size} bytes at {self.path}; the limit is {max_bytes}")
            data = _read(descriptor, self.offset, size)
        except OSError as error:
            raise BadInput("unreadable", f"{self.path}: {error}", error_class=type(error).__name__) from error
        finally:
            os.close(descriptor)
        if len(data) < size:
            raise BadInput(
                "truncated", f"{self.path} ends after {len(data)} of {size} bytes from {self.offset}"
            )
        return data


def _read(descriptor: int, offset: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := os.pread(descriptor, size, offset)):  # one read gives at most 2 GiB
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
