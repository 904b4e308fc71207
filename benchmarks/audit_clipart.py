r"""A labelled audit of clip art's own noise: 200 titles that do not say what is drawn and 200 that do, by rule.

Noise planted by shuffling is noise of one kind. The clipart corpus has noise of its own: titles pasted onto a whole
batch, names of series and of authors. This module labels (picture, title) pairs by rules over what the manifest says
*beside* the title, and writes 400 of them to `audit_clipart.jsonl`. Pixels serve to leave out near-duplicates; no
vector and no score has a part in it. For evaluation only: nothing is trained on it.

Words are runs of three letters or more, lower-cased and without accents; "fooBar_01" is "foo" and "bar". Two words
agree if, less an English ending, they are equal or one begins the other and both have four letters. What a picture's
*surroundings* say are the words of its keywords and folders, without the author's name, without leftovers such as
"hash(0x86a3d2c)" and without every keyword or folder that names an icon theme. A title's *content* is its words less
the author's name and words of making and packing ("clipart", "by", "icon", "set", "collection" ...). Two titles are
the same if their words are: "baloon1_04" and "baloon1_05" count as one.

wrong, where no word of the content agrees with the surroundings or with the picture's file name, and
    copied      the title stands on 4 pictures or more in 3 folders or more, and disagrees so with at least half of
                them: "Clipart by Nicu Buculei - antenna" on computer/hardware/keyboard.
    series      the same with 15 pictures or more, in however few folders, or a title that names a theme or series
                ("icons", "collection" ...): "gramastar", "Etiquette Icons".
    process     the title stands on 15 pictures or more and has no content at all: "Various Cliparts".
    author      the title is the author's name or address, two words at least: "Architetto Francesco Rollandin".
    code        the title is an address or a file name: "ec2.py".
right
    named       the title stands on this picture alone, or on 2 or 3 of one folder; half of its content or more agrees with
                the surroundings (the file name, made from the title, is no witness here); and one of those words is
                not the name of a top-level folder.

All else is ambiguous and left out, as are pictures of several titles, and people by their names. Of pictures whose
difference hashes differ in 2 bits or fewer only one is taken, of a title at most 25 pictures in a top-level folder.
Every top-level folder has as many right as wrong pairs, and they are spread as evenly over the folders as the pairs
there are allow, so that no folder gives a label away.

    python -m benchmarks.audit_clipart manifest.jsonl
"""

import argparse
import json
import random
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import unescape
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from tasks.media.picture import as_plain, difference_hash

AUDIT = Path(__file__).with_name("audit_clipart.jsonl")
PAIRS_A_LABEL = 200
SERIES = 15  # pictures that make a title with no witness the name of a series
COPIED_PICTURES, COPIED_FOLDERS = 4, 3
TITLE_MAX = 25  # pictures of one title in one top-level folder
NEAR_BITS = 2

# fmt: off
PACKING = frozenset({
    "collection", "collections", "icons", "iconset", "pack", "package", "part", "series", "set", "sets",
    "theme", "themes", "various"
})
PROCESS = PACKING | frozenset({
    "and", "art", "arts", "artwork", "clip", "clipart", "cliparts", "created", "document", "domain",
    "draft", "drawing", "drawings", "drawn", "eps", "file", "files", "for", "format", "free", "from",
    "gif", "graphic", "graphics", "icon", "image", "images", "jpg", "library", "made", "misc",
    "miscellaneous", "new", "none", "openclipart", "pic", "pics", "picture", "pictures", "png", "project",
    "public", "sample", "sibmission", "submission", "svg", "the", "title", "unknown", "unnamed",
    "unsorted", "untitled", "vector", "version", "with", "xml"
})
# fmt: on
_TIMESTAMP = re.compile(r"\((?:mon|tue|wed|thu|fri|sat|sun) [^)]*\d{4}\)", re.IGNORECASE)
_LEFTOVER = re.compile(r"(?:hash)?\(?0x[0-9a-f]+\)?|hash", re.IGNORECASE)
_ADDRESS = re.compile(
    r"https?://|www\.|\S@\S+\.\w|^\S+\.(?:py|svg|png|eps|ai|xcf|jpe?g|gif|sxd|pdf)$", re.IGNORECASE
)
_ENDINGS = ("ings", "ing", "ies", "ers", "es", "ed", "s", "y")


@dataclass(frozen=True)
class Audited:
    """One labelled pair.

    Args:
        media: Path of the picture, as the manifest has it.
        title: Its title, as the manifest has it.
        label: Whether the title says what is drawn.
        rule: The rule that says so.
        category: Top-level folder.
    """

    media: str
    title: str
    label: Literal["right", "wrong"]
    rule: str
    category: str


