"""Samples in tar archives, read where they lie."""

import glob
import lzma
import os
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import IO, ClassVar

import fsspec

from schemas.errors import BadInput, SourceError
from schemas.items import Item, ItemText
from schemas.source import Source
from tasks.sources._locators import Locators
from tasks.sources._places import local_path, path_uri, readable, scheme, stamp
from tasks.sources._texts import Described, checked, decoded, described_json
from tasks.sources.folder import object_stamp
from tasks.sources.read import DECOMPRESSORS, member_uri

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_IMAGES = """jpg jpeg jpe jfif png apng webp gif bmp dib tif tiff svg svgz avif heic heif jp2 j2k jxl ico
ppm pgm pbm pnm tga psd pdf"""
_OTHERS = "wav mp3 flac ogg oga opus m4a aac mp4 m4v mov mkv webm avi"
MEDIA = frozenset(f"{_IMAGES} {_OTHERS}".split())
TEXT_MAX_BYTES = 1 << 20
HEADER_MAX_BYTES = 1 << 24  # a long name or pax header; more is an attack on memory
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
_BROKEN = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class WebDataset:
    """Members that stand together and share a name up to the first dot are one sample.

    A sample's `.txt` is a text; its `.json` is what it is beside a file in a folder. Each image,
    sound or film in it is an item with those texts. Nothing is unpacked: `uri` gives where the bytes lie.

    Args:
        location: A tar, a pattern of tars (`*`, `{000..012}`, `{a,b}`) or a folder of tars; a path or an
            fsspec URL, not http(s). Compressed tars are read, but every member costs what stands before it.
        text_max_chars: Longer texts are refused, in characters.
    """

    name: ClassVar[str] = "webdataset"
    source: ClassVar[Source] = Source(
        title="High Performance I/O For Large Scale Deep Learning",
        authors="Aizman et al.",
        year=2020,
        url="https://arxiv.org/abs/2001.01858",
        departs="members are addressed in place instead of streamed; links are not followed",
    )

    location: str
    text_max_chars: int = 20_000

    def __post_init__(self) -> None:
        if self.text_max_chars < 1:
            raise ValueError(f"text_max_chars must be positive, not {self.text_max_chars}")
        if scheme(self.location) in ("http", "https"):
            raise ValueError(f"archives are not read over http(s); download {self.location!r} first")

    def __call__(self) -> Iterator[Item]:
        """Yield the items of each archive in its order. Memory: some 100 bytes a member of one archive.

        Raises:
            SourceError: No archive is there.
        """
        archives = _archives(self.location)
        if not any(archive.stamp for archive in archives):
            raise SourceError(f"no archive at {self.location!r}; archives end in {', '.join(ARCHIVES)}")
        for archive in archives:
            if archive.stamp:
                yield from _Samples(archive, self.text_max_chars)()
            else:  # a gap in a numbered range
                yield _refused(archive, "", "missing-file", f"{archive.name} does not exist")


@dataclass(frozen=True)
class _Archive:
    """An archive: its name in locators, its address and what changes when it does ("": missing)."""

    name: str
    uri: str
    stamp: str

    def open(self) -> IO[bytes]:
        path = local_path(self.uri)
        if path is not None:
            return open(path, "rb")
        fs, key = fsspec.core.url_to_fs(self.uri)
        opened: IO[bytes] = fs.open(key, "rb")
        return opened


def _archives(location: str) -> list[_Archive]:
    """Return the archives that a location means, sorted, and the missing ones that a range names."""
    path = local_path(location)
    if path is not None:
        if os.path.isdir(path):
            found = sorted(glob.glob(os.path.join(glob.escape(path), "**", "*"), recursive=True))
            return [_local(name, path) for name in found if _is_archive(name)]
        if os.path.exists(path):
            return [_local(path, os.path.dirname(path))]
        base = _fixed_folder(path)
        names = [name for one in _expanded(path) for name in _globbed(one)]
        return [_local(name, base) for name in sorted(set(names))]
    try:
        fs, key = fsspec.core.url_to_fs(location, use_listings_cache=False)
        if fs.isdir(key):
            base, names = key, [name for name in sorted(fs.find(key)) if name.lower().endswith(ARCHIVES)]
        else:
            base = _fixed_folder(key)
            ones = [key] if fs.exists(key) else _expanded(key)
            names = [name for one in ones for name in (sorted(fs.glob(one)) if _is_pattern(one) else [one])]
        archives = []
        for name in sorted(set(names)):
            stamped = object_stamp(fs.info(name)) if fs.exists(name) else ""
            archives.append(_Archive(name.removeprefix(base + "/"), fs.unstrip_protocol(name), stamped))
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"{location!r} cannot be listed: {error}") from error
    return archives


