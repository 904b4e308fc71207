"""Media in a folder, with captions in sidecar files."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import fsspec

from schemas.errors import BadInput, SourceError
from schemas.items import Item, ItemText
from schemas.source import Source
from tasks.sources._places import (
    kind,
    local_path,
    path_uri,
    read_regular,
    readable,
    stamp,
    stat_file,
    within,
)
from tasks.sources._texts import Described, checked, decoded, described_json

SIDECARS = (".json", ".txt")
SIDECAR_MAX_BYTES = 1 << 20
_NOTHING = Described()
_PLAIN = _NOTHING.digest("")  # of most files, where there are many


@dataclass(frozen=True)
class Folder:
    """Every file below a folder is a medium, but for `.txt` and `.json` beside it with the same stem.

    A `.txt` is one text. A `.json` is a string, or an object with text or caption, texts (strings or
    {text, language, origin, role}), language, licence, credit, concept; further keys are kept. A sidecar
    without a medium is a text without a medium. Names that start with "." are skipped. A symbolic link to a
    file that is listed anyway adds nothing.

    Args:
        location: A path, or an fsspec URL such as `s3://bucket/prefix`.
        name_captions: Where no sidecar has a text, take the file's name for one.
        text_max_chars: Longer texts are refused, in characters.
    """

    name: ClassVar[str] = "folder"
    source: ClassVar[Source] = Source(
        title="Create an image dataset (ImageFolder)",
        authors="Hugging Face",
        year=2022,
        url="https://huggingface.co/docs/datasets/image_dataset",
        departs="one sidecar per file; folder names are no labels",
    )

    location: str
    name_captions: bool = True
    text_max_chars: int = 20_000

    def __post_init__(self) -> None:
        if self.text_max_chars < 1:
            raise ValueError(f"text_max_chars must be positive, not {self.text_max_chars}")

    def __call__(self) -> Iterator[Item]:
        """Yield the items sorted by locator. Memory grows with the fullest folder, not with their number.

        Raises:
            SourceError: The folder is missing, is not a folder, or cannot be listed.
        """
        path = local_path(self.location)
        tree: _Tree = _RemoteTree(self.location) if path is None else _LocalTree(path)
        try:
            top = tree.entries(tree.root)
        except BadInput as error:
            raise SourceError(f"folder {self.location!r} cannot be listed: {error.message}") from error
        stack: list[Iterator[Item | _Entry]] = [self._level(tree, top, "")]
        while stack:  # not recursion: folders can be nested deeper than Python's stack
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif isinstance(found, Item):
                yield found
            else:
                try:
                    stack.append(self._level(tree, tree.entries(found.path), found.locator + "/"))
                except BadInput as error:
                    yield _refused(found.locator + "/", error.reason, error.message)

    def _level(self, tree: "_Tree", entries: Iterable["_Entry"], prefix: str) -> Iterator["Item | _Entry"]:
        """Yield a folder's own items, and its folders as entries to go into."""
        named = _distinct(entries, prefix)
        sidecars: dict[str, list[_Entry]] = {}
        stems = set()  # of media, so that their sidecars are no orphans
        for entry in named:
            stem, extension = os.path.splitext(entry.name)
            if entry.kind != "folder" and extension.lower() in SIDECARS:
                sidecars.setdefault(stem, []).append(entry)
            elif entry.kind != "folder":
                stems.add(stem)
        for entry in named:
            stem, extension = os.path.splitext(entry.name)
            if entry.kind == "folder":
                yield entry
            elif extension.lower() not in SIDECARS:
                yield self._medium(tree, entry, sidecars.get(stem, []))
            elif stem not in stems and entry is sidecars[stem][0]:
                own = [sidecar for sidecar in sidecars[stem] if not sidecar.linked]
                if own:
                    yield self._orphan(tree, own)

    def _medium(self, tree: "_Tree", entry: "_Entry", sidecars: list["_Entry"]) -> Item:
        if entry.problem:
            return _refused(entry.locator, entry.problem, entry.message)
        described, problem, message = self._described(tree, sidecars)
        if self.name_captions and not described.texts and not problem:
            stem = os.path.splitext(readable(entry.name))[0]
            words = re.sub(r"[_-]+", " ", stem).strip()
            texts = (ItemText(words, origin="file-name"),) if words else ()
            described = replace(described, texts=texts) if sidecars else Described(texts=texts)
        stamps = "|".join(part.stamp for part in (entry, *sidecars))
        return _item(entry.locator, entry.uri, stamps, entry.size, described, problem, message)

    def _orphan(self, tree: "_Tree", sidecars: list["_Entry"]) -> Item:
        described, problem, message = self._described(tree, sidecars)
        if not described.texts and not problem:
            problem, message = (
                "missing-text",
                f"{sidecars[0].locator} has neither a medium beside it nor a text",
            )
        stamps = "|".join(sidecar.stamp for sidecar in sidecars)
        return _item(sidecars[0].locator, "", stamps, -1, described, problem, message)

    def _described(self, tree: "_Tree", sidecars: list["_Entry"]) -> tuple[Described, str, str]:
        if not sidecars:  # most files, where there are many
            return _NOTHING, "", ""
        facts, texts = Described(), []
        try:
            for sidecar in sidecars:
                if sidecar.problem:
                    raise BadInput(sidecar.problem, sidecar.message)
                if sidecar.size > SIDECAR_MAX_BYTES:
                    message = f"{sidecar.locator} has {sidecar.size} bytes; the limit is {SIDECAR_MAX_BYTES}"
                    raise BadInput("text-too-long", message)
                text = decoded(tree.read(sidecar), sidecar.locator)
                if sidecar.name.lower().endswith(".txt"):
                    text = checked(text.strip(), sidecar.locator, self.text_max_chars)
                    texts += [ItemText(text)] if text else []
                else:
                    facts = described_json(text, sidecar.locator, max_chars=self.text_max_chars)
                    texts += facts.texts
        except BadInput as error:
            return Described(), error.reason, error.message
        return replace(facts, texts=tuple(dict.fromkeys(texts))), "", ""


