"""How like what people wrote: captions of clip art beside its raw titles: `python -m benchmarks.captions_clipart --help`.

Reads the manifest that `xmodal corpora get clipart` prints. Some 1,200 pictures have a description by whoever drew them: that is
the reference. Captioners learn from the titles of pictures without one, and write about those with one, whose title and
description are hidden; `keywords` reads the keywords and folders beside. The raw titles are measured the same way.

The encoder `lite` was trained on many of these drawings and their titles, which flatters all that use its vectors: compare rows
with each other, not with other corpora. Features are kept in the folder `--cache`.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.captions import (
    Stamps,
    Vectors,
    _cells,
    _features,
    drawn,
    likeness,
    numbered,
    tied,
    written_by,
)
from benchmarks.lite_train import from_png
from benchmarks.measure import machine, table
from tasks.captioners.contract import Known, Medium
from tasks.encoders._lite_features import ImageFeatures
from tasks.encoders.lite import HEAD, open_head, place_images, place_texts
from tasks.filters._hamming import representatives
from tasks.media.picture import difference_hash

WRITERS = ("keywords", "labels", "concepts", "retrieve", "prefix")
FEWEST_WORDS, MOST_WORDS = 3, 40  # of a description
METRICS = ("coverage", "BLEU-4", "ROUGE-L", "CIDEr")


def clipart_of(manifest: Path, cache: Path, without: int) -> tuple[Stamps, dict[int, str]]:
    """Return pictures with their titles, and the description of those that have one, by row.

    Args:
        manifest: Of the corpus.
        cache: Folder for features.
        without: Pictures without a description, drawn by the digest of their row, at most.
    """
    found, described = [], []
    lines = manifest.read_text().splitlines()
    for line in sorted(lines, key=lambda one: hashlib.sha256(one.encode()).digest()):
        row = json.loads(line)
        said = {
            text["role"]: " ".join(text["text"].split()) for text in row["texts"] if text["language"] == "en"
        }
        if not said.get("title") or not row.get("media", "").endswith(".png"):
            continue
        words = len(said.get("description", "").split())
        if not words and len(found) - len(described) >= without:
            continue
        if words and not FEWEST_WORDS <= words <= MOST_WORDS:
            continue
        try:
            picture = from_png(manifest.parent / row["media"])
        except (ValueError, OSError):
            continue
        beside = tuple(
            Known(f"{row['media']}:{n}", text["text"], "en", text["role"])
            for n, text in enumerate(row["texts"])
            if text["role"] in ("keywords", "folder")
        )
        if words:
            described.append((len(found), said["description"]))
        found.append((row["media"], picture, said["title"], beside))
    ids, pictures, titles, others = zip(*found, strict=True)
    pooled, logits = _features(ids, pictures, cache)
    vectors = place_images(ImageFeatures(pooled, logits), open_head(HEAD))
    hashes = np.array([int(difference_hash(Image.fromarray(one)), 16) for one in pictures], np.uint64)
    alike = representatives(hashes, 3).astype(np.int64)
    media = [Medium(*one) for one in zip(ids, pictures, vectors, strict=True)]
    group = tied(alike, numbered([title.casefold() for title in titles]))
    return Stamps(media, titles, others, pooled, alike, group), dict(described)


def measured(
    clipart: Stamps,
    described: dict[int, str],
    writers: Sequence[str],
    few_count: int,
    read: Vectors,
    seed: int,
) -> dict[tuple[str, str], dict[str, float]]:
    """Return coverage and likeness to the descriptions, by captioner and what of it."""
    head = open_head(HEAD)
    pool = np.array(sorted(described), np.int64)
    apart = ~np.isin(clipart.group, clipart.group[pool])  # nothing alike is learnt from
    few = drawn(clipart.group, np.flatnonzero(apart), few_count, np.random.default_rng((seed, 3)))
    found = {("raw title", "as it is"): {row: clipart.caption[row] for row in described}}
    for name in writers:
        one = written_by(name, clipart, few, pool, lambda texts: place_texts(read(texts), head))
        found |= {(name, "first drafts"): one.first, (name, "accepted"): one.accepted}
    return {
        key: {"coverage": len(said) / len(described)} | likeness(said, described)
        for key, said in found.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, help="What `xmodal corpora get clipart` prints."
    )
    parser.add_argument("--cache", type=Path, required=True, help="Folder for vectors.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--few", type=int, default=1000, help="Pictures with titles to learn from.")
    parser.add_argument(
        "--without", type=int, default=2000, help="Pictures without a description to draw them from."
    )
    args = parser.parse_args()
    print(machine() + "\n", flush=True)
    (clipart, described), read = clipart_of(args.manifest, args.cache, args.without), Vectors(args.cache)
    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        for key, value in measured(clipart, described, WRITERS, args.few, read, seed).items():
            runs.setdefault(key, []).append(value)
        read.keep()
    print(f"{len(described)} described pictures, {args.few} titles to learn from, {args.seeds} seeds\n")
    print(
        table(
            ["captioner", "texts", *METRICS], [[*key, *_cells(found, METRICS)] for key, found in runs.items()]
        )
    )


if __name__ == "__main__":
    main()
