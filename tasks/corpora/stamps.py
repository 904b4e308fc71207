"""Tux Paint's stamps: one concept as picture, sound, spoken description and captions in 77 languages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from schemas.items import ItemText
from tasks.corpora._manifest import collect, manifest_texts, place, real_file
from tasks.corpora.contract import Report
from tasks.corpora.debian import DebianTree

TREE = DebianTree(
    packages=("tuxpaint-stamps-default",),
    folder="usr/share/tuxpaint/stamps",
    setting="XMODAL_STAMPS",
    expected=(("**/*.txt", 900), ("**/*.png", 700), ("**/*.svg", 200), ("**/*.ogg", 7_000)),
)
# PNG first: of the 83 stamps that have both, two dozen SVG files state no usable size.
PICTURES = (".png", ".svg")
_SOUND = re.compile(
    r"(?P<concept>.+?)(?P<spoken>_desc)?(?:_(?P<locale>[a-z]{2,3}(?:_[A-Za-z]{2})?))?(?:\.ogg)?"
)
_CAPTION = re.compile(r"(?P<locale>[A-Za-z_@]+)\.utf8=(?P<caption>.*)")


@dataclass(frozen=True)
class Stamps:
    """Debian's tuxpaint-stamps-default. GPL: fetched, never shipped with us.

    A stamp is a caption file; its path without suffix is the `concept` of its picture, its sounds and its
    spoken descriptions. A spoken description has the caption of its language with the role `spoken`, a sound
    has the caption with the role `sound`. Where no caption is in the language spoken, the row has the English
    one with the role `caption`, which is no transcript. Two stamps have no picture: their captions are rows
    without media. Mirrored pictures (11) and sounds (27) without a caption file are left out.

    Args:
        unpacked: An unpacked copy of the package to use instead of fetching.
        tree: The package, and how many of its files must be there.
    """

    name: ClassVar[str] = "stamps"
    about: ClassVar[str] = "Tux Paint: 950 pictures, 7,846 sounds and readings, captions in 77 languages."
    licence: ClassVar[str] = "GPL-2.0-or-later"
    media_count: ClassVar[int] = 8_796

    unpacked: Path | None = None
    tree: DebianTree = TREE

    def get(self, cache: Path, *, report: Report) -> Path:
        """Return the path of the manifest, fetching 161 MB first if need be (200 MB stay in `cache`).

        Raises:
            CorpusError: The package cannot be fetched or is not whole.
        """
        return collect(cache, self.name, partial(self._rows, cache, report), report)

    def _rows(self, cache: Path, report: Report, folder: Path) -> Iterator[dict[str, Any]]:
        with self.tree.open(cache, report=report, unpacked=self.unpacked) as tree:
            yield from rows(tree, folder, report)


def rows(tree: Path, folder: Path, report: Report) -> Iterator[dict[str, Any]]:
    """Copy the media of a stamps tree into `folder` and yield their manifest rows, concept by concept."""
    captions = {
        _name(path, tree): read_captions(path.read_bytes())
        for path in sorted(tree.rglob("*.txt"))
        if real_file(path, tree)
    }
    sounds: dict[str, list[tuple[Path, bool, str]]] = {concept: [] for concept in captions}
    left_out = 0
    for path in sorted([*tree.rglob("*.ogg"), *tree.rglob("*.wav")]):
        concept, spoken, locale = parse_sound(_name(path, tree), captions)
        if concept in sounds and (file := real_file(path, tree)):
            sounds[concept].append((file, spoken, locale))
        else:
            left_out += 1
    report(f"stamps: {len(captions)} concepts; {left_out} sounds without a caption left out")

    for count, (concept, by_locale) in enumerate(captions.items(), start=1):
        facts = {
            "licence": Stamps.licence,
            "credit": "Tux Paint stamps",
            "concept": concept,
            "category": concept.split("/")[0],
            "folder": concept.rpartition("/")[0],
        }
        texts, locales = _all_captions(by_locale)
        candidates = (real_file(tree / f"{concept}{suffix}", tree) for suffix in PICTURES)
        picture = next((file for file in candidates if file), None)
        media = {"media": place(picture, tree, folder)} if picture else {}
        yield {**media, "texts": manifest_texts(texts), **facts, "locales": locales}
        for file, spoken, locale in sounds[concept]:
            text = _heard(by_locale, spoken, locale)
            media = {"media": place(file, tree, folder)}
            yield {**media, "texts": manifest_texts([text]), **facts, "locales": [locale]}
        if count % 200 == 0:
            report(f"stamps: {count} of {len(captions)} concepts")


def read_captions(data: bytes) -> dict[str, str]:
    """Return locale -> caption, English ("en") first.

    The first line of a caption file is English, the others read `<locale>.utf8=<caption>`; lines that do not
    are passed over.
    """
    first, *others = data.decode("utf-8", errors="replace").split("\n")
    captions = {"en": first.strip()}
    for line in others:
        if match := _CAPTION.fullmatch(line.strip()):
            captions.setdefault(match["locale"], match["caption"].strip())
    return {locale: caption for locale, caption in captions.items() if caption}


def parse_sound(name: str, concepts: dict[str, Any]) -> tuple[str, bool, str]:
    """Return (concept, is it a spoken description, locale) of a sound's path without suffix.

    Concept is "" when no known concept fits. Without a locale in its name, a sound is English.
    """
    if name in concepts:  # "clock_it" may be a stamp, not an Italian "clock"
        return name, False, "en"
    match = _SOUND.fullmatch(name)
    if match is None or match["concept"] not in concepts:
        return "", False, ""
    return match["concept"], match["spoken"] is not None, match["locale"] or "en"


def primary_subtag(locale: str) -> str:
    """Return the BCP 47 primary subtag of a gettext locale: "zh" of "zh_TW", "ca" of "ca@valencia"."""
    return re.split("[_@]", locale)[0].lower()


def _all_captions(by_locale: dict[str, str]) -> tuple[list[ItemText], list[str]]:
    """Return each distinct text once, and beside it the locales that have it, separated by spaces."""
    locales: dict[ItemText, list[str]] = {}
    for locale, caption in by_locale.items():
        locales.setdefault(ItemText(caption, primary_subtag(locale)), []).append(locale)
    return list(locales), [" ".join(names) for names in locales.values()]


def _heard(by_locale: dict[str, str], spoken: bool, locale: str) -> ItemText:
    exact = {name.lower(): caption for name, caption in by_locale.items()}.get(locale.lower())
    if exact is not None:
        return ItemText(exact, primary_subtag(locale), "raw", "spoken" if spoken else "sound")
    return ItemText(by_locale.get("en", ""), "en", "raw", "caption" if spoken else "sound")


def _name(path: Path, tree: Path) -> str:
    return path.relative_to(tree).with_suffix("").as_posix()
