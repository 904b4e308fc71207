"""The Open Clip Art Library as Debian ships it: drawings with titles and keywords, natural noise included."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html import unescape
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from xml.etree import ElementTree

from schemas.items import ItemText
from tasks.corpora._manifest import collect, manifest_texts, place, real_file
from tasks.corpora.contract import Report
from tasks.corpora.debian import DebianTree

TREE = DebianTree(
    packages=("openclipart-png", "openclipart-svg"),
    folder="usr/share/openclipart",
    setting="XMODAL_OPENCLIPART",
    expected=(("png/**/*.png", 8_000), ("svg/**/*.svg", 8_000)),
)
PUBLIC_DOMAIN = "CC-PDDC"
LIBRARY = "Open Clip Art Library"

# The package's copyright file puts everything under the dedication; these drawings say otherwise themselves.
_OTHER_LICENCES = {"http://creativecommons.org/licenses/GPL/2.0/": "GPL-2.0-only"}
_LANGUAGES = {"english": "en", "eng": "en"}
_DC = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


@dataclass(frozen=True)
class Metadata:
    """What a drawing says of itself, as shipped but for white space.

    Args:
        title: Its title.
        keywords: Its keywords, in order.
        description: Its description.
        author: Who made it.
        language: BCP 47 primary subtag it declares; "" when it does not say.
        licence_url: Address of the licence it declares; "" when it does not say.
    """

    title: str = ""
    keywords: tuple[str, ...] = ()
    description: str = ""
    author: str = ""
    language: str = ""
    licence_url: str = ""

    @property
    def licence(self) -> str:
        """SPDX identifier."""
        return _OTHER_LICENCES.get(self.licence_url, PUBLIC_DOMAIN)

    def texts(self, folder: str) -> list[ItemText]:
        """Return title, keywords, description and folder as texts, without the empty ones."""
        own = {"title": self.title, "keywords": ", ".join(self.keywords), "description": self.description}
        texts = [ItemText(text, self.language, "raw", role) for role, text in own.items()]
        return [text for text in [*texts, ItemText(folder, "en", "raw", "folder")] if text.text]


@dataclass(frozen=True)
class Drawing:
    """One picture file and every name it is shipped under.

    Args:
        file: The file, links resolved.
        names: Its paths in the tree without suffix; its own first, then those of links to it, sorted.
    """

    file: Path
    names: tuple[str, ...]


@dataclass(frozen=True)
class Clipart:
    """Debian's openclipart: a picture is one row with the texts of all its names.

    The package holds 8,121 names: 6,900 files and 1,221 symbolic links to them, which are resolved and
    do not double the picture. Texts come from the SVG of the same name, uncleaned.

    Args:
        unpacked: An unpacked copy of the packages to use instead of fetching.
        tree: The packages, and how many of their files must be there.
    """

    name: ClassVar[str] = "clipart"
    about: ClassVar[str] = "6,900 Open Clip Art drawings under 8,121 names, with noisy titles and keywords."
    licence: ClassVar[str] = PUBLIC_DOMAIN
    media_count: ClassVar[int] = 6_900

    unpacked: Path | None = None
    tree: DebianTree = TREE

    def get(self, cache: Path, *, report: Report) -> Path:
        """Return the path of the manifest, fetching 156 MB first if need be (154 MB stay in `cache`).

        Raises:
            CorpusError: The packages cannot be fetched or are not whole.
        """
        return collect(cache, self.name, partial(self._rows, cache, report), report)

    def _rows(self, cache: Path, report: Report, folder: Path) -> Iterator[dict[str, Any]]:
        with self.tree.open(cache, report=report, unpacked=self.unpacked) as tree:
            found = drawings(tree)
            report(f"clipart: {sum(len(d.names) for d in found)} names of {len(found)} pictures")
            for count, drawing in enumerate(found, start=1):
                yield row(tree, drawing.names, media=place(drawing.file, tree, folder))
                if count % 1000 == 0:
                    report(f"clipart: {count} of {len(found)} pictures")


def drawings(tree: Path) -> list[Drawing]:
    """Return every picture of the tree once, sorted by name.

    Links that are broken or lead out of the tree are passed over.

    Args:
        tree: Resolved folder with `png/` and `svg/`.
    """
    pictures = tree / "png"
    names = defaultdict(list)
    for path in sorted(pictures.rglob("*.png")):
        if file := real_file(path, pictures):
            names[file].append(path.relative_to(pictures).with_suffix("").as_posix())
    own = {file: file.relative_to(pictures).with_suffix("").as_posix() for file in names}
    return [
        Drawing(file, (own[file], *(name for name in names[file] if name != own[file])))
        for file in sorted(names, key=lambda file: own[file])
    ]


def row(tree: Path, names: tuple[str, ...], *, media: str) -> dict[str, Any]:
    """Return a picture's manifest row: the texts of all `names`, the rest from the first that says so."""
    found = []
    for name in names:
        svg = real_file(tree / "svg" / f"{name}.svg", tree / "svg")
        found.append(read_metadata(svg.read_bytes()) if svg else Metadata())
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    texts = [text for metadata, folder in zip(found, folders, strict=True) for text in metadata.texts(folder)]
    licences = [metadata.licence for metadata in found]
    return {
        "media": media,
        "texts": manifest_texts(texts),
        "licence": next((licence for licence in licences if licence != PUBLIC_DOMAIN), PUBLIC_DOMAIN),
        "credit": "; ".join(dict.fromkeys(m.author for m in found if m.author)) or LIBRARY,
        "category": folders[0].split("/")[0],
        "folder": folders[0],
        "names": list(names),
    }


