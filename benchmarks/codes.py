"""What codes of a few bits keep, and what rows without a partner add: `python -m benchmarks.codes --help`.

Reads the manifests that `xmodal corpora get stamps` and `clipart` print. Pictures are EfficientNet-Lite0 features, texts
MiniLM vectors of the caption or title: two spaces that never saw each other, each reduced to its 256 principal directions.
A fifth of the pairs, drawn anew by each seed, are the queries. Of the rest, the gallery, a share keeps its pairing and the
others lose their partners; coders see both kinds. A result is right if it is of the query's category (stamps) or shares a
keyword (clipart). MAP is the mean over queries and both directions.

Arms: random directions; ITQ-CCA on the pairs; reconstruction relations on the pairs alone and with the unpaired rows; and
the last one's numbers before they are rounded to signs, under the cosine. All parameters are the coders' defaults, which
were chosen on OpenMoji.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.lite_train import from_png, from_svg_file
from benchmarks.measure import machine, table
from tasks.codes import ITQCCA, Codes, ReconstructionRelations, SemiPaired, SignOfProjection
from tasks.codes._hamming import distances
from tasks.codes._rotation import principal
from tasks.encoders._lite_features import image_features, text_features

ARMS = ("random", "itq-cca", "paired only", "semi-paired", "float")
WIDTH = 256
TEST = 0.2
QUERIES = 500  # at most, of those drawn


@dataclass(frozen=True)
class Entry:
    """A picture of a corpus.

    Args:
        media: Its file.
        caption: What it is called.
        labels: Its category, or its keywords.
    """

    media: Path
    caption: str
    labels: frozenset[str]


@dataclass(frozen=True)
class Rows:
    """Pairs of two spaces.

    Args:
        media: (N, D_m) float32.
        text: (N, D_t) float32.
        relevant: (N, N) whether two rows share a label.
    """

    media: NDArray[np.float32]
    text: NDArray[np.float32]
    relevant: NDArray[np.bool_]


def entries_of(manifest: Path) -> list[Entry]:
    """Return the pictures of a corpus with an English caption or a title."""
    found = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        path = manifest.parent / row.get("media", "")
        if path.suffix not in (".png", ".svg"):
            continue
        said: dict[str, list[str]] = {}
        for text in row["texts"]:
            if text["role"] != "caption" or text["language"] == "en":
                said.setdefault(text["role"], []).append(text["text"])
        caption = next(iter(said.get("caption", said.get("title", []))), "")
        words = [word.strip().casefold() for text in said.get("keywords", []) for word in text.split(",")]
        if caption:
            found.append(Entry(path, caption, frozenset(filter(None, words)) or frozenset([row["category"]])))
    return found


def picture_of(entry: Entry) -> NDArray[np.uint8] | None:
    """Return the thumbnail; None where the drawing cannot be read."""
    try:
        return from_png(entry.media) if entry.media.suffix == ".png" else from_svg_file(entry.media)
    except (ValueError, OSError):
        return None


def rows_of(manifest: Path, cache: Path) -> Rows:
    """Return a corpus' vectors, reduced, and which rows are relevant to which."""
    entries = entries_of(manifest)
    file = cache / f"codes_{manifest.parent.name}.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        pooled = np.zeros((len(entries), 1280), np.float32)
        for row, entry in enumerate(entries):
            if (picture := picture_of(entry)) is not None:
                pooled[row] = image_features([picture]).pooled[0]
        np.savez(file, pooled=pooled, text=text_features([entry.caption for entry in entries]))
    with np.load(file) as kept:
        pooled, text = kept["pooled"], kept["text"]
    if len(pooled) != len(entries):
        raise SystemExit(f"{file} is of another corpus; remove it")
    seen = np.flatnonzero(pooled.any(axis=1))
    labels = [entries[row].labels for row in seen]
    number = {label: n for n, label in enumerate(sorted(frozenset().union(*labels)))}
    holds = np.zeros((len(seen), len(number)), np.float32)
    for row, held in enumerate(labels):
        holds[row, [number[label] for label in held]] = 1
    return Rows(_reduced(pooled[seen]), _reduced(text[seen]), holds @ holds.T > 0)


