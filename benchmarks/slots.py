"""What slots are worth on a lake: `python -m benchmarks.slots LAKE`, a lake curated from the clip art corpus.

Queries are made of the tables, and so is the truth; the vectors never saw either. A draw takes other queries.

size       "large pictures of dogs": the keyword and the size by its own arithmetic on width and height
bare size  "large dogs": the same, where nothing beside says that the picture's size is meant
folder     "dogs recreation": the keyword, in a folder of that name
colour     "red dogs": the keyword, and the colour's word in a keyword or title
title      a title that one medium has: found within the first ten or not. No slot should matter
names      the same of titles that hold a word of a size, a language or a licence, and mean something else by it

That the filter and the truth are read from the same columns makes slots right by definition wherever they hit; what is
measured is how far the vectors are from it alone, and what a filter breaks where its words mean something else.

Arms: none; auto; clear (the kinds of auto wherever their words stand, no word beside asked for); all.
"""

import argparse
import re
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from benchmarks.measure import machine, table
from schemas.ranking import Query
from storage import lake as lakes
from storage.lake import Lake
from tasks.factual.number import is_plural, plural
from tasks.metrics import compare_all
from tasks.retrieval.find import find
from tasks.slots import AUTO, Kinds

K, LEAST = 10, 3
ARMS: dict[str, Kinds | Collection[str]] = {
    "none": "none",
    "auto": "auto",
    "clear": sorted(AUTO),
    "all": "all",
}
COLOURS = ("red", "white", "green", "blue", "black", "yellow", "orange")
NAMES = frozenset(
    [*("large", "big", "huge", "small", "little", "tiny", "wide", "tall", "square"), "gpl", "domain", "png"]
    + [*("english", "spanish", "italian", "french", "dutch", "polish"), "image", "picture", "photo", "images"]
)


@dataclass(frozen=True)
class Medium:
    """What the tables say of a picture."""

    width: int
    height: int
    keywords: frozenset[str]
    folders: frozenset[str]
    titles: frozenset[str]
    words: frozenset[str]


@dataclass(frozen=True)
class Asked:
    """A query and the media that answer it."""

    text: str
    right: frozenset[str]