@dataclass(frozen=True)
class Described:
    """What the rules look at: one picture with one title.

    Args:
        media: Path of the picture.
        title: Its title.
        category: Top-level folder.
        folder: Folder.
        content: The title's words less the author's name and words of making and packing.
        author: The title's words that are the author's name.
        surroundings: Words of the keywords and folders.
        file_names: Words of the file names.
    """

    media: str
    title: str
    category: str
    folder: str
    content: tuple[str, ...]
    author: tuple[str, ...]
    surroundings: frozenset[str]
    file_names: frozenset[str]

    @property
    def same_title(self) -> str:
        """Equal for titles that count as one."""
        return " ".join(words(self.title))

    @property
    def witnessed(self) -> bool:
        """Something beside the title speaks for it."""
        return any(
            agree(word, other) for word in self.content for other in self.surroundings | self.file_names
        )


def words(text: str) -> list[str]:
    """Return the words of a text, in order."""
    plain = unicodedata.normalize("NFKD", _TIMESTAMP.sub(" ", unescape(text)))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [
        word
        for word in re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", plain).lower())
        if len(word) > 2
    ]


def stem(word: str) -> str:
    """Return the word less an English ending, three letters at least."""
    ending = next((e for e in _ENDINGS if word.endswith(e) and len(word) - len(e) >= 3), "")
    return word.removesuffix(ending)


def agree(one: str, other: str) -> bool:
    """Tell whether two words are forms of one, or one begins the other."""
    a, b = stem(one), stem(other)
    return a == b or (min(len(a), len(b)) >= 4 and (a.startswith(b) or b.startswith(a)))


def described(row: Mapping[str, Any]) -> Described | None:
    """Return what the rules look at in a manifest row; None unless it has one title."""
    titles = [text["text"] for text in row["texts"] if text["role"] == "title"]
    if len(titles) != 1 or not words(titles[0]) and not _ADDRESS.search(titles[0]):
        return None
    author = set(words(row["credit"]))
    keywords = [
        word for text in row["texts"] if text["role"] == "keywords" for word in text["text"].split(", ")
    ]
    folders = [part for name in row["names"] for part in name.split("/")[:-1]]
    said = [s for s in [*keywords, *folders] if "theme" not in s.lower() and not _LEFTOVER.fullmatch(s)]
    in_title = words(titles[0])
    return Described(
        media=row["media"],
        title=titles[0],
        category=row["category"],
        folder=row["folder"],
        content=tuple(word for word in in_title if word not in author | PROCESS),
        author=tuple(word for word in in_title if word in author),
        surroundings=frozenset(word for s in said for word in words(s)) - author,
        file_names=frozenset(word for name in row["names"] for word in words(name.split("/")[-1])) - author,
    )


def judged(rows: Iterable[Mapping[str, Any]]) -> list[tuple[Described, Audited]]:
    """Return every pair that a rule speaks about, in the order of the rows."""
    pairs = [pair for row in rows if (pair := described(row))]
    of_title: dict[str, list[Described]] = defaultdict(list)
    for pair in pairs:
        of_title[pair.same_title].append(pair)
    categories = {word for pair in pairs for word in words(pair.category)}
    # Once a title: most of its pictures disagree with it.
    unfit = {
        title: 2 * sum(pair.witnessed for pair in group) <= len(group) for title, group in of_title.items()
    }
    found = []
    for pair in pairs:
        group = of_title[pair.same_title]
        if rule := _wrong(pair, group, unfit[pair.same_title]):
            found.append((pair, Audited(pair.media, pair.title, "wrong", rule, pair.category)))
        elif _named(pair, group, categories):
            found.append((pair, Audited(pair.media, pair.title, "right", "named", pair.category)))
    return found


def _wrong(pair: Described, group: Sequence[Described], unfit: bool) -> str:
    """Name the rule by which the title is wrong; "" if none."""
    if _ADDRESS.search(pair.title) and not pair.witnessed:
        return "code"
    if not pair.content:
        if len(group) >= SERIES:
            return "process"
        alone = len(pair.author) >= 2 and len(pair.author) == len(words(pair.title))
        return "author" if alone and pair.category != "people" else ""
    if pair.witnessed or not unfit:
        return ""
    folders = {other.folder for other in group}
    if len(group) >= SERIES and (PACKING & set(words(pair.title)) or len(folders) < COPIED_FOLDERS):
        return "series"
    return "copied" if len(group) >= COPIED_PICTURES and len(folders) >= COPIED_FOLDERS else ""


