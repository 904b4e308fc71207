"""Make the words of the captioner `concepts`: `python -m benchmarks.make_concepts --help`.

Reads the English annotations of the Unicode CLDR (Debian `unicode-cldr-core`, fetched and unpacked first; nothing is
downloaded here): what emoji are called, and the keywords they are found by. Writes `tasks/captioners/concepts.json`: those
of things that can be drawn. Left out are signs, flags, letters, faces and gestures, and words that name no thing.
"""

import argparse
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from tasks.factual.read import factual

OUT = Path(__file__).parents[1] / "tasks" / "captioners" / "concepts.json"
FIRST = 0x2600  # what is before are arrows, letters and punctuation
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]{1,23}")
_NO_THING = re.compile(
    r"\b(symbol|button|sign|face|hand|skin tone|flag|arrow|punctuation|zodiac|square|circle|mark|type)s?\b"
)


def concepts(annotations: Path) -> list[str]:
    """Return names and keywords of emoji that name things, sorted.

    Args:
        annotations: `common/annotations/en.xml` of the CLDR.
    """
    found = set()
    for annotation in ET.parse(annotations).getroot().iter("annotation"):
        if ord(annotation.get("cp", " ")[0]) < FIRST:
            continue
        for said in (annotation.text or "").split("|"):  # a name is one term, keywords are several
            term = said.replace("\u2019", "'").strip()
            if _WORDS.fullmatch(term) and not _NO_THING.search(term) and _is_thing(term):
                found.add(term)
    return sorted(found)


def _is_thing(term: str) -> bool:
    phrases = factual(term).phrases
    return len(phrases) == 1 and bool(phrases[0].head)


def licence(copyright_file: Path) -> str:
    """Return the licence of the data as its package states it."""
    text = copyright_file.read_text(encoding="utf-8")
    start = text.index("COPYRIGHT AND PERMISSION NOTICE")
    lines = [line.strip() for line in text[start:].splitlines()]
    end = next((n for n, line in enumerate(lines) if line.startswith(("Files:", "License:"))), len(lines))
    return "\n".join("" if line == "." else line for line in lines[:end]).strip()


def main() -> None:
    """Read, and write the words."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cldr", type=Path, required=True, help="usr/share/unicode/cldr of the package.")
    parser.add_argument(
        "--copyright", type=Path, required=True, help="usr/share/doc/unicode-cldr-core/copyright of it."
    )
    given = parser.parse_args()
    terms = concepts(given.cldr / "common" / "annotations" / "en.xml")
    kept = {
        "licence": licence(given.copyright),
        "modified": "Names and keywords of emoji that name things, without signs, flags, faces and gestures.",
        "terms": terms,
    }
    OUT.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{len(terms)} terms: {OUT}")


if __name__ == "__main__":
    main()