class _Entry(NamedTuple):
    """One name in a folder: a "file", a "folder" to go into, or "refused" with a problem."""

    name: str
    kind: str
    path: str
    uri: str = ""
    size: int = -1
    stamp: str = ""
    linked: bool = False
    problem: str = ""
    message: str = ""
    locator: str = ""


class _Tree(Protocol):
    """What a folder needs of the place it is in."""

    root: str

    def entries(self, folder: str) -> Iterable[_Entry]:
        """Return what is in `folder`, hidden names left out. Raises BadInput when it cannot be listed."""
        ...

    def read(self, entry: _Entry) -> bytes:
        """Return a sidecar's bytes. Raises BadInput."""
        ...


@dataclass
class _LocalTree:
    location: str
    _entered: set[str] = field(default_factory=set)  # hidden folders reached by links; also ends link loops

    def __post_init__(self) -> None:
        self.root = os.path.realpath(self.location)

    def entries(self, folder: str) -> list[_Entry]:
        try:
            with os.scandir(folder) as found:
                entries = [self._entry(entry) for entry in found if not entry.name.startswith(".")]
        except OSError as error:
            message = f"{readable(folder)}: {error.strerror}"
            raise BadInput("unreadable", message, error_class=type(error).__name__) from error
        return [entry for entry in entries if entry is not None]

    def read(self, entry: _Entry) -> bytes:
        return read_regular(entry.path, size=SIDECAR_MAX_BYTES)

    def _entry(self, found: "os.DirEntry[str]") -> _Entry | None:
        if found.is_symlink():
            return self._link(found)
        try:
            status = found.stat(follow_symlinks=False)
        except OSError as error:  # deleted since, or no right to look
            return _Entry(
                found.name, "refused", found.path, problem="unreadable", message=f"{error.strerror}"
            )
        if stat.S_ISDIR(status.st_mode):
            return _Entry(found.name, "folder", found.path)
        if not stat.S_ISREG(status.st_mode):
            message = f"{readable(found.path)} is a {kind(status.st_mode)}"
            return _Entry(found.name, "refused", found.path, problem="not-a-file", message=message)
        return _Entry(found.name, "file", found.path, path_uri(found.path), status.st_size, stamp(status))

    def _link(self, found: "os.DirEntry[str]") -> _Entry | None:
        real = os.path.realpath(found.path)
        if not within(real, self.root):
            message = f"{readable(found.path)} links to {readable(real)}, outside {readable(self.root)}"
            return _Entry(found.name, "refused", found.path, problem="outside-root", message=message)
        inside = os.path.relpath(real, self.root)
        hidden = inside != "." and any(part.startswith(".") for part in inside.split(os.sep))
        if os.path.isdir(real):
            if not hidden or real in self._entered:
                return None
            self._entered.add(real)
            return _Entry(found.name, "folder", real)
        try:
            status = stat_file(real)
        except BadInput as error:
            return _Entry(found.name, "refused", found.path, problem=error.reason, message=error.message)
        if not hidden and not found.name.lower().endswith(SIDECARS):
            return None  # its target is in the walk
        return _Entry(
            found.name, "file", real, path_uri(real), status.st_size, stamp(status), linked=not hidden
        )


