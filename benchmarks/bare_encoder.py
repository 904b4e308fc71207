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


def encode(work: tuple[str, str, int, int]) -> tuple[float, ...]:
    """Encode every n-th item, decoded beforehand; return wall and CPU seconds, of opening the weights too."""
    path, name, offset, step = work
    with pa.memory_map(path) as source:
        items = pa.ipc.open_file(source).read_all()["item"].to_pylist()[offset::step]
    decoded = [_pixels(item) if isinstance(item, bytes) else item for item in items]
    begin = time.perf_counter(), time.process_time()
    encoder = build(ENCODERS, MethodRef(name=name))
    encoder(decoded[:1])  # weights are opened, as they are once per worker
    opened = time.perf_counter(), time.process_time()
    for start in range(0, len(decoded), CHUNK):
        encoder(decoded[start : start + CHUNK])
    ended = time.perf_counter(), time.process_time()
    return (*np.subtract(ended, opened), *np.subtract(opened, begin))


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
    walls, cpus, open_walls, open_cpus = zip(*spent, strict=True)
    said = {
        "wall_s": max(walls), "cpu_s": sum(cpus), "open_wall_s": max(open_walls), "open_cpu_s": sum(open_cpus)
    }  # fmt: skip
    print(json.dumps(said))


if __name__ == "__main__":
    main()
