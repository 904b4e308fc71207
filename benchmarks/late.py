"""Whether comparing token by token finds more than comparing means: `python -m benchmarks.late --help`.

Reads the manifests that `xmodal corpora get clipart` and `stamps` print. Tokens of a picture are regions of EfficientNet-Lite0's
last feature map, tokens of a text MiniLM's states, both frozen; two linear heads take them to one space. They are trained
on clip art and its titles, twice from the same start and batches: by the cosine of mean tokens, and by the mean of best
matches. Each seed draws another 1,000 clip art pictures as the test; near-duplicates and equal titles are never split between
training and test. The stamps are never trained on. A result is right if its caption reads as the query's does.

Rows say what was trained and how it was asked: a head trained on means can be asked token by token, and the other way
round. "max-sim of 100" asks for the mean vector's 100 best first and compares only these token by token.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import t as student

from benchmarks.captions import numbered, tied
from benchmarks.codes import entries_of, picture_of
from benchmarks.measure import machine, table
from tasks.filters._hamming import representatives
from tasks.late import FILIP, LateScorer, MaxSim, SoftMaxSim, Tokens
from tasks.late._features import CELLS, FEATURES, image_tokens, regions, text_tokens
from tasks.late._token_heads import Lesson, TokenHeads
from tasks.media.picture import difference_hash

TEST = 1000
LARGEST = 10  # pictures of a group in the test: a title that hundreds share is found by chance
PREFETCH = 100
DRAWN_ALIKE = 6  # bits of 64
Floats = NDArray[np.float32]


class Corpus:
    """Pictures' regions and captions' tokens, row by row.

    Args:
        manifest: Of the corpus.
        cache: Folder for feature maps.
        side: Regions along a side of the map.
    """

    def __init__(self, manifest: Path, cache: Path, side: int) -> None:
        entries = entries_of(manifest)
        self.name = manifest.parent.name
        file, hashes = cache / f"late_{self.name}.npy", cache / f"late_{self.name}_hashes.npy"
        if not file.is_file() or not hashes.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            shape = (len(entries), CELLS * CELLS, FEATURES)
            maps = open_memmap(file, "w+", np.float16, shape)
            prints = np.zeros(len(entries), np.uint64)
            for row, entry in enumerate(entries):
                if (picture := picture_of(entry)) is not None:
                    maps[row] = image_tokens([picture])[0]
                    prints[row] = int(difference_hash(Image.fromarray(picture)), 16)
            maps.flush()
            np.save(hashes, prints)
        maps, prints = np.load(file, mmap_mode="r"), np.load(hashes)
        pooled = np.concatenate(
            [
                regions(maps[start : start + 256].astype(np.float32), side)
                for start in range(0, len(maps), 256)
            ]
        )
        seen = np.flatnonzero(pooled.any(axis=(1, 2)))
        self.media = pooled[seen]
        self.captions = [entries[row].caption.casefold() for row in seen]
        self.texts = text_tokens([entries[row].caption for row in seen])
        self.caption_number = numbered(self.captions)
        alike = representatives(prints[seen], DRAWN_ALIKE).astype(np.int64)
        self.group = tied(alike, self.caption_number)

    def __len__(self) -> int:
        return len(self.media)


def split(corpus: Corpus, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows to train on and rows to test, no group on both sides."""
    rng = np.random.default_rng(seed)
    groups, sizes = np.unique(corpus.group, return_counts=True)
    order = rng.permutation(np.flatnonzero(sizes <= LARGEST))
    taken = groups[order[np.cumsum(sizes[order]) <= TEST]]
    test = np.isin(corpus.group, taken)
    return np.flatnonzero(~test), np.flatnonzero(test)


def recall(scores: Floats, own: NDArray[np.int64], number: NDArray[np.int64], k: int) -> float:
    """Return the share of queries (rows) with a result of their own caption among the first k."""
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((number[top] == own[:, None]).any(axis=1).mean())