def read_metadata(svg: bytes) -> Metadata:
    """Return the metadata of an SVG file; what cannot be found is empty.

    Broken XML, and XML that declares entities (which are never expanded), is searched as text instead.
    """
    if b"<!ENTITY" not in svg and b"\0" not in svg:  # a NUL betrays UTF-16, which could hide a declaration
        try:
            return _from_xml(ElementTree.fromstring(svg))
        except (ElementTree.ParseError, LookupError, ValueError):  # or an unknown encoding
            pass
    return _from_text(svg.decode("utf-8", errors="replace"))


def _from_xml(root: ElementTree.Element) -> Metadata:
    work = next((element for element in root.iter() if element.tag.endswith("}Work")), None)
    if work is None:
        return Metadata()
    subject = work.find(f"{_DC}subject")
    licence = next((child for child in work if child.tag.endswith("}license")), None)
    items = [] if subject is None else list(subject.iter(f"{_RDF}li")) or [subject]
    return Metadata(
        title=_words(work.find(f"{_DC}title")),
        keywords=tuple(word for word in map(_words, items) if word),
        description=_words(work.find(f"{_DC}description")),
        author=_words(work.find(f"{_DC}creator")),
        language=_language(_words(work.find(f"{_DC}language"))),
        licence_url="" if licence is None else licence.get(f"{_RDF}resource", ""),
    )


def _from_text(svg: str) -> Metadata:
    def inside(tag: str, where: str = svg) -> list[str]:
        blocks = re.findall(rf"<{tag}(?:\s[^<>]*)?>((?:(?!<{tag}[\s>]).)*?)</{tag}>", where, flags=re.DOTALL)
        return [" ".join(unescape(re.sub(r"<[^<>]*>", " ", block)).split()) for block in blocks]

    def first(tag: str) -> str:
        return next(iter(inside(tag)), "")

    subject = re.search(
        r"<dc:subject(?:\s[^<>]*)?>((?:(?!<dc:subject[\s>]).)*?)</dc:subject>", svg, flags=re.DOTALL
    )
    licence = re.search(r"<(?:cc:)?license\s[^<>]*resource=[\"']([^\"']*)[\"']", svg)
    return Metadata(
        title=first("dc:title"),
        keywords=tuple(word for word in inside("rdf:li", subject.group(1)) if word) if subject else (),
        description=first("dc:description"),
        author=first("dc:creator"),
        language=_language(first("dc:language")),
        licence_url=licence.group(1) if licence else "",
    )


def _words(element: ElementTree.Element | None) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())


def _language(declared: str) -> str:
    subtag = re.split(r"[-_ ]", declared.lower())[0]
    subtag = _LANGUAGES.get(subtag, subtag)
    return subtag if re.fullmatch("[a-z]{2}", subtag) else ""
