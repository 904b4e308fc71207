"""OpenMoji: emoji drawn by one project, each with a short name and tags; clean, so noise can be planted."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from schemas.errors import CorpusError
from schemas.items import ItemText
from tasks.corpora._manifest import collect, manifest_texts, place, real_file
from tasks.corpora.contract import Report
from tasks.corpora.npm import NpmTree

TREE = NpmTree(
    package="openmoji",
    version="17.0.0",
    sha512=(
        "1019d8acd19d71dc3e3925e610d78d135c81351bbab4eada4e6a0ec946c99139"
        "af4fff97113a7c4592d2245cc3de5acf73937d0b3b323e7453934569e14688f7"
    ),
    wanted=(r"color/svg/[0-9A-F]+(?:-[0-9A-F]+)*\.svg", r"data/openmoji\.json"),
    setting="XMODAL_OPENMOJI",
    expected=(("color/svg/*.svg", 4_000), ("data/openmoji.json", 1)),
)
_HEXCODE = re.compile(r"[0-9A-F]+(?:-[0-9A-F]+)*")


@dataclass(frozen=True)
class OpenMoji:
    """npm's openmoji 17.0.0. CC-BY-SA: fetched, never shipped with us.

    A row is an emoji: its colour drawing, its name with the role `caption`, and the tags of Unicode and of
    OpenMoji, each once, with the role `keywords`; 120 have no tags. `category` is the emoji's group, `folder`
    its subgroup. The 2,030 variants in skin tones are left out, being one drawing in other colours; the 270
    flags are kept as the category "flags", for a bench to leave out: 258 of them show nothing a caption
    could say but the name of a country or region. Emoji whose drawing is not there are passed over.

    Args:
        unpacked: An unpacked copy of the package to use instead of fetching.
        tree: The package, and how many of its files must be there.
    """

    name: ClassVar[str] = "openmoji"
    about: ClassVar[str] = "2,465 OpenMoji drawings (SVG) with names and tags; skin-tone variants left out."
    licence: ClassVar[str] = "CC-BY-SA-4.0"
    media_count: ClassVar[int] = 2_465

    unpacked: Path | None = None
    tree: NpmTree = TREE

    def get(self, cache: Path, *, report: Report) -> Path:
        """Return the path of the manifest, fetching 4 MB first if need be.

        Raises:
            CorpusError: The package cannot be fetched, or is not the pinned one, or is not whole.
        """
        return collect(cache, self.name, partial(self._rows, cache, report), report)

    def _rows(self, cache: Path, report: Report, folder: Path) -> Iterator[dict[str, Any]]:
        with self.tree.open(cache, report=report, unpacked=self.unpacked) as tree:
            yield from rows(tree, folder, report)


def rows(tree: Path, folder: Path, report: Report) -> Iterator[dict[str, Any]]:
    """Copy the drawings of a package's tree into `folder` and yield their manifest rows, in Unicode's order.

    Raises:
        CorpusError: `data/openmoji.json` is not what it was.
    """
    emoji = read_emoji((tree / "data" / "openmoji.json").read_bytes())
    plain = [one for one in emoji if not one["skintone"]]
    drawn = [
        (one, file)
        for one in plain
        if (file := real_file(tree / "color" / "svg" / f"{one['hexcode']}.svg", tree))
    ]
    report(
        f"openmoji: {len(drawn)} emoji; {len(emoji) - len(plain)} skin-tone variants left out, "
        f"{len(plain) - len(drawn)} without a drawing passed over"
    )
    for one, file in drawn:
        texts = [ItemText(one["annotation"], "en"), ItemText(tags(one), "en", "raw", "keywords")]
        yield {
            "media": place(file, tree, folder),
            "texts": manifest_texts(texts),
            "licence": OpenMoji.licence,
            "credit": "; ".join(part for part in ("OpenMoji", one["openmoji_author"]) if part),
            "category": one["group"],
            "folder": one["subgroups"],
            "hexcode": one["hexcode"],
        }


def read_emoji(data: bytes) -> list[dict[str, str]]:
    """Return the fields we use of every emoji, as stripped strings.

    Raises:
        CorpusError: It is no list of emoji, or a hexcode is none.
    """
    fields = (
        "hexcode",
        "annotation",
        "tags",
        "openmoji_tags",
        "openmoji_author",
        "group",
        "subgroups",
        "skintone",
    )
    try:
        emoji = [{field: str(one[field]).strip() for field in fields} for one in json.loads(data)]
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"data/openmoji.json is no list of emoji ({type(error).__name__}: {error}); "
            f"unpack {TREE.package}@{TREE.version} again"
        ) from error
    for one in emoji:
        if not _HEXCODE.fullmatch(one["hexcode"]):  # it becomes a path
            raise CorpusError(f"data/openmoji.json has the hexcode {one['hexcode']!r:.100}; refused")
    return emoji


def tags(emoji: Mapping[str, str]) -> str:
    """Return the tags of Unicode, then OpenMoji's further ones, separated by commas; "" if none."""
    found = (tag.strip() for tag in f"{emoji['tags']},{emoji['openmoji_tags']}".split(","))
    return ", ".join(dict.fromkeys(tag for tag in found if tag))
