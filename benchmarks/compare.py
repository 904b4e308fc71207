"""Xmodal beside what one might use instead, in turn: `python -m benchmarks.compare --images DIR` (`make compare`).

Three jobs. *curate*: read, SHA-256, decode, 64-bit difference hash, drop what is small or long, one row a hash, write.
*embed*: the same seeded network everywhere, 384 numbers a picture, written. *search*: ten nearest of --vectors vectors,
without and with a condition. Each system runs in a process of its own, in turn (A B A B), each rival in an environment of
its own under the cache folder (`rivals/NAME`), made on first use; what cannot be installed is left out, with the reason.
The rivals' scripts are those of --peers, and run the same code per picture; without that folder only the plain two-process
loop of this repository is compared with. Pictures beyond Xmodal's pixel limit and transparent ones make the two sides'
results differ, so `plain, same job` refuses and hashes as Xmodal does, and what both found of each file must be equal.
Started alone, a flow brings up a Prefect server for itself; *server running* is the same with one that runs anyway (`xmodal up`).
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.compare_side import ENCODER
from benchmarks.ingest import copied, recipe
from benchmarks.measure import Cost, machine, run, table
from schemas.settings import DecodeLimits, Settings

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT.parent / "shared" / "bench"
JOBS = ("curate", "embed", "search")
# System: its script, the packages of its environment, and the module that must import.
RIVALS = {
    "daft": ("bench_daft.py", ("daft", "daft-lance", "pylance"), "daft"),
    "datachain": ("bench_datachain.py", ("datachain",), "datachain"),
    "pixeltable": ("bench_pixeltable.py", ("pixeltable", "pgvector"), "pixeltable"),
    "datajuicer": ("bench_datajuicer.py", ("py-data-juicer", "aiohttp"), "data_juicer"),
}
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
}


@dataclass
class Side:
    """One system at one job, and what its runs cost.

    Args:
        name: For the table.
        run: Runs it once in a folder of its own.
        of_output: What it said of itself.
    """

    name: str
    run: Callable[[Path], Cost]
    of_output: Callable[[str], dict[str, Any]]
    costs: list[Cost] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    left_bytes: list[int] = field(default_factory=list)
    failed: str = ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of PNGs; links are copied as files"
    )
    parser.add_argument("--limit", type=int, default=0, help="use only so many images, evenly spread")
    parser.add_argument("--embed", type=int, default=2000, help="images of the embed job")
    parser.add_argument("--vectors", type=int, default=100_000, help="of the search job")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--systems", nargs="*", default=list(RIVALS), help=f"of {', '.join(RIVALS)}")
    parser.add_argument("--peers", type=Path, default=PEERS)
    parser.add_argument("--work", type=Path, help="where runs go; a temporary folder by default")
    args = parser.parse_args()
    print(machine() + "\n", flush=True)
    peers = args.peers.resolve() if (args.peers / "common.py").exists() else None
    if peers is None:
        print(f"{args.peers} is not there: only the plain loop of this repository is compared with\n")
    pythons = _environments(args.systems, "embed" in args.jobs) if peers else {}
    with (
        tempfile.TemporaryDirectory(prefix="xmodal-compare-", dir=args.work) as scratch,
        _server(Path(scratch) / "server") as server,
    ):
        work = Path(scratch)
        for job in args.jobs:
            if job == "search":
                images, count = work, args.vectors
            else:
                images, count = _images(args, work, job)
            print(f"## {job}: {count:,} {'vectors' if job == 'search' else 'pictures'}\n", flush=True)
            sides = [
                *_own(job, images, work, peers, count, server),
                *_rivals(job, images, peers, pythons, count),
            ]
            if not sides:
                print(f"left out: without {args.peers} there is nobody to compare with\n", flush=True)
                continue
            for round_ in range(args.rounds):
                for number, side in enumerate(sides):
                    _turn(side, work / f"{job}-{round_}-{number}")
            print(_table(sides, job, count) + "\n\n" + _verdict(sides, job) + "\n", flush=True)


def _images(args: argparse.Namespace, work: Path, job: str) -> tuple[Path, int]:
    """Copy the pictures of a job, evenly spread over the folder, and return where they are and how many."""
    wanted = min(args.embed, args.limit or args.embed) if job == "embed" else args.limit
    every = sorted(args.images.rglob("*.png"))
    if not wanted or wanted >= len(every):
        folder = copied(args.images, work / f"images-{job}", 0)
        return folder, len(every)
    folder = work / f"images-{job}"
    for place in np.linspace(0, len(every) - 1, wanted).astype(int).tolist():
        copy = folder / every[place].relative_to(args.images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(every[place], copy)
    return folder, sum(1 for _ in folder.rglob("*.png"))


def _environments(names: list[str], torch: bool) -> dict[str, Path]:
    """Return {rival: its Python}; those that cannot be installed are told and left out."""
    found = {}
    same = [f"pillow=={version('pillow')}", "psutil", f"numpy=={version('numpy')}"]
    same += [f"torch=={version('torch').split('+')[0]}"] if torch else []
    for name in names:
        _, packages, module = RIVALS[name]
        folder = Settings().cache / "rivals" / name
        python = folder / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        check = f"import {module}" + ("; import torch" if torch else "")
        if subprocess.run([str(python), "-c", check], capture_output=True).returncode:
            installed = subprocess.run(
                [str(python), "-m", "pip", "install", "-q", *same, *packages], capture_output=True, text=True
            )
            tried = subprocess.run([str(python), "-c", check], capture_output=True, text=True)
            if tried.returncode:
                why = (installed.stderr if installed.returncode else tried.stderr).strip().splitlines()[-1:]
                print(f"{name} is left out: {''.join(why)[:300]}")
                continue
        found[name] = python
    return found


@contextmanager
def _server(home: Path) -> Iterator[str]:
    """Run a Prefect server and offer the address of its API."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home.mkdir()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    env = {**os.environ, **QUIET, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/api"
    try:
        for _ in range(1200):
            try:
                if httpx.get(f"{address}/health", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def _own(job: str, images: Path, work: Path, peers: Path | None, count: int, server: str) -> list[Side]:
    """Return Xmodal and the plain loops."""
    wanted = recipe(images, thumbnail_px=320 if job == "embed" else 0)
    env = {**QUIET, "PREFECT_HOME": os.environ.get("PREFECT_HOME", str(work / "prefect"))}
    if job == "embed":
        wanted |= {"encoder": {"name": ENCODER}, "near_duplicates": None, "filters": [], "quality": None}
        env |= {
            "XMODAL_BENCH_PEERS": str(peers),
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "benchmarks.peers_encoder",
        }
    path = work / f"{job}.json"
    path.write_text(json.dumps(wanted))
    side = [sys.executable, "-m", "benchmarks.compare_side", job, str(images)]
    further = ["--recipe", str(path), "--rows", str(count), *(["--peers", str(peers)] if peers else [])]

    def ours(out: Path) -> Cost:
        return run([*side, str(out), *further], env=env, cwd=ROOT)

    def with_server(out: Path) -> Cost:
        return run([*side, str(out), *further], env=env | {"PREFECT_API_URL": server}, cwd=ROOT)

    found = [Side("Xmodal", ours, _json)] if job != "embed" or peers else []
    if found and job != "search":
        found.append(Side("Xmodal, server running", with_server, _json))
    if job == "curate":
        loop = [sys.executable, "-m", "benchmarks.plain", str(images)]
        same = ["--max-pixels", str(DecodeLimits().max_pixels), "--white"]
        found.append(Side("plain, same job", lambda out: run([*loop, str(out), *same], cwd=ROOT), _json))
        found.append(Side("plain", lambda out: run([*loop, str(out)], cwd=ROOT), _json))
    if peers and job == "embed":
        found.append(
            Side("plain", _peer(sys.executable, peers / "bench_plain.py", job, images, count), _result)
        )
    return found


def _rivals(job: str, images: Path, peers: Path | None, pythons: dict[str, Path], count: int) -> list[Side]:
    found = []
    for name, python in pythons.items():
        if peers and not (job == "search" and name == "datajuicer"):  # it does not search
            script = peers / RIVALS[name][0]
            found.append(Side(name, _peer(str(python), script, job, images, count), _result))
    return found


def _peer(python: str, script: Path, job: str, images: Path, count: int) -> Callable[[Path], Cost]:
    def asked(out: Path) -> Cost:
        command = [
            python,
            str(script),
            str(images),
            str(out),
            "--job",
            job,
            "--mode",
            "udf",
            "--workers",
            "2",
        ]
        command += (
            ["--limit", str(count)] if job == "embed" else ["--n", str(count)] if job == "search" else []
        )
        env = {**QUIET, "BENCH_SEARCH_DATA": "latent32", "DJ_SKIP": "false"}
        return run(command, env=env, cwd=script.parent, detached=str(out))

    return asked


def _turn(side: Side, out: Path) -> None:
    if side.failed:
        return
    out.mkdir(parents=True)
    try:
        cost = side.run(out)
        side.said.append(side.of_output(cost.output + cost.errors if side.name in RIVALS else cost.output))
        side.costs.append(cost)
        side.left_bytes.append(
            sum(p.stat().st_size for p in out.rglob("*") if p.is_file() and not p.is_symlink())
        )
    except Exception as error:  # a rival that fails is a line of the table, not the end of the run
        side.failed = str(error).strip().splitlines()[-1][:200] if str(error) else type(error).__name__
        print(f"{side.name} failed: {str(error)[-3000:]}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _json(output: str) -> dict[str, Any]:
    return dict(json.loads(output.strip().splitlines()[-1]))


def _result(output: str) -> dict[str, Any]:
    """Read the lines that the peers' scripts print: RESULT name=value ..."""
    lines = [line[line.index("RESULT ") :] for line in output.splitlines() if "RESULT job=" in line]
    if not lines:
        raise RuntimeError(f"it printed no result, but: {output[-1000:]}")
    found = dict(part.split("=", 1) for part in lines[0].split()[1:] if "=" in part)
    return found | {"said": "\n".join(lines)}


def _table(sides: list[Side], job: str, count: int) -> str:
    rows: list[list[object]] = []
    for side in sides:
        for cost, said, left in zip(side.costs, side.said, side.left_bytes, strict=True):
            rows.append([
                side.name, f"{cost.wall_s:.1f}", f"{float(said.get('job_s', said.get('wall_s', cost.wall_s))):.1f}",
                f"{cost.cpu_s:.1f}", f"{cost.cpu_s * 1000 / count:.2f}", f"{cost.peak_bytes / 1e6:.0f}",
                f"{left / 1e6:.1f}", f"{cost.written_bytes / 1e6:.0f}",
                said.get("kept", said.get("n_kept", said.get("n_out", ""))), said.get("digest", said.get("checksum", "")),
            ])  # fmt: skip
        if side.failed:
            rows.append([side.name, f"failed: {side.failed}", *[""] * 8])
    unit = "CPU ms an item" if job != "search" else "CPU ms a vector"
    columns = [
        "", "process s", "job s", "CPU s", unit, "peak MB (PSS)", "left MB", "written MB", "kept", "digest",
    ]  # fmt: skip
    return table(columns, rows)


def _verdict(sides: list[Side], job: str) -> str:
    """Return what has a target, and whether results agree."""
    by_name = {side.name: side for side in sides if side.costs}
    if job == "search":
        return "\n\n".join(f"{side.name}:\n\n{side.said[-1].get('said', '')}" for side in by_name.values())
    lines = []
    ours = by_name.get("Xmodal")
    if job == "curate" and ours and "plain, same job" in by_name:
        plain = by_name["plain, same job"]
        equal = {said["digest"] for said in ours.said} == {said["digest"] for said in plain.said}
        lines.append(f"each file's size and hash as in the plain loop: {'equal' if equal else 'DIFFERENT'}")
    peers = {
        side.name: side.said[0].get("digest") or side.said[0].get("checksum") for side in sides if side.said
    }
    others = {
        name: said for name, said in peers.items() if name in RIVALS or (job == "embed" and name == "plain")
    }
    if others:
        agree = "equal" if len(set(others.values())) == 1 else f"not equal: {others}"
        lines.append(f"results of the rivals with each other: {agree}")
    for mine in (side for name, side in by_name.items() if name.startswith("Xmodal")):
        for name, side in by_name.items():
            if not name.startswith("Xmodal"):
                cpu = [a.cpu_s / b.cpu_s for a, b in zip(mine.costs, side.costs, strict=False)]
                wall = [a.wall_s / b.wall_s for a, b in zip(mine.costs, side.costs, strict=False)]
                said = [", ".join(f"{ratio:.2f}" for ratio in ratios) for ratios in (cpu, wall)]
                lines.append(f"{mine.name} / {name}: CPU {said[0]}; wall {said[1]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
