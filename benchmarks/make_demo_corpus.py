"""Make the demo corpus anew from Debian's openclipart.

Run `python -m benchmarks.make_demo_corpus --openclipart DIR --out DIR --seed 0`. The same packages, seed and
Pillow give the same bytes.
"""

import argparse
import io
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.corpora._manifest import MANIFEST, write_manifest
from tasks.corpora.clipart import Drawing, drawings, read_metadata, row

LONGER_SIDE_PX = 256
MAX_PIXELS = 25_000_000  # a few drawings are decompression bombs
# Said by the drawings themselves; the package's word alone is not enough for what we ship.
DEDICATIONS = {"http://web.resource.org/cc/PublicDomain", "http://creativecommons.org/licenses/publicdomain/"}
# Trademarks, whatever the drawing's licence, and what not everyone wants on the screen in a demonstration.
NOT_SHIPPED = {
    *("logo", "logos", "sexy", "sex", "nude", "naked", "nudity"),
    *("sunwheel", "swastika", "nazi", "confederate"),
    *("mississippi", "missisipi"),  # the former flag; the second as the source spells it
}


def allot(sizes: dict[str, int], total: int) -> dict[str, int]:
    """Share `total` out over strata in proportion to the root of their size, none above its size.

    The root keeps a folder of 2,000 icons from filling the sample, and small folders from vanishing.
    """
    shares = dict.fromkeys(sizes, 0)
    for _ in range(min(total, sum(sizes.values()))):
        open_ = [name for name in sizes if shares[name] < sizes[name]]
        neediest = max(open_, key=lambda name: (sizes[name] ** 0.5 / (shares[name] + 1), name))
        shares[neediest] += 1
    return shares


def sample(names: Sequence[str], total: int, rng: random.Random) -> list[str]:
    """Return `total` names, stratified by top-level folder and within it by folder."""
    by_category, by_folder = defaultdict(list), defaultdict(list)
    for name in sorted(names):
        by_category[name.split("/")[0]].append(name)
        by_folder[name.rpartition("/")[0]].append(name)
    chosen = []
    for category, share in allot({key: len(found) for key, found in by_category.items()}, total).items():
        folders = sorted({name.rpartition("/")[0] for name in by_category[category]})
        for folder, part in allot({key: len(by_folder[key]) for key in folders}, share).items():
            chosen += rng.sample(by_folder[folder], part)
    return chosen


def look_alikes(pictures: Sequence[Drawing]) -> list[tuple[str, str]]:
    """Return pairs of names of different files with equal difference hashes; flat pictures left out."""
    by_hash = defaultdict(list)
    for picture in pictures:
        with Image.open(picture.file) as image:
            rgba = image.convert("RGBA")
        white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        grey = np.asarray(white.convert("L").resize((9, 8), Image.Resampling.LANCZOS), dtype=np.int16)
        bits = grey[:, 1:] > grey[:, :-1]  # (8, 8)
        if 16 <= bits.sum() <= 48:
            by_hash[bits.tobytes()].append(picture.names[0])
    return [(names[0], names[1]) for names in by_hash.values() if len(names) > 1]


def shrunk(file: Path) -> tuple[bytes, str]:
    """Return the picture as lossless WebP of 256 px on the longer side, and its suffix.

    A PNG that is small enough already is returned as it is, byte for byte.
    """
    with Image.open(file) as image:
        if max(image.size) <= LONGER_SIDE_PX:
            return file.read_bytes(), ".png"
        rgba = image.convert("RGBA")
    rgba.thumbnail((LONGER_SIDE_PX, LONGER_SIDE_PX), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    rgba.save(out, "WEBP", lossless=True, quality=80, method=4)  # effort: six times quicker than the most
    return out.getvalue(), ".webp"


def make(tree: Path, out: Path, *, seed: int, total: int, twins: int) -> int:
    """Write media and manifest into `out`. Return the size in bytes.

    Args:
        tree: Folder with `png/` and `svg/`.
        out: Folder to fill; its `media/` is replaced.
        seed: Of the sample.
        total: Pictures.
        twins: Among them so many pairs of equal files under two names, and so many of look-alikes.
    """
    tree = tree.resolve()
    pictures = [d for d in drawings(tree) if _pixels(d.file) <= MAX_PIXELS and _may_ship(tree, d)]
    file_of = {name: picture.file for picture in pictures for name in picture.names}
    rng = random.Random(seed)
    linked = [(picture.names[0], picture.names[1]) for picture in pictures if len(picture.names) > 1]
    pairs = rng.sample(linked, twins) + rng.sample(look_alikes(pictures), twins)
    chosen = dict.fromkeys(name for pair in pairs for name in pair)
    rest = [picture.names[0] for picture in pictures if not chosen.keys() & set(picture.names)]
    chosen |= dict.fromkeys(sample(rest, total - len(chosen), rng))

    shutil.rmtree(out / "media", ignore_errors=True)
    rows, size_bytes = [], 0
    for name in sorted(chosen):
        data, suffix = shrunk(file_of[name])
        media = out / "media" / f"{name}{suffix}"
        media.parent.mkdir(parents=True, exist_ok=True)
        size_bytes += media.write_bytes(data)
        found = row(tree, (name,), media=media.relative_to(out).as_posix())
        del found["names"]  # one row, one name
        rows.append(found)
    write_manifest(out / MANIFEST, rows)
    return size_bytes + (out / MANIFEST).stat().st_size


def _pixels(png: Path) -> int:
    with png.open("rb") as handle:
        header = handle.read(24)  # width and height end the first chunk's start
    return int.from_bytes(header[16:20]) * int.from_bytes(header[20:24])


def _may_ship(tree: Path, drawing: Drawing) -> bool:
    for name in drawing.names:
        metadata = read_metadata((tree / "svg" / f"{name}.svg").read_bytes())
        words = set(re.findall(r"[a-z]+", " ".join([name, metadata.title, *metadata.keywords]).lower()))
        if metadata.licence_url not in DEDICATIONS or words & NOT_SHIPPED:
            return False
    return True


def main() -> None:
    """Read the command line and make the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--openclipart", type=Path, required=True, help="folder with png/ and svg/")
    parser.add_argument("--out", type=Path, default=Path("tasks/corpora/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--total", type=int, default=600)
    parser.add_argument("--twins", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size_bytes = make(
        options.openclipart, options.out, seed=options.seed, total=options.total, twins=options.twins
    )
    print(f"{options.total} pictures, {size_bytes / 1e6:.1f} MB in {options.out}")


if __name__ == "__main__":
    main()
