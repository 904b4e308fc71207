"""An encoder alone: processes that call it on decoded items, no flow; what `benchmarks.embed` compares with."""

import argparse
import io
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.encoders import ENCODERS

CHUNK = 32


def encode(work: tuple[str, str, int, int]) -> tuple[float, float]:
    """Encode every n-th item and return wall and CPU seconds, weights opened but items decoded beforehand."""
    path, name, offset, step = work
    with pa.memory_map(path) as source:
        items = pa.ipc.open_file(source).read_all()["item"].to_pylist()[offset::step]
    decoded = [_pixels(item) if isinstance(item, bytes) else item for item in items]
    encoder = build(ENCODERS, MethodRef(name=name))
    encoder(decoded[:1])  # weights are opened, as they are once per worker
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(decoded), CHUNK):
        encoder(decoded[start : start + CHUNK])
    return time.perf_counter() - wall, time.process_time() - cpu


def _pixels(thumbnail: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(thumbnail)) as image:
        return np.asarray(image.convert("RGB"))


def main() -> None:
    """Encode a file of items with one process per worker and print seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("items", type=Path, help="Arrow file with a column `item`: WebP bytes or texts")
    parser.add_argument("--encoder", default="lite")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    work = [(str(args.items), args.encoder, n, args.workers) for n in range(args.workers)]
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        spent = pool.map(encode, work, chunksize=1)
    print(json.dumps({"wall_s": max(wall for wall, _ in spent), "cpu_s": sum(cpu for _, cpu in spent)}))


if __name__ == "__main__":
    main()