class _RemoteTree:
    def __init__(self, location: str) -> None:
        try:  # a remembered listing would hide what came since
            self.fs, self.root = fsspec.core.url_to_fs(location, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise SourceError(f"folder {location!r} cannot be opened: {error}") from error

    def entries(self, folder: str) -> Iterator[_Entry]:
        try:
            infos: list[dict[str, Any]] = self.fs.ls(folder, detail=True)
        except OSError as error:
            raise BadInput("unreadable", f"{folder}: {error}", error_class=type(error).__name__) from error
        own = folder.strip("/")
        found = {info["name"].strip("/"): info for info in infos}
        return (self._entry(info) for path, info in found.items() if path != own and not _hidden(path))

    def read(self, entry: _Entry) -> bytes:
        try:
            with self.fs.open(entry.path, "rb") as file:
                return bytes(file.read(SIDECAR_MAX_BYTES))
        except OSError as error:
            raise BadInput(
                "unreadable", f"{entry.path}: {error}", error_class=type(error).__name__
            ) from error

    def _entry(self, info: dict[str, Any]) -> _Entry:
        path = info["name"].rstrip("/")
        name = path.rsplit("/", 1)[-1]
        if info["type"] == "directory":
            return _Entry(name, "folder", path)
        if info["type"] != "file":
            message = f"{path} is a {info['type']}"
            return _Entry(name, "refused", path, problem="not-a-file", message=message)
        return _Entry(
            name, "file", path, self.fs.unstrip_protocol(path), info.get("size") or 0, object_stamp(info)
        )


def object_stamp(info: dict[str, Any]) -> str:
    """Return what changes when an object of a store does: ETag, or size and time."""
    if tag := info.get("ETag"):
        return str(tag).strip('"')
    times = (info.get(name) for name in ("LastModified", "mtime", "updated", "last_modified", "created"))
    return f"{info.get('size')}-{next((time for time in times if time), '')}"


def _hidden(path: str) -> bool:
    return path.rsplit("/", 1)[-1].startswith(".")


def _distinct(entries: Iterable[_Entry], prefix: str) -> list[_Entry]:
    """Return entries sorted by their locators, which become distinct.

    Folders sort as "name/", so that walking in this order gives all locators in order.
    """
    taken: set[str] = set()
    named = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        name = readable(entry.name)
        while name in taken:  # a name with a lone byte, beside one that spells out its escape
            name += "~"
        taken.add(name)
        named.append(entry._replace(locator=prefix + name))
    return sorted(named, key=lambda entry: entry.locator + "/" * (entry.kind == "folder"))


def _item(
    locator: str, uri: str, stamps: str, size: int, described: Described, problem: str, message: str
) -> Item:
    return Item(
        locator=locator,
        uri=uri,
        fingerprint=f"{stamps}|{_PLAIN if described is _NOTHING and not problem else described.digest(problem)}",
        size_bytes=size,
        texts=described.texts,
        concept=described.concept,
        licence=described.licence,
        credit=described.credit,
        extra=described.extra,
        problem=problem,
        problem_message=message,
    )


def _refused(locator: str, problem: str, message: str) -> Item:
    return _item(locator, "", "", -1, Described(), problem, message)