def _named(pair: Described, group: Sequence[Described], categories: set[str]) -> bool:
    """Tell whether the title is right."""
    if len(group) > 3 or len({other.folder for other in group}) > 1 or not pair.content:
        return False
    agreed = [word for word in pair.content if any(agree(word, other) for other in pair.surroundings)]
    says_more = any(not any(agree(word, category) for category in categories) for word in agreed)
    return 2 * len(agreed) >= len(pair.content) and says_more


def audit(
    rows: Iterable[Mapping[str, Any]], folder: Path, *, count: int = PAIRS_A_LABEL, seed: int = 0
) -> list[Audited]:
    """Return `count` right and `count` wrong pairs, sorted by media; fewer if there are not as many.

    Args:
        rows: Rows of the clipart manifest.
        folder: Where their media lie.
        count: Pairs of each label.
        seed: Seed of the draw.
    """
    rng = random.Random(seed)
    strata: dict[tuple[str, str], list[tuple[Described, Audited]]] = defaultdict(list)
    for pair, verdict in judged(rows):
        strata[verdict.category, verdict.label].append((pair, verdict))
    hashes: list[int] = []
    taken: dict[tuple[str, str], list[Audited]] = {}
    # In a folder the scarcer label chooses first among near-duplicates.
    for category, label in sorted(strata, key=lambda stratum: (stratum[0], len(strata[stratum]), stratum[1])):
        taken[category, label] = _unlike(_in_turn(strata[category, label], rng), folder, hashes, count)
    there = {
        category: min(len(taken.get((category, label), [])) for label in ("right", "wrong"))
        for category, _ in strata
    }
    quota = evenly(there, count)
    chosen = [pair for (category, _), pairs in taken.items() for pair in pairs[: quota[category]]]
    return sorted(chosen, key=lambda pair: pair.media)


def evenly(there: Mapping[str, int], count: int) -> dict[str, int]:
    """Share `count` out so that no part has more than is there, and otherwise all alike.

    Example:
        >>> evenly({"a": 9, "b": 1, "c": 5}, 9)
        {'a': 4, 'b': 1, 'c': 4}
    """
    quota = dict.fromkeys(sorted(there), 0)
    for _ in range(min(count, sum(there.values()))):
        quota[min((part for part in quota if quota[part] < there[part]), key=lambda part: quota[part])] += 1
    return quota


def _in_turn(
    pairs: Sequence[tuple[Described, Audited]], rng: random.Random
) -> list[tuple[Described, Audited]]:
    """Return the pairs shuffled, one of every folder and title before a second of any."""
    groups: dict[tuple[str, str], list[tuple[Described, Audited]]] = defaultdict(list)
    for pair in rng.sample(pairs, len(pairs)):
        # Right titles differ nearly all, so folders take turns; of the wrong ones both do.
        groups[pair[0].folder, pair[0].same_title if pair[1].label == "wrong" else ""].append(pair)
    return [pair for turn in zip_longest(*groups.values()) for pair in turn if pair is not None]


def _unlike(
    pairs: Iterable[tuple[Described, Audited]], folder: Path, hashes: list[int], count: int
) -> list[Audited]:
    """Return up to `count` pairs whose pictures are unlike each other and unlike those of `hashes`, which grows."""
    taken: list[Audited] = []
    of_title: Counter[str] = Counter()
    for pair, verdict in pairs:
        if len(taken) == count:
            break
        if of_title[pair.same_title] == TITLE_MAX:
            continue
        found = _hash(folder / pair.media)
        if found is not None and all((found ^ other).bit_count() > NEAR_BITS for other in hashes):
            hashes.append(found)
            of_title[pair.same_title] += 1
            taken.append(verdict)
    return taken


def _hash(path: Path) -> int | None:
    """Return the picture's difference hash; None if it is too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return int(difference_hash(as_plain(picture)), 16)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def read(path: Path = AUDIT) -> list[Audited]:
    """Return the audit set as written."""
    return [Audited(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Draw the set anew and print what it is made of."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="manifest.jsonl of 'xmodal corpora get clipart'")
    parser.add_argument("--out", type=Path, default=AUDIT)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.manifest.read_text(encoding="utf-8").splitlines()]
    by_rule = Counter(verdict.rule for _, verdict in judged(rows))
    chosen = audit(rows, options.manifest.parent, seed=options.seed)
    with options.out.open("w", encoding="utf-8", newline="\n") as out:
        for pair in chosen:
            out.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")
    print("rule      pairs there are  in the set")
    for rule, there in sorted(by_rule.items()):
        print(f"{rule:<9} {there:>15,} {sum(pair.rule == rule for pair in chosen):>11}")
    for category, pairs in sorted(Counter(pair.category for pair in chosen).items()):
        print(f"{category:<20} {pairs:>4}")
    print(f"{len(chosen)} pairs in {options.out}")


if __name__ == "__main__":
    main()