def _local(path: str, base: str) -> _Archive:
    real = os.path.abspath(path)
    name = readable(os.path.relpath(real, os.path.abspath(base or ".")))
    return _Archive(name, path_uri(real), stamp(os.stat(real)) if os.path.isfile(real) else "")


def _is_archive(path: str) -> bool:
    return path.lower().endswith(ARCHIVES) and not os.path.isdir(path)


def _is_pattern(path: str) -> bool:
    return any(character in path for character in "*?[")


def _globbed(path: str) -> list[str]:
    return sorted(glob.glob(path, recursive=True)) if _is_pattern(path) else [path]


def _fixed_folder(pattern: str) -> str:
    """Return the folder before the first special character: what locators are relative to."""
    return posixpath.dirname(re.split(r"[*?\[{]", pattern)[0])


def _expanded(pattern: str) -> list[str]:
    """Expand `{000..012}` and `{a,b}`, also one in another, as a shell does."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", match[1]):
        first, last, width = int(numbers[1]), int(numbers[2]), len(numbers[1])
        choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
    else:
        choices = match[1].split(",")
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [expanded for choice in choices for expanded in _expanded(before + choice + after)]


@dataclass
class _Member:
    """A regular member: its name, where its bytes lie, and they themselves if it is a text."""

    name: str
    offset: int
    size: int
    stamp: str
    data: bytes | None = None

    @property
    def extension(self) -> str:
        return self.name.rpartition(".")[2].lower()


@dataclass
class _Group:
    """The members of one sample."""

    key: str
    members: list[_Member] = field(default_factory=list)
    refused: bool = False  # a member of it was refused and reported


class _Bounded:
    """A file that never reads more than a header may hold at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_MAX_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return self._file.read(size)


