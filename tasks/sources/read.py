"""Open what a reader listed: files, objects, members of archives."""

import bz2
import errno
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

import fsspec

from schemas.errors import BadInput
from schemas.settings import FetchLimits
from tasks.sources._places import OBJECT_STORES, local_path, read_regular, readable, scheme, stat_file
from tasks.sources.fetch import fetch_many

DECOMPRESSORS: Mapping[str, Callable[[Any], IO[bytes]]] = {
    "gzip": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}

_MEMBER = re.compile(r"(?:(gzip|bz2|xz)::)?(.+)!([^!]*)@(\d+)\+(\d+)", re.DOTALL)

# What stores raise when they, or the way to them, are down. Other classes (botocore's own) are no OSError.
_PASSING = (ConnectionError, TimeoutError)
_PASSING_NUMBERS = frozenset({errno.EIO, errno.EREMOTEIO, errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT})


@dataclass(frozen=True)
class LocalSpan:
    """Bytes of a local file that another process may read itself.

    Args:
        path: As the operating system has it; bytes that are not UTF-8 are surrogates.
        offset: First byte.
        size: Number of bytes.
    """

    path: str
    offset: int
    size: int


def member_uri(archive_uri: str, name: str, offset: int, size: int, *, compression: str = "") -> str:
    """Return the address of `size` bytes at `offset` of an archive, once that is decompressed."""
    prefix = f"{compression}::" if compression else ""
    return f"{prefix}{archive_uri}!{readable(name).replace('!', '%21')}@{offset}+{size}"


def open_local(uri: str) -> LocalSpan | None:
    """Return where the bytes lie in a local file; None when they are remote or compressed.

    Raises:
        BadInput: The file is missing, unreadable or not a regular file.
    """
    compression, place, offset, size = _split(uri)
    path = local_path(place)
    if path is None or compression:
        return None
    status = stat_file(path)
    return LocalSpan(path, offset, status.st_size if size < 0 else size)


def is_object(uri: str) -> bool:
    """Tell whether `uri` names bytes that lie as they are in an object store, and not packed in something else."""
    compression, place, _, _ = _split(uri)
    return scheme(place) in OBJECT_STORES and not compression


def read_bytes(
    uri: str, *, max_bytes: int, fetch: FetchLimits | None = None, allow_private: bool = False
) -> bytes:
    """Return the bytes behind an item's `uri`.

    A member of a compressed archive costs decompressing all that stands before it.

    Args:
        uri: A path, an fsspec URL, an http(s) URL or an archive's member.
        max_bytes: Largest size that is read.
        fetch: How an http(s) URL is fetched; none: the defaults.
        allow_private: Let http(s) URLs reach private and loopback hosts.

    Raises:
        BadInput: missing-file, unreadable, not-a-file, too-many-bytes, truncated, bad-archive, or what
            `fetch_many` gives.
        OSError: An object store does not answer, which says nothing of the item: the shard is tried again.
    """
    if scheme(uri) in ("http", "https"):
        limits = fetch or FetchLimits.model_construct()
        (_, body), *_ = fetch_many([uri], limits=limits, max_bytes=max_bytes, allow_private=allow_private)
        if isinstance(body, BadInput):
            raise body
        return body
    compression, place, offset, size = _split(uri)
    if size > max_bytes:
        raise _too_many(uri, size, max_bytes)
    wanted = max_bytes + 1 if size < 0 else size
    span = open_local(uri)
    if span is not None and span.size > max_bytes:
        raise _too_many(uri, span.size, max_bytes)
    if span is not None:
        data = read_regular(span.path, offset=offset, size=wanted)
    else:
        data = _read_remote(place, compression, offset, wanted)
    if len(data) > max_bytes:  # it grew, or its size was unknown
        raise _too_many(uri, len(data), max_bytes)
    if len(data) < size:
        raise BadInput("truncated", f"{uri}: the archive gives {len(data)} of {size} bytes")
    return data


def _split(uri: str) -> tuple[str, str, int, int]:
    """Return compression, address of the file, offset and size (-1: all) of what `uri` names."""
    match = _MEMBER.fullmatch(uri)
    return (match[1] or "", match[2], int(match[4]), int(match[5])) if match else ("", uri, 0, -1)


def _too_many(uri: str, size: int, max_bytes: int) -> BadInput:
    return BadInput("too-many-bytes", f"{uri} has at least {size} bytes; the limit is {max_bytes}")


def _read_remote(place: str, compression: str, offset: int, size: int) -> bytes:
    path = local_path(place)
    try:
        if path is not None:
            stat_file(path)
            opened: IO[bytes] = open(path, "rb")  # noqa: SIM115, closed below
        else:
            fs, key = fsspec.core.url_to_fs(place)
            if not compression and offset:
                return bytes(fs.cat_file(key, start=offset, end=offset + size))  # one range request
            opened = fs.open(key, "rb")
        with opened as raw, DECOMPRESSORS[compression](raw) if compression else raw as file:
            file.seek(offset)
            return bytes(file.read(size))
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput("missing-file", f"{place}: {error}", error_class="FileNotFoundError") from error
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput("bad-archive", f"{place}: {error}", error_class=type(error).__name__) from error
    except (OSError, ValueError, ImportError) as error:
        if path is None and (
            isinstance(error, _PASSING) or getattr(error, "errno", None) in _PASSING_NUMBERS
        ):
            raise
        raise BadInput("unreadable", f"{place}: {error}", error_class=type(error).__name__) from error
