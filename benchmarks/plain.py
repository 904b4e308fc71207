"""The plain loop that `benchmarks.ingest` compares with: two processes, Pillow, one Lance table at the end.

Per image: read, SHA-256, full decode, 64-bit difference hash; then drop what is under 32 px or beyond 3:1, and keep
one row per hash. No quarantine beyond a column, no resume, no second run, no versions. With --white transparent pictures
are hashed as seen on white; the digest printed of what was found of each file is then Xmodal's (`benchmarks.compare`).
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import time
import warnings
from functools import partial
from pathlib import Path

import lance
import pyarrow as pa
from PIL import Image

warnings.simplefilter("ignore")  # Pillow's remarks on palettes and large pictures


def look(path: str, max_pixels: int = 0, white: bool = False) -> dict[str, object]:
    """Return one image's row; what cannot be decoded, or is too large, has an error instead of a hash."""
    data = Path(path).read_bytes()
    row: dict[str, object] = {
        "path": path,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    try:
        with Image.open(io.BytesIO(data)) as image:
            if max_pixels and image.width * image.height > max_pixels:
                raise ValueError(f"{image.width} x {image.height} is more than {max_pixels} pixels")
            pixels = _on_white(image) if white else image.convert("RGB")
    except Exception as error:
        return row | {"width": 0, "height": 0, "dhash": "", "error": f"{type(error).__name__}: {error}"}
    cells = pixels.convert("L").resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = "".join("01"[cells[r * 9 + c] < cells[r * 9 + c + 1]] for r in range(8) for c in range(8))
    width, height = pixels.size
    return row | {"width": width, "height": height, "dhash": f"{int(bits, 2):016x}", "error": ""}


def _on_white(image: Image.Image) -> Image.Image:
    """Return the picture in grey, its transparent parts white."""
    if not image.has_transparency_data:
        return image.convert("L" if image.mode in ("1", "L") else "RGB").convert("L")
    straight = image.convert("LA" if image.mode in ("L", "LA") else "RGBA")
    white = Image.new("L", straight.size, 255)
    white.paste(straight.convert("L"), mask=straight.getchannel("A"))
    return white


def digest(rows: list[tuple[str, int, int, str]]) -> str:
    """Return 12 hex digits over what was found of each file: (name, width, height, hash)."""
    return hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()[:12]


def main() -> None:
    """Curate a folder the plain way and print what it did as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--max-pixels", type=int, default=0, help="refuse larger images from their header, as Xmodal"
    )
    parser.add_argument("--white", action="store_true", help="hash transparent pictures as seen on white")
    args = parser.parse_args()
    start = time.perf_counter()
    paths = sorted(str(path) for path in args.images.rglob("*.png"))
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        rows = pool.map(partial(look, max_pixels=args.max_pixels, white=args.white), paths, chunksize=64)
    seen: set[object] = set()
    kept = []
    for row in rows:
        width, height = int(str(row["width"])), int(str(row["height"]))
        if (
            row["error"]
            or min(width, height) < 32
            or not 1 / 3 <= width / height <= 3
            or row["dhash"] in seen
        ):
            continue
        seen.add(row["dhash"])
        kept.append(row)
    lance.write_dataset(pa.Table.from_pylist(kept), str(args.out / "plain.lance"), mode="overwrite")
    wall = time.perf_counter() - start
    found = [
        (
            str(Path(str(r["path"])).relative_to(args.images)),
            int(str(r["width"])),
            int(str(r["height"])),
            str(r["dhash"]),
        )
        for r in rows
        if not r["error"]
    ]
    print(json.dumps({"images": len(paths), "kept": len(kept), "wall_s": wall, "digest": digest(found)}))


if __name__ == "__main__":
    main()
