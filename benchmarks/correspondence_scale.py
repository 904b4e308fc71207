"""How the time and memory of training-free noise scorers grow with the number of pairs.

    python -m benchmarks.correspondence_scale [--sizes 10000 100000 1000000] [--dim 384] [--scorers cosine geometry]

Vectors are synthetic: unit vectors around shared centres, on disk and mapped, a fifth of the texts swapped. Each
scorer runs in a fresh process with one thread. "Own" memory is what the process allocated; mapped pages of the vectors
are not in it, since the system takes them back when it needs them.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks import measure
from schemas.batch import PairBatch

SCORERS = ("cosine", "frequency", "frozen-estimator", "geometry")
_BLOCK = 16_384
_CENTRES = 2000
_SWAPPED = 5  # one text in this many


def main() -> None:
    """Measure every scorer at every size and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--scorers", nargs="+", choices=SCORERS, default=list(SCORERS))
    parser.add_argument("--folder", type=Path, help="where vectors are written; by default a temporary one")
    parser.add_argument("--one", choices=SCORERS, help=argparse.SUPPRESS)  # the fresh process
    args = parser.parse_args()
    if args.one:
        print(json.dumps(score(args.one, args.folder)))
        return
    print(measure.machine(), "\n", flush=True)
    costs: dict[str, dict[int, dict[str, float]]] = {name: {} for name in args.scorers}
    for size in sorted(args.sizes):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            write(Path(folder), size, args.dim)
            for name in args.scorers:
                costs[name][size] = in_fresh_process(name, Path(folder))
                print(f"{name} {size:,} pairs: {costs[name][size]['seconds']:.2f} s", file=sys.stderr)
    rows = [
        [
            name,
            f"{size:,}",
            f"{cost['seconds']:.2f}",
            f"{cost['seconds'] / size * 1e6:.1f}",
            f"{cost['own_bytes'] / 2**20:.0f}",
            f"{cost['peak_bytes'] / 2**20:.0f}",
            "" if name == "frequency" else f"{cost['auroc']:.3f}",
        ]
        for name, of_size in costs.items()
        for size, cost in of_size.items()
    ]
    columns = ["scorer", "pairs", "s", "us a pair", "own MiB", "RSS MiB", "AUROC"]
    print(measure.table(columns, rows))
    if len(args.sizes) > 1:
        grown = [
            [name, f"{growth(of_size, 'seconds'):.2f}", f"{growth(of_size, 'own_bytes'):.2f}"]
            for name, of_size in costs.items()
        ]
        print("\n" + measure.table(["scorer", "exponent of time", "exponent of own memory"], grown))


def write(folder: Path, size: int, dim: int) -> None:
    """Write media.npy, text.npy and clean.npy: unit vectors around centres, a swapped text around a random one.

    Both sides lie in one space, so that scorers that need that can be measured too.
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(_CENTRES, dim)).astype(np.float32)
    clean = np.arange(size) % _SWAPPED != 0
    np.save(folder / "clean.npy", clean)
    files = [
        np.lib.format.open_memmap(folder / f"{side}.npy", mode="w+", dtype=np.float32, shape=(size, dim))
        for side in ("media", "text")
    ]
    for start in range(0, size, _BLOCK):
        right = clean[start : start + _BLOCK]
        of_media = rng.integers(0, _CENTRES, len(right))
        of_text = np.where(right, of_media, rng.integers(0, _CENTRES, len(right)))
        for file, cluster in zip(files, (of_media, of_text), strict=True):
            block = centres[cluster] + 2 * rng.standard_normal((len(right), dim), dtype=np.float32)
            file[start : start + _BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)


def in_fresh_process(name: str, folder: Path) -> dict[str, float]:
    """Score what `folder` holds in a process of its own, on one thread, and return what `score` says."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.correspondence_scale",
        "--one",
        name,
        "--folder",
        str(folder),
    ]
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    cost: dict[str, float] = json.loads(measure.run(command, env=single).output)
    return cost


def score(name: str, folder: Path) -> dict[str, float]:
    """Score the pairs in `folder` and return seconds, memory above that before the call, peak RSS and AUROC."""
    from sklearn.metrics import roc_auc_score

    from tasks.noise import NOISE_SCORERS

    media, text = (np.load(folder / f"{side}.npy", mmap_mode="r") for side in ("media", "text"))
    pairs = PairBatch(media, text, texts=titles(len(media)) if name == "frequency" else None)
    scorer = NOISE_SCORERS[name]()
    # Loads what the libraries load late, so that it does not count as the scorer's.
    scorer(pairs.take(np.arange(min(len(pairs), 200))))
    before, peak, stop = _anonymous(), [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, stop), daemon=True)
    watcher.start()
    start = time.perf_counter()
    scores = scorer(pairs)
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    return {
        "seconds": seconds,
        "own_bytes": max(peak[0] - before, 1),
        "peak_bytes": _status("VmHWM"),
        "auroc": float(roc_auc_score(np.load(folder / "clean.npy"), scores)),
    }


def titles(size: int) -> list[str]:
    """Return titles of one to six words, common ones often, a few of them under many media."""
    rng = np.random.default_rng(1)
    words = [f"word{i}" for i in range(50_000)]
    made = []
    for length, share in zip(rng.integers(1, 7, size), rng.random(size), strict=True):
        if share < 0.02:
            made.append("untitled")
        else:
            made.append(" ".join(words[int(50_000 * r**4)] for r in rng.random(length)))
    return made


def growth(of_size: dict[int, dict[str, float]], what: str) -> float:
    """Return b of the least-squares fit cost = a * pairs ** b."""
    sizes = sorted(of_size)
    return float(np.polyfit(np.log(sizes), np.log([of_size[size][what] for size in sizes]), 1)[0])


def _watch(peak: list[int], stop: threading.Event) -> None:
    while True:
        peak[0] = max(peak[0], _anonymous())
        if stop.wait(0.02):
            return


def _anonymous() -> int:
    return _status("RssAnon")


def _status(field: str) -> int:
    """Return a figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}; this benchmark needs Linux")


if __name__ == "__main__":
    main()
