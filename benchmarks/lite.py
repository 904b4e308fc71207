"""How well lite finds stamps by caption and captions by stamp: `python -m benchmarks.lite --help`.

The stamps (Debian tuxpaint-stamps-default, English captions) are never trained on, and drawings that nearly
duplicate one were removed from the training set. Every picture is read as the platform keeps it: on white,
longer side at most 320 px, through WebP.

A result counts as right when its caption reads as the query's does, its own pair or not.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.lite_train import RECIPE, Corpus, Example, Recipe, fit, recalls, stamp_examples
from tasks.encoders._lite_features import ImageFeatures, image_features, text_features
from tasks.encoders.lite import HEAD, Weights, class_shares, open_head, place_images, place_texts

TRAINING = ("openclipart", "emoji", "cldr", "classes")


def main() -> None:
    """Print one row per head and gallery."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stamps", type=Path, required=True, help="usr/share/tuxpaint/stamps")
    parser.add_argument(
        "--seeds", type=int, default=0, help="retrain so many heads; needs the four folders below"
    )
    for name in TRAINING:
        parser.add_argument(f"--{name}", type=Path, help="see benchmarks.lite_train")
    parser.add_argument("--cache", type=Path, help="see benchmarks.lite_train")
    given = parser.parse_args()
    if given.seeds and not all(getattr(given, name) for name in TRAINING):
        parser.error("--seeds needs --" + ", --".join(TRAINING))

    stamps = stamp_examples(given.stamps)
    seen = image_features([stamp.thumbnail() for stamp in stamps])
    said = text_features([stamp.name for stamp in stamps])
    committed = open_head(HEAD)
    galleries = galleries_of(stamps, given.stamps)
    print(f"{'head':<22} {'gallery':<26} {'n':>4}   text to image R@1  5  10      image to text R@1  5  10")
    for name, (rows, chance) in ((name, (rows, 10 / rows.sum())) for name, rows in galleries.items()):
        print(f"{'chance':<22} {name:<26} {rows.sum():>4}   R@10 {chance:.3f} both ways")
    show("class bridge", galleries, stamps, bridge(seen, committed), said)
    show("committed", galleries, stamps, place_images(seen, committed), place_texts(said, committed))
    if not given.seeds:
        return
    recipe = Recipe.read(RECIPE)
    corpus = Corpus.gather(
        given.openclipart,
        given.emoji,
        given.cldr,
        given.classes,
        given.stamps,
        recipe=recipe,
        cache=given.cache,
    )
    found = []
    for seed in range(given.seeds):
        head = fit(corpus, np.ones(len(corpus.examples), bool), recipe, seed)
        weights = {name: tensor.astype(np.float16).astype(np.float32) for name, tensor in head.items()}
        found.append(
            show(f"seed {seed}", galleries, stamps, place_images(seen, weights), place_texts(said, weights))
        )
    for name in galleries:
        table = np.array([run[name] for run in found])  # (seeds, 6)
        spread = zip(table.mean(axis=0), table.std(axis=0, ddof=min(1, len(table) - 1)), strict=True)
        print(f"{'mean ± deviation':<22} {name:<26} ", *(f"{mean:.3f} ± {off:.3f}" for mean, off in spread))


def galleries_of(stamps: list[Example], root: Path) -> dict[str, NDArray[np.bool_]]:
    """Return which stamps are in which gallery; letters, digits, coins and the like are symbols."""
    symbols = np.array([stamp.id.startswith("symbols/") for stamp in stamps])
    png = np.array([(root / f"{stamp.id}.png").exists() for stamp in stamps])
    return {
        "PNG without symbols": png & ~symbols,
        "PNG": png,
        "PNG + SVG without symbols": ~symbols,
        "PNG + SVG": np.ones(len(stamps), bool),
    }


def bridge(seen: ImageFeatures, weights: Weights) -> NDArray[np.float32]:
    """Return the untrained bridge's pictures, (N, 384): softmax, ten classes, mean of their vectors."""
    named = class_shares(seen.logits, temperature=1.0, classes=10) @ weights["class_text"]
    return named / np.linalg.norm(named, axis=1, keepdims=True)


def show(
    label: str,
    galleries: Mapping[str, NDArray[np.bool_]],
    stamps: list[Example],
    media: NDArray[np.float32],
    texts: NDArray[np.float32],
) -> dict[str, list[float]]:
    """Print a head's recall on each gallery and return it."""
    found = {}
    for name, rows in galleries.items():
        captions = [stamp.name for stamp, kept in zip(stamps, rows, strict=True) if kept]
        found[name] = list(recalls(media[rows], texts[rows], captions).values())
        cells = " ".join(f"{value:.3f}" for value in found[name])
        print(f"{label:<22} {name:<26} {len(captions):>4}   {cells}", flush=True)
    return found


if __name__ == "__main__":
    main()