def media_of(lake: Lake) -> dict[str, Medium]:
    """Return the kept media, read without the gazetteer."""
    snapshot = lake.head()
    assert snapshot is not None
    kept = "present AND kept IS NOT FALSE"

    def rows(name: str, *columns: str) -> list[dict[str, object]]:
        found = lake.dataset(name, snapshot).to_table(columns=list(columns), filter=kept).to_pylist()
        return list(found)

    texts = {row["text_id"]: str(row["text"]) for row in rows("texts", "text_id", "text")}
    said: dict[object, dict[object, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows("pairs", "media_id", "text_id", "role"):
        if row["text_id"] in texts:
            said[row["media_id"]][row["role"]].append(texts[row["text_id"]])
    found = {}
    for row in rows("media", "media_id", "width_px", "height_px"):
        own = said[row["media_id"]]
        keywords = {one.strip().lower() for text in own["keywords"] for one in text.split(",")} - {""}
        found[str(row["media_id"])] = Medium(
            int(str(row["width_px"])),
            int(str(row["height_px"])),
            frozenset(keywords),
            frozenset(part for text in own["folder"] for part in text.lower().split("/")),
            frozenset(own["title"]),
            frozenset(re.findall(r"[a-z]+", " ".join([*own["keywords"], *own["title"]]).lower())),
        )
    return found


def asked_of(media: dict[str, Medium]) -> dict[str, list[Asked]]:
    """Return every query of each setting."""
    longer = np.array([max(one.width, one.height) for one in media.values()])
    large, small = np.quantile(longer, [0.75, 0.25], method="lower")
    sizes = {
        "large": {item for item, one in media.items() if max(one.width, one.height) >= large},
        "small": {item for item, one in media.items() if max(one.width, one.height) <= small},
        "wide": {item for item, one in media.items() if one.width / one.height >= 4 / 3},
        "tall": {item for item, one in media.items() if one.height / one.width >= 4 / 3},
    }
    by_keyword: dict[str, set[str]] = defaultdict(set)
    by_folder: dict[str, set[str]] = defaultdict(set)
    by_title: dict[str, set[str]] = defaultdict(set)
    by_colour = {colour: {item for item, one in media.items() if colour in one.words} for colour in COLOURS}
    for item, one in media.items():
        for word in one.keywords:
            by_keyword[word].add(item)
        for word in one.folders:
            by_folder[word].add(item)
        for title in one.titles:
            by_title[title].add(item)
    found: dict[str, list[Asked]] = defaultdict(list)

    def ask(setting: str, text: str, right: set[str]) -> None:
        found[setting].append(Asked(text, frozenset(right)))

    for word, having in sorted(by_keyword.items()):
        if not (5 <= len(having) <= 300 and re.fullmatch("[a-z]{3,}", word)):
            continue
        many = word if is_plural(word) else plural(word)
        for size, items in sizes.items():
            if LEAST <= len(having & items) < len(having):
                ask("size", f"{size} pictures of {many}", having & items)
                ask("bare size", f"{size} {many}", having & items)
        for folder, items in sorted(by_folder.items()):
            if LEAST <= len(having & items) < len(having) and folder != word:
                ask("folder", f"{many} {folder.replace('_', ' ')}", having & items)
        for colour, items in by_colour.items():
            if LEAST <= len(having & items) < len(having) and colour != word:
                ask("colour", f"{colour} {many}", having & items)
    for title, items in sorted(by_title.items()):
        plain = re.findall("[a-z]+", title.lower())
        if len(items) == 1 and len(plain) >= 2:
            ask("names" if NAMES & {*plain} else "title", title, items)
    return found


def measured(
    lake: Lake, queries: list[Asked], arm: Kinds | Collection[str]
) -> tuple[list[float], list[float], list[str], float]:
    """Return precision and recall at ten for each query, what the notes said first, and mean milliseconds."""
    precision, recall, notes = [], [], []
    start = time.perf_counter()
    for one in queries:
        found = find(lake, Query(text=one.text, k=K), slots=arm)
        hits = len(one.right & set(found.candidates.item_ids))
        precision.append(hits / K)
        recall.append(hits / min(len(one.right), K))
        notes.append(
            "given up"
            if any("given up" in note for note in found.candidates.notes)
            else "narrowed"
            if found.slots
            else ""
        )
    return precision, recall, notes, (time.perf_counter() - start) / len(queries) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lake")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--queries", type=int, default=40, help="Of each setting and draw, at most.")
    given = parser.parse_args()
    print(machine(), flush=True)
    lake = lakes.open(given.lake)
    every = asked_of(media_of(lake))
    for setting, queries in every.items():
        number = min(given.queries, len(queries))
        drawn = []
        for seed in range(given.draws):
            picked = np.random.default_rng(seed).choice(len(queries), number, replace=False)
            drawn.append([queries[n] for n in sorted(picked)])
        values: dict[str, dict[str, list[list[float]]]] = {"precision@10": {}, "recall@10": {}}
        told: dict[str, Counter[str]] = {arm: Counter() for arm in ARMS}
        cost: dict[str, list[float]] = {}
        for arm, kinds in ARMS.items():
            runs = [measured(lake, of_draw, kinds) for of_draw in drawn]
            values["precision@10"][arm] = [run[0] for run in runs]
            values["recall@10"][arm] = [run[1] for run in runs]
            told[arm].update(note for run in runs for note in run[2])
            cost[arm] = [run[3] for run in runs]
        print(f"\n### {setting}: {len(queries)} queries, {given.draws} draws of {number}\n", flush=True)
        print("e.g. " + "; ".join(repr(one.text) for one in drawn[0][:4]) + "\n")
        rows: list[list[object]] = []
        for metric, of_metric in values.items():
            arrays = {arm: np.array(value) for arm, value in of_metric.items()}
            base = arrays.pop("none")
            compared = compare_all(base, arrays)
            for arm, value in {"none": base, **arrays}.items():
                means = value.mean(axis=1)
                row: list[object] = [metric, arm, f"{means.mean():.3f} ({means.min():.3f}-{means.max():.3f})"]
                if arm == "none":
                    row += ["", "", "", "", f"{np.mean(cost[arm]):.0f}"]
                else:
                    one, share = compared[arm], 100 / (number * given.draws)
                    row += [
                        f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]",
                        one.verdict,
                        f"{told[arm]['narrowed'] * share:.0f} %",
                        f"{told[arm]['given up'] * share:.0f} %",
                        f"{np.mean(cost[arm]):.0f}",
                    ]
                rows.append(row)
        print(
            table(["", "slots", "mean (draws)", "less none", "verdict", "narrowed", "given up", "ms"], rows)
        )


if __name__ == "__main__":
    main()