def _reduced(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mean, directions = principal(unit.astype(np.float64), WIDTH)
    return ((unit - mean) @ directions).astype(np.float32)


def precision(scores: NDArray[Any], relevant: NDArray[np.bool_]) -> float:
    """Return the mean average precision over queries that have something relevant. Of ties the earlier row is first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    hit = np.take_along_axis(relevant, order, axis=1)
    at = hit.cumsum(axis=1) / np.arange(1, hit.shape[1] + 1)
    count = hit.sum(axis=1)
    return float(((at * hit).sum(axis=1)[count > 0] / count[count > 0]).mean())


def measured(rows: Rows, *, bits: int, share: float, seed: int) -> dict[str, float]:
    """Return MAP by arm."""
    order = np.random.default_rng(seed).permutation(len(rows.media))
    cut = int(TEST * len(order))
    queries, gallery = order[:cut][:QUERIES], order[cut:]
    paired = gallery[: round(share * len(gallery))]
    alone = gallery[len(paired) :]
    seen = SemiPaired(rows.media[paired], rows.text[paired], rows.media[alone], rows.text[alone])
    fitted = {
        "random": SignOfProjection(bits=bits, seed=seed)(seen),
        "itq-cca": ITQCCA(bits=bits, seed=seed)(seen),
        "paired only": ReconstructionRelations(bits=bits, seed=seed, unpaired=False)(seen),
        "semi-paired": ReconstructionRelations(bits=bits, seed=seed)(seen),
    }
    relevant = rows.relevant[np.ix_(queries, gallery)]
    found = {}
    for name, codes in fitted.items():
        media, text = codes.code("media", rows.media), codes.code("text", rows.text)
        found[name] = (
            precision(-distances(text[queries], media[gallery]).astype(np.int32), relevant)
            + precision(-distances(media[queries], text[gallery]).astype(np.int32), relevant)
        ) / 2
    seen_as, said_as = _numbers(fitted["semi-paired"], rows)
    found["float"] = (
        precision(said_as[queries] @ seen_as[gallery].T, relevant)
        + precision(seen_as[queries] @ said_as[gallery].T, relevant)
    ) / 2
    return found


def _numbers(codes: Codes, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both sides before rounding, unit length."""
    media = (rows.media - codes.media_mean) @ codes.media_map
    text = (rows.text - codes.text_mean) @ codes.text_map
    return (
        media / np.maximum(np.linalg.norm(media, axis=1, keepdims=True), 1e-12),
        text / np.maximum(np.linalg.norm(text, axis=1, keepdims=True), 1e-12),
    )


def compared(runs: Sequence[dict[str, float]]) -> str:
    """Return what unpaired rows add: mean, 95 % interval over seeds, seeds that gained; said if it may be nothing."""
    gain = np.array([run["semi-paired"] - run["paired only"] for run in runs])
    if len(gain) < 2:
        return f"{gain[0]:+.3f}"
    half = student.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    said = f"{gain.mean():+.3f} ± {half:.3f}, {int((gain > 0).sum())}/{len(gain)}"
    return said if abs(gain.mean()) > half else f"{said} (null)"


def main() -> None:
    """Print one table a corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifests", type=Path, nargs="+", help="manifest.jsonl of stamps and of clipart")
    parser.add_argument("--cache", type=Path, required=True, help="Folder for vectors.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--bits", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    given = parser.parse_args()
    print(machine())
    for manifest in given.manifests:
        rows = rows_of(manifest, given.cache)
        lines: list[list[object]] = []
        for share in given.shares:
            for bits in given.bits:
                runs = [measured(rows, bits=bits, share=share, seed=seed) for seed in range(given.seeds)]
                cells = [
                    f"{np.mean([run[arm] for run in runs]):.3f} ± {np.std([run[arm] for run in runs]):.3f}"
                    for arm in ARMS
                ]
                lines.append([f"{share:.1%}", bits, *cells, compared(runs)])
        print(f"\n{manifest.parent.name}: {len(rows.media)} pairs, {given.seeds} seeds, MAP")
        print(table(["pairs", "bits", *ARMS, "unpaired rows add"], lines), flush=True)


if __name__ == "__main__":
    main()
