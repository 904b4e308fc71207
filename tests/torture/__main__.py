"""Break things and see what holds: `python -m tests.torture --runs 100 --seed 0`.

Prints a row a fault, and writes them with `--out`. Every run has a seed; the same seed kills the same process at the same point.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.torture.faults import ALL, Faults, Found
from tests.torture.kills import VICTIMS, Killer, Outcome
from tests.torture.world import World


def main() -> int:
    """Run what was asked for; exit code 1 if anything did not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="seeded kills; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--victim", choices=sorted(set(VICTIMS)), help="kill only this")
    parser.add_argument("--out", type=Path, help="append each outcome here, a JSON object a line")
    parser.add_argument(
        "--faults", nargs="*", choices=sorted(ALL), help="everything but kills; only these, if any is named"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further run after this long")
    parser.add_argument("--keep", action="store_true", help="leave the working folder")
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="xmodal-torture-"))
    world = World(root)
    killer = Killer(world)
    faults = Faults(world)
    outcomes: list[Outcome] = []
    found: list[Found] = []
    try:
        for one in faults.run(set(args.faults or ())) if args.faults is not None else ():
            found.append(one)
            print(
                f"{one.fault:15s} {one.variant:28s} {one.fell} | {one.lost or one.then}  {one.wall_s:.0f} s",
                flush=True,
            )
            _append(args.out, one)
        end = time.monotonic() + args.minutes * 60
        for seed in range(args.seed, args.seed + args.runs):
            if time.monotonic() > end:
                break
            outcome = killer.run(seed, args.victim)
            outcomes.append(outcome)
            print(f"{seed:4d} {outcome.victim:20s} {outcome.point:50.50s} {outcome.fell:12.40s} sees {outcome.seen:8s} "
                  f"{outcome.wall_s:5.0f} s  {outcome.lost or 'holds'}", flush=True)  # fmt: skip
            _append(args.out, outcome)
    finally:
        killer.stop()
        faults.stop()
        world.stop()
        if not args.keep:
            shutil.rmtree(root, ignore_errors=True)
    held = Counter(o.victim for o in outcomes if not o.lost)
    for victim, runs in Counter(o.victim for o in outcomes).items():
        print(f"{victim}: {held[victim]} of {runs}")
    return 1 if any(o.lost for o in (*outcomes, *found)) else 0


def _append(path: Path | None, outcome: Outcome | Found) -> None:
    if path is not None:
        with path.open("a") as out:
            out.write(json.dumps(asdict(outcome)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