@dataclass
class _Samples:
    """One pass over one archive."""

    archive: _Archive
    text_max_chars: int

    def __call__(self) -> Iterator[Item]:
        self._unique = Locators()
        self._seen: dict[str, bool] = {}  # keys of samples that have ended: had they a medium?
        self._group = _Group("")
        try:
            with ExitStack() as stack:
                raw = stack.enter_context(self.archive.open())
                head = raw.read(6)
                raw.seek(0)
                self._compression = next(
                    (name for magic, name in _MAGIC.items() if head.startswith(magic)), ""
                )
                file = raw
                if self._compression:
                    file = stack.enter_context(DECOMPRESSORS[self._compression](raw))
                yield from self._walk(file)
        except _BROKEN as error:
            yield from self._end_group(broken=True)
            yield _refused(
                self.archive, "", "bad-archive", f"{self.archive.name}: {error or type(error).__name__}"
            )
        else:
            yield from self._end_group()

    def _walk(self, file: IO[bytes]) -> Iterator[Item]:
        tar = tarfile.open(fileobj=_Bounded(file), mode="r:")  # type: ignore[call-overload]  # noqa: SIM115, closed with `file`
        info = tar.next()
        while info is not None:
            tar.members.clear()  # or memory grows with the archive
            name, refused = self._refusal(info)
            member = None
            if refused is None and info.isreg() and not posixpath.basename(name).startswith("."):
                member = _Member(name, info.offset_data, info.size, f"{info.size}-{info.mtime}")
                if member.extension in ("txt", "json"):
                    file.seek(info.offset_data)
                    member.data = file.read(min(info.size, TEXT_MAX_BYTES + 1))
            following = tar.next()  # fails when the member's bytes are not all there: look before taking it
            if member or refused:
                key = _key(name)
                if key != self._group.key:
                    yield from self._end_group()
                    self._group = _Group(key)
                if member:
                    self._group.members.append(member)
            if refused is not None:
                self._group.refused = True
                yield _refused(
                    self.archive, self._unique(self._locator(info.name)), refused.reason, refused.message
                )
            info = following
            if info is None:
                _check_end(file, tar.offset)

    def _refusal(self, info: tarfile.TarInfo) -> tuple[str, BadInput | None]:
        """Return a member's name and why it is not taken."""
        name = posixpath.normpath(info.name)
        shown = readable(info.name)
        if name.startswith("/") or name.split("/")[0] == "..":
            return name, BadInput(
                "outside-root", f"the member's name {shown!r:.200} leads out of the archive"
            )
        if info.issym() or info.islnk():
            start = posixpath.dirname(name) if info.issym() else ""
            target = posixpath.normpath(posixpath.join(start, info.linkname))
            to = f"{shown!r:.200} is a link to {readable(info.linkname)!r:.200}"
            if target.startswith("/") or target.split("/")[0] == "..":
                return name, BadInput("outside-root", f"{to}, outside the archive")
            return name, BadInput("not-a-file", f"{to}; links in archives are not followed")
        if info.isdir() or (info.isreg() and not info.issparse()):
            return name, None
        what = "a sparse file" if info.isreg() else "a device, pipe or something unknown"
        return name, BadInput("not-a-file", f"{shown!r:.200} is {what}")

    def _end_group(self, *, broken: bool = False) -> Iterator[Item]:
        """Yield the items of the sample that has ended."""
        group, self._group = self._group, _Group("")
        media = [member for member in group.members if member.extension in MEDIA]
        if not group.members or (not media and (broken or group.refused)):
            return  # nothing, or the texts of a medium that was cut off or reported
        described, problem, message = self._described(group)
        if not problem and not media and not described.texts:
            names = ", ".join(readable(member.name) for member in group.members)
            problem, message = (
                "unsupported-type",
                f"the sample has no medium that we know and no text: {names}",
            )
        apart = group.key in self._seen and not (media and (described.texts or self._seen[group.key]))
        if apart and not problem:
            problem = "bad-row"
            message = f"the members of {readable(group.key)!r} stand apart; sort the archive by name"
        self._seen[group.key] = bool(media)
        for member in media or group.members[:1]:
            stamps = "|".join((self.archive.stamp, *(part.stamp for part in group.members)))
            uri = member_uri(
                self.archive.uri, member.name, member.offset, member.size, compression=self._compression
            )
            yield Item(
                locator=self._unique(self._locator(member.name)),
                uri=uri if media else "",
                fingerprint=f"{stamps}|{described.digest(problem)}",
                size_bytes=member.size if media else -1,
                texts=described.texts,
                concept=described.concept,
                licence=described.licence,
                credit=described.credit,
                extra=described.extra,
                problem=problem,
                problem_message=message,
            )

    def _locator(self, name: str) -> str:
        return f"{self.archive.name}!{readable(posixpath.normpath(name))}"

    def _described(self, group: _Group) -> tuple[Described, str, str]:
        facts, texts = Described(), []
        try:
            for member in group.members:
                if member.data is None:
                    continue
                what = readable(member.name)
                if len(member.data) > TEXT_MAX_BYTES:
                    raise BadInput(
                        "text-too-long", f"{what} has {member.size} bytes; the limit is {TEXT_MAX_BYTES}"
                    )
                text = decoded(member.data, what)
                if member.extension == "txt":
                    text = checked(text.strip(), what, self.text_max_chars)
                    texts += [ItemText(text)] if text else []
                else:
                    facts = described_json(text, what, max_chars=self.text_max_chars)
                    texts += facts.texts
        except BadInput as error:
            return Described(), error.reason, error.message
        return replace(facts, texts=tuple(dict.fromkeys(texts))), "", ""


def _check_end(file: IO[bytes], offset: int) -> None:
    """Refuse an archive without its end mark: `tarfile` takes any damaged header for the end.

    Raises:
        tarfile.ReadError: The block at `offset` is not zeros.
    """
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no end mark at byte {offset}: the archive was cut off or is damaged there")


def _key(name: str) -> str:
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _refused(archive: _Archive, locator: str, problem: str, message: str) -> Item:
    return Item(
        locator=locator or archive.name,
        uri="",
        fingerprint=f"{archive.stamp}|{Described().digest(problem)}",
        problem=problem,
        problem_message=message,
    )
