"""Media named by the rows of a CSV, TSV, JSONL or Parquet file."""

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from schemas.digests import text_digest
from schemas.errors import BadInput, SourceError
from schemas.items import Item
from schemas.source import Source
from tasks.sources._locators import Locators
from tasks.sources._places import (
    OBJECT_STORES,
    local_path,
    path_uri,
    place,
    readable,
    resolved_folder,
    scheme,
    stamp,
)
from tasks.sources._rows import EXTENSIONS, Row, columns, extension, rows
from tasks.sources._texts import ALIASES, Described, describe, pick, string
from tasks.sources.fetch import checked_url

LOCATOR_MAX_CHARS = 4096
# URLs that parsing would give back as they are: a named host, no port, no dots at the start of a path's parts. Most of a
# crawl are such, and parsing costs a third of listing it.
_PLAIN_URL = re.compile(
    r"https?://(?!\S*xn--)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*\.[a-z]{2,24}(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*){1,32}"
)


@dataclass(frozen=True)
class Manifest:
    """Each row is a medium with its texts, or a text without a medium.

    Columns are found by their usual names: media, path, image, file_name, url or filepath; text or caption;
    texts (a JSON list of strings or {text, language, origin, role}); language; licence or license; credit or
    source; concept. Further columns are kept. Finding repeated media takes some 20 bytes of memory a row.

    Args:
        location: A path or fsspec URL that ends in .csv, .tsv, .jsonl, .ndjson or .parquet.
        root: Folder that media must not lead out of; none: the manifest's own. Relative media are relative to
            the manifest's folder either way.
        allow_outside: Let media lie anywhere.
        allow_unpaired: Take rows without a text although the manifest has a column for it.
        text_max_chars: Longer texts are refused, in characters.
        media_column: The column of media; "": found by name. Likewise the others.
    """

    name: ClassVar[str] = "manifest"
    source: ClassVar[Source] = Source(
        title="Create an image dataset (metadata.csv, metadata.jsonl, metadata.parquet)",
        authors="Hugging Face",
        year=2022,
        url="https://huggingface.co/docs/datasets/image_dataset",
        departs="several texts a row; a bad row costs only itself",
    )

    location: str
    root: str = ""
    allow_outside: bool = False
    allow_unpaired: bool = False
    text_max_chars: int = 20_000
    media_column: str = ""
    text_column: str = ""
    texts_column: str = ""
    language_column: str = ""
    licence_column: str = ""
    credit_column: str = ""
    concept_column: str = ""

    def __post_init__(self) -> None:
        if self.text_max_chars < 1:
            raise ValueError(f"text_max_chars must be positive, not {self.text_max_chars}")
        if extension(self.location) not in EXTENSIONS:
            raise ValueError(f"{self.location!r} must end in one of {', '.join(EXTENSIONS)}")

    def __call__(self) -> Iterator[Item]:
        """Yield one item a row, in the manifest's order.

        Raises:
            SourceError: The manifest cannot be read, or lacks a column that was named or is needed.
        """
        resolved_folder.cache_clear()  # links may have changed since another listing
        names = self._names()
        paired = self._paired(names)
        unique = Locators()
        for row in rows(self.location):
            item = self._item(row, names, paired)
            locator = unique(item.locator)
            yield item if locator == item.locator else replace(item, locator=locator)

    def _names(self) -> dict[str, tuple[str, ...]]:
        """Return what each fact is called, the columns the user named first of all."""
        named = {fact: getattr(self, f"{fact}_column") for fact in ALIASES}
        found = columns(self.location)
        if found is not None:
            if missing := [name for name in named.values() if name and name not in found]:
                raise SourceError(
                    f"{self.location!r} has no column {missing[0]!r}; it has {', '.join(found)}"
                )
            if not any(
                name in found for fact in ("media", "text", "texts") for name in (named[fact], *ALIASES[fact])
            ):
                wanted = ", ".join(ALIASES["media"] + ALIASES["text"])
                raise SourceError(f"{self.location!r} has none of {wanted}; it has {', '.join(found)}")
        return {fact: (named[fact],) if named[fact] else ALIASES[fact] for fact in ALIASES}

    def _paired(self, names: dict[str, tuple[str, ...]]) -> bool:
        """Tell whether the manifest has texts at all, so that a row without one is at fault."""
        texts = {*names["text"], *names["texts"]}
        found = columns(self.location)
        if found is not None:
            return not texts.isdisjoint(found)
        return any(not texts.isdisjoint(row.values) for row in rows(self.location))  # mostly the first row

    def _item(self, row: Row, names: dict[str, tuple[str, ...]], paired: bool) -> Item:
        media_name, written = pick(row.values, names["media"])
        described, uri, size, stamped, problem, message = Described(), "", -1, "", "", ""
        try:
            if row.problem:
                raise BadInput(row.problem, row.message)
            media = string(written, "the medium", LOCATOR_MAX_CHARS).strip()
            described = describe(row.values, max_chars=self.text_max_chars, columns=names, media=media_name)
            if not media and not described.texts:
                raise BadInput(
                    "bad-row" if not paired else "missing-text", "the row has neither a medium nor a text"
                )
            if paired and not described.texts and not self.allow_unpaired:
                raise BadInput("missing-text", f"the row of {media} has no text")
            if media:
                uri, size, stamped = self._placed(media)
        except BadInput as error:
            problem, message = error.reason, error.message
        return Item(
            locator=_locator(row, written, described),
            uri=uri,
            fingerprint=f"{stamped}|{described.digest(str(written), problem, row.digest if problem else '')}",
            size_bytes=size,
            texts=described.texts,
            concept=described.concept,
            licence=described.licence,
            credit=described.credit,
            extra=described.extra,
            problem=problem,
            problem_message=message,
        )

    def _placed(self, media: str) -> tuple[str, int, str]:
        """Return address, size in bytes (-1: unknown) and stamp of a medium."""
        protocol = scheme(media)
        if protocol in ("http", "https"):
            return media if _PLAIN_URL.fullmatch(media) else str(checked_url(media)), -1, ""
        if protocol in OBJECT_STORES and "::" not in media:
            return media, -1, ""
        path = local_path(media)
        if path is None:
            known = ", ".join(sorted(OBJECT_STORES))
            raise BadInput("bad-url", f"{media:.200}: {protocol!r} is none of file, http, https, {known}")
        own = local_path(self.location)
        if own is None and not os.path.isabs(path):
            return self._beside(path), -1, ""
        folder = os.path.dirname(os.path.abspath(own)) if own is not None else "/"
        root = self.root or (folder if own is not None else "")
        if not root and not self.allow_outside:
            raise BadInput("outside-root", f"{media:.200} is on this machine, and {self.location} is not")
        real, status = place(
            os.path.join(folder, path), None if self.allow_outside else resolved_folder(root)
        )
        return path_uri(real), status.st_size, stamp(status)

    def _beside(self, path: str) -> str:
        """Return the address of a relative path beside a remote manifest."""
        protocol, _, key = self.location.partition("://")
        folder = posixpath.dirname("/" + key.lstrip("/"))
        joined = posixpath.normpath(posixpath.join(folder, path))
        if not self.allow_outside and not joined.startswith(folder.rstrip("/") + "/"):
            raise BadInput("outside-root", f"{path:.200} leads out of {protocol}:/{folder}")
        return f"{protocol}://{joined if key.startswith('/') else joined.lstrip('/')}"


def _locator(row: Row, written: Any, described: Described) -> str:
    """Return the medium as written, else a digest of the text, else of the row."""
    media = written.strip() if isinstance(written, str) else written
    if isinstance(media, str) and 0 < len(media) <= LOCATOR_MAX_CHARS:
        return readable(media)
    if not media and described.texts:
        first = described.texts[0]
        return f"text:{text_digest(first.text, first.language, first.origin)[:16]}"
    return f"row:{row.digest}"