def asked(heads: TokenHeads, corpus: Corpus, rows: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """Return recall of both directions by how it was asked."""
    pictures = Tokens(heads.media(corpus.media[rows]), np.ones((len(rows), corpus.media.shape[1]), bool))
    texts = [heads.text(corpus.texts[row]) for row in rows]
    number = corpus.caption_number[rows]
    once = np.unique(number, return_index=True)[1]  # a caption is asked once, however many pictures have it
    coarse = (
        np.stack([heads.text(corpus.texts[row].mean(axis=0)) for row in rows])
        @ heads.media(corpus.media[rows].mean(axis=1)).T
    )  # (texts, media)

    def scores(scorer: LateScorer) -> Floats:
        return np.stack([scorer(text, pictures) for text in texts])

    # a picture that asks texts sums over its regions: the mean over the item's tokens, seen from the text
    fine = scores(MaxSim()), scores(FILIP(direction="item"))
    ways = {
        "mean": (coarse, coarse),
        "max-sim": fine,
        f"max-sim of {PREFETCH}": (_only(fine[0], coarse), _only(fine[1].T, coarse.T).T),
        "filip both": (scores(FILIP(direction="both")),) * 2,
        "soft-max-sim": (scores(SoftMaxSim()),) * 2,
    }
    return {
        way: {
            f"{to} R@{k}": recall(found, own, number, k)
            for to, found, own in (("media", to_media[once], number[once]), ("text", to_text.T, number))
            for k in (1, 10)
        }
        for way, (to_media, to_text) in ways.items()
    }


def _only(scores: Floats, first: Floats) -> Floats:
    """Return the scores of what each query (row) would find first, and nothing for the others."""
    kept = np.full_like(scores, -np.inf)
    near = np.argsort(-first, axis=1, kind="stable")[:, :PREFETCH]
    np.put_along_axis(kept, near, np.take_along_axis(scores, near, axis=1), axis=1)
    return kept


def arms(train: Corpus, stamps: Corpus, lesson: Lesson) -> dict[tuple[str, str], dict[str, float]]:
    """Return recall by (corpus, arm) for one seed."""
    learnt, held = split(train, lesson.seed)
    found = {}
    for compare in ("pooled", "late"):
        heads = replace(lesson, compare=compare)(train.media[learnt], [train.texts[row] for row in learnt])
        for corpus, rows in ((train, held), (stamps, np.arange(len(stamps)))):
            for way, recalls in asked(heads, corpus, rows).items():
                found[corpus.name, f"{compare}: {way}"] = recalls
    return found


def difference(gain: Sequence[float]) -> str:
    """Return mean and 95 % interval over seeds; said if it may be nothing."""
    half = (
        student.ppf(0.975, len(gain) - 1) * np.std(gain, ddof=1) / np.sqrt(len(gain))
        if len(gain) > 1
        else 0.0
    )
    said = f"{np.mean(gain):+.3f} ± {half:.3f}"
    return said if abs(np.mean(gain)) > half else f"{said} (null)"


def main() -> None:
    """Print one table a corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clipart", type=Path, help="manifest.jsonl to train on")
    parser.add_argument("stamps", type=Path, help="manifest.jsonl of another corpus")
    parser.add_argument("--cache", type=Path, required=True, help="Folder for feature maps: 1 GB.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--side", type=int, default=3, help="Regions along a side of the map, 1 to 7.")
    parser.add_argument("--width", type=int, default=64)
    given = parser.parse_args()
    train, stamps = (Corpus(one, given.cache, given.side) for one in (given.clipart, given.stamps))
    runs = [arms(train, stamps, Lesson(width=given.width, seed=seed)) for seed in range(given.seeds)]
    print(machine())
    for corpus in (train, stamps):
        lines: list[list[object]] = []
        base = [run[corpus.name, "pooled: mean"] for run in runs]
        for name, arm in runs[0]:
            if name != corpus.name:
                continue
            rows = [run[name, arm] for run in runs]
            cells = [
                f"{np.mean([row[k] for row in rows]):.3f} ± {np.std([row[k] for row in rows]):.3f}"
                for k in base[0]
            ]
            gains = [
                difference([row[k] - one[k] for row, one in zip(rows, base, strict=True)])
                for k in ("media R@1", "text R@1")
            ]
            lines.append([arm, *cells, *gains])
        print(
            f"\n{corpus.name}, {given.seeds} seeds, {given.side} x {given.side} regions, width {given.width}"
        )
        print(
            table(["trained: asked", *base[0], "media R@1 over mean", "text R@1 over mean"], lines),
            flush=True,
        )


if __name__ == "__main__":
    main()
