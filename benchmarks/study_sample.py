"""What a study loses where mismatches are planted in a sample: `python -m benchmarks.study_sample [--lake DIR]`.

Corpora with a known share of swapped texts are studied with mismatches planted among all pairs, and among fewer and fewer.
Made-up ones have vectors around shared centres; with --lake, also the clip art that `benchmarks.natural_noise` took in there,
whose titles are partly wrong before any is swapped. A row a size of the sample, and the difference from all pairs, paired by
corpus: AUROC of swapped texts, the estimated share of noise, P(true), the class (noisy up to 0.2, clean from 0.5), CPU.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.measure import machine, table
from schemas.batch import PairBatch
from tasks.dividers.classes import classes
from tasks.injectors import INJECTORS
from tasks.noise.consensus import Consensus

SHARES = (1, 2, 4, 8, 16)
RATES = (0.1, 0.2, 0.4)


@dataclass(frozen=True)
class _Found:
    auroc: float
    noise: float
    clean: NDArray[np.float32]
    kind: NDArray[np.int8]
    cpu_s: float


def main() -> None:
    """Measure and print a table a corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=20_000, help="of a made-up corpus; 0: none")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--shares", type=int, nargs="+", default=SHARES, help="one pair in so many is in the sample"
    )
    parser.add_argument("--lake", help="what `benchmarks.natural_noise --lake` left")
    args = parser.parse_args()
    print(machine() + "\n", flush=True)
    if args.pairs:
        print(
            f"{args.pairs:,} made-up pairs\n\n{measured(made(args.pairs, args.seeds), args.shares)}\n",
            flush=True,
        )
    if args.lake:
        from benchmarks.natural_noise import titled
        from storage import lake as lakes

        pairs, _ = titled(lakes.open(args.lake))
        print(f"{len(pairs):,} pairs of clip art\n\n{measured(_swapped(pairs, args.seeds), args.shares)}")


def made(count: int, seeds: int, dim: int = 64) -> Iterator[tuple[PairBatch, NDArray[np.bool_]]]:
    """Yield pairs whose sides are turned and blurred views of shared points around 400 centres, and which are right."""
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        points = rng.normal(size=(400, dim))[rng.integers(0, 400, count)] + rng.normal(size=(count, dim))
        sides = [
            points @ rng.normal(size=(dim, dim)) / np.sqrt(dim) + 2 * rng.normal(size=(count, dim))
            for _ in range(2)
        ]
        media, text = (
            np.asarray(side / np.linalg.norm(side, axis=1, keepdims=True), np.float32) for side in sides
        )
        yield from _swapped(PairBatch(media, text, common=False), 1, seed=seed)


def _swapped(pairs: PairBatch, seeds: int, seed: int = 0) -> Iterator[tuple[PairBatch, NDArray[np.bool_]]]:
    for rate in RATES:
        for number in range(seed, seed + seeds):
            found = INJECTORS["pair"]()(pairs, rate=rate, seed=1000 + number)
            yield found.pairs, found.true


def measured(corpora: Iterator[tuple[PairBatch, NDArray[np.bool_]]], shares: Sequence[int] = SHARES) -> str:
    """Study each corpus with each sample and return the table; the first is what the others are compared with."""
    found = [[_study(pairs, true, share) for share in shares] for pairs, true in corpora]
    rows = []
    for column, share in enumerate(shares):
        of, whole = [each[column] for each in found], [each[0] for each in found]
        rows.append([
            "all" if share == 1 else f"one in {share}",
            f"{np.mean([one.auroc for one in of]):.4f}",
            _spread([one.auroc - all_.auroc for one, all_ in zip(of, whole, strict=True)], 4),
            _spread([one.noise - all_.noise for one, all_ in zip(of, whole, strict=True)], 4),
            _spread([float(np.abs(one.clean - all_.clean).mean()) for one, all_ in zip(of, whole, strict=True)], 4),
            _spread([100 * float((one.kind != all_.kind).mean()) for one, all_ in zip(of, whole, strict=True)], 2),
            f"{np.mean([one.cpu_s / all_.cpu_s for one, all_ in zip(of, whole, strict=True)]):.2f}",
        ])  # fmt: skip
    heads = [
        "mismatches planted among", "AUROC", "AUROC, difference", "share of noise, difference", "P(true), mean distance",
        "other class, %", "CPU, ratio",
    ]  # fmt: skip
    return table(heads, rows)


def _study(pairs: PairBatch, true: NDArray[np.bool_], share: int) -> _Found:
    scorer = replace(Consensus(), among=max(40, len(pairs) // share))
    used = time.process_time()
    study = scorer.study(pairs)
    cpu_s = time.process_time() - used
    division = scorer.divide(study, pairs)
    noise = division.noise_rate if division.noise_rate is not None else np.nan
    kind = classes(division, noisy_below=0.2, clean_above=0.5)
    return _Found(float(roc_auc_score(true, study.scores)), noise, division.clean, kind, cpu_s)


def _spread(values: list[float], digits: int) -> str:
    """Return mean and standard deviation of the numbers; a study that divides nothing has no share of noise."""
    told = [value for value in values if not np.isnan(value)]
    return f"{np.mean(told):.{digits}f} ± {np.std(told, ddof=1):.{digits}f}" if len(told) > 1 else "-"


if __name__ == "__main__":
    main()
