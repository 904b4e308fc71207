"""Paths, addresses and roots: the one place that decides what may be opened."""

import functools
import os
import re
import stat
from urllib.parse import quote, unquote_to_bytes

from schemas.errors import BadInput

# Schemes that a manifest, which may come from strangers, can name. fsspec knows many more, and some of those
# open local files or other machines' shells.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory"})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:::[^/]*)?://")


def scheme(location: str) -> str:
    """Return the scheme of a URL in lower case; "" for a path."""
    match = _SCHEME.match(location)
    return match[1].lower() if match else ""


def local_path(uri: str) -> str | None:
    """Return the path behind a path or a `file://` URL; None for anything else."""
    if scheme(uri) == "file" and "::" not in uri:
        rest = uri[len("file://") :]
        return os.fsdecode(unquote_to_bytes(rest.removeprefix("localhost")))
    return None if scheme(uri) else uri


def path_uri(path: str) -> str:
    """Return an address of `path` that is valid UTF-8 and that nothing mistakes for a tar member.

    An ordinary path stays as it is. One with bytes that are not UTF-8, or with "!", becomes a percent-encoded
    `file://` URL, which `local_path` turns back into the same bytes.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))
    return "file://" + quote(path) if "!" in path else path


def readable(name: str) -> str:
    r"""Return `name` as valid UTF-8 without NUL: what cannot be kept is written as `\udcff`, `\x00`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def within(path: str, root: str) -> bool:
    """Tell whether a resolved path is `root` or below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


@functools.lru_cache(maxsize=4096)
def resolved_folder(folder: str) -> str:
    """Return a folder with every symbolic link followed. Remembered: manifests name few, many times."""
    return os.path.realpath(folder)


def resolved(path: str) -> str:
    """Return `path` with every symbolic link followed."""
    folder, name = os.path.split(path)
    if name in ("", ".", ".."):
        return os.path.realpath(path)
    joined = os.path.join(resolved_folder(folder), name)
    return os.path.realpath(joined) if os.path.islink(joined) else joined


def stat_file(path: str) -> os.stat_result:
    """Return the status of a regular file.

    Raises:
        BadInput: It is missing, not a regular file, or cannot be looked at.
    """
    try:
        status = os.stat(path)
    except PermissionError as error:
        raise BadInput(
            "unreadable", f"{readable(path)}: {error.strerror}", error_class="PermissionError"
        ) from error
    except OSError as error:  # also too long a name, a link loop, a file where a folder was expected
        message = f"{readable(path)}: {error.strerror}"
        raise BadInput("missing-file", message, error_class=type(error).__name__) from error
    if not stat.S_ISREG(status.st_mode):
        raise BadInput("not-a-file", f"{readable(path)} is a {kind(status.st_mode)}")
    return status


def kind(mode: int) -> str:
    """Return what a file mode stands for, in a word."""
    for test, word in (
        (stat.S_ISDIR, "folder"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISBLK, "block device"),
        (stat.S_ISCHR, "character device"),
    ):
        if test(mode):
            return word
    return "special file"


def place(path: str, root: str | None) -> tuple[str, os.stat_result]:
    """Resolve a path and check that it is a regular file inside `root` (None: anywhere).

    Raises:
        BadInput: outside-root, missing-file, not-a-file or unreadable. Outside the root it is never told
            whether the file exists.
    """
    real = resolved(path)
    if root is not None and not within(real, root):
        raise BadInput(
            "outside-root", f"{readable(path)} leads to {readable(real)}, outside {readable(root)}"
        )
    return real, stat_file(real)


def stamp(status: os.stat_result) -> str:
    """Return what changes when a local file does."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def read_regular(path: str, *, offset: int = 0, size: int) -> bytes:
    """Read at most `size` bytes of a regular file; a pipe put in its place never blocks.

    Raises:
        BadInput: missing-file, unreadable or not-a-file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "missing-file" if isinstance(error, FileNotFoundError) else "unreadable"
        message = f"{readable(path)}: {error.strerror}"
        raise BadInput(reason, message, error_class=type(error).__name__) from error
    with open(descriptor, "rb", buffering=0) as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise BadInput("not-a-file", f"{readable(path)} is a {kind(mode)}")
        file.seek(offset)
        parts = []
        while size > 0 and (part := file.read(min(size, 1 << 24))):
            parts.append(part)
            size -= len(part)
    return b"".join(parts)
