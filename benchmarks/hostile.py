"""Take in a corpus of hostile files by the real `ingest`, and count what came of each: `python -m benchmarks.hostile`.

The flow runs in a process of its own whose home, temporary files and lake lie in a scratch folder. Afterwards it is
checked, in numbers, that every file became a row or was quarantined with a reason, that none took longer than the limit,
that nothing outside the lake and the places that programs keep their own files in was touched, that no secret was read
and no connection attempted. Where `strace` is installed every call that opens a file to write or a connection is looked
at too; without it, files are compared before and after and connections are counted by the server they would reach.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.hostile_attacks import Traps
from benchmarks.make_hostile import Planted, plant, plant_archives
from benchmarks.measure import machine, table
from schemas.errors import BadInput
from schemas.recipes import CurationRecipe, InspectRecipe
from schemas.settings import DecodeLimits
from storage import lake as lakes
from tasks.media.decoder import Decoder, LocalBytes

TOKEN = "xmodal-canary-5e0d2b"  # the secret's content; wherever it turns up, the secret was read
GRACE_S = 15.0  # beside the limit: for starting another decoder on a busy machine
_CALLS = "connect,sendto,bind,openat,open,creat,openat2,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,"
_CALLS += "linkat,symlink,symlinkat,mknod,mknodat,truncate,chmod,fchmodat,chown,execve"


@dataclass
class Outcome:
    """What came of a corpus.

    Args:
        planted: Files written.
        found: (kind, "row" or the reason of a quarantine) and how many.
        unanswered: Files that are neither a row nor quarantined.
        unreasoned: Quarantine rows without reason or message.
        slowest_s: Longest that one file took by itself.
        limit_s: The limit in force.
        died: Files that a decoder process died of, by locator; it was replaced.
        touched: Files outside the lake that were changed, made or removed.
        reached: Requests that arrived at the trap.
        secrets: Places where the secret's content turned up.
        called: Calls that `strace` saw to write elsewhere or to connect beyond loopback; None without it.
    """

    planted: int
    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    unreasoned: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    limit_s: float = 0.0
    died: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    reached: int = 0
    secrets: list[str] = field(default_factory=list)
    called: list[str] | None = None

    @property
    def problems(self) -> list[str]:
        """What must not be, in words; empty when all is well."""
        found = [f"no outcome: {name}" for name in self.unanswered]
        found += [f"no reason: {name}" for name in self.unreasoned]
        found += [f"touched: {path}" for path in self.touched]
        found += [f"secret in {place}" for place in self.secrets]
        found += [f"call: {call}" for call in self.called or ()]
        if self.reached:
            found.append(f"{self.reached} requests arrived at the trap")
        if self.slowest_s > self.limit_s + GRACE_S:
            found.append(f"a file took {self.slowest_s:.1f} s; the limit is {self.limit_s:g}")
        return found

    def tables(self) -> str:
        """Return the outcome as two Markdown tables: by kind, and what must be none."""
        kinds = sorted({kind for kind, _ in self.found})
        rows: list[list[object]] = []
        for kind in kinds:
            reasons = Counter({what: n for (of, what), n in self.found.items() if of == kind})
            taken = reasons.pop("row", 0)
            said = ", ".join(f"{what} {n}" for what, n in reasons.most_common())
            rows.append([kind, taken + reasons.total(), taken, reasons.total(), said])
        total = sum(self.found.values())
        taken = sum(n for (_, what), n in self.found.items() if what == "row")
        rows.append(["**all**", total, taken, total - taken, ""])
        traced = "not traced" if self.called is None else len(self.called)
        checks: list[list[object]] = [
            ["files without an outcome", len(self.unanswered)],
            ["quarantined without a reason", len(self.unreasoned)],
            [f"slowest file, s (limit {self.limit_s:g})", f"{self.slowest_s:.1f}"],
            ["files that a decoder process died of, and was replaced", len(self.died)],
            ["files touched outside the lake", len(self.touched)],
            ["requests at the trap", self.reached],
            ["places where the secret turned up", len(self.secrets)],
            ["calls to write elsewhere or to connect beyond loopback", traced],
        ]
        return (
            table(["kind", "files", "rows", "quarantined", "reasons"], rows)
            + "\n\n"
            + table(["check", "found"], checks)
        )


class Trap:
    """A port that counts who comes, and shuts the door."""

    def __init__(self) -> None:
        self.count = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                came, _ = self._socket.accept()
            except OSError:
                return
            self.count += 1
            came.close()

    def close(self) -> None:
        """Stop counting."""
        self._socket.close()


@contextmanager
def trap() -> Iterator[Trap]:
    """Open a trap, and close it."""
    opened = Trap()
    try:
        yield opened
    finally:
        opened.close()


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return mode, size and time of modification of everything below a folder; links are not followed."""
    found = {}
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(here, name)
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_size if name in files else 0, status.st_mtime_ns)
    return found


@dataclass(frozen=True)
class Scene:
    """A corpus with its traps in a scratch folder.

    Args:
        root: The scratch folder; the lake is beside the corpus.
        files: Media, by what was planted where.
        archives: Tars likewise.
        urls: Lines of the list of URLs.
    """

    root: Path
    files: list[Planted]
    archives: list[Planted]
    urls: int

    @property
    def lake(self) -> str:
        """Where the lake goes."""
        return str(self.root / "lake")

    def recipe(self) -> CurationRecipe:
        """Return what takes the corpus in."""
        return CurationRecipe.model_validate(
            {
                "name": "hostile",
                "sources": [
                    {"name": "media", "kind": "folder", "location": str(self.root / "corpus" / "media")},
                    {"name": "tars", "kind": "webdataset", "location": str(self.root / "corpus" / "tars")},
                    {"name": "urls", "kind": "urls", "location": str(self.root / "corpus" / "urls.txt")},
                ],
                "shard_rows": 256,
            }
        )


def build(root: Path, traps: Traps, *, files: int, seed: int) -> Scene:
    """Write a corpus, a secret beside it and a list of URLs that lead inside."""
    traps.secret.write_text(TOKEN)
    port = traps.url.rpartition(":")[2]
    hosts = (
        "127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0", "[::]",
        "127.0.0.1", "LOCALHOST", "①②⑦.0.0.1", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "a@127.0.0.1", "017700000001",
    )  # fmt: skip
    lines = [f"http://{host}:{port}/{n}.png" for n, host in enumerate(hosts)]
    lines += [
        "http://169.254.169.254/latest/meta-data",
        f"file://{traps.secret}",
        f"gopher://127.0.0.1:{port}/_x",
        "http://[/",
        "x" * 9000,
    ]
    scene = Scene(
        root,
        plant(root / "corpus" / "media", traps, files=files, seed=seed),
        plant_archives(root / "corpus" / "tars", traps, seed=seed),
        len(lines),
    )
    (root / "corpus" / "urls.txt").write_text("\n".join(lines) + "\n")
    return scene


def judged(scene: Scene, outcome: Outcome) -> None:
    """Read the lake and fill in what came of each file."""
    lake = lakes.open(scene.lake)
    rows = lake.read("sources").to_pylist()
    refused = lake.read("quarantine").to_pylist()
    of: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        of.setdefault((row["source"], row["locator"]), []).append(
            "row" if row["status"] == "ok" else row["reason"]
        )
    outcome.unreasoned = [
        row["locator"] for row in refused if not (row["reason"] and row["message"] and row["error_class"])
    ]
    told = {(row["source"], row["locator"]) for row in refused}
    outcome.unreasoned += [place[1] for place, what in of.items() if what != ["row"] and place not in told]
    for one in scene.files:
        what = of.get(("media", _shown(one.path)))
        if what is None:
            outcome.unanswered.append(one.path)
        else:
            outcome.found[one.kind, what[0]] += 1
    for one in scene.archives:
        items = [
            (locator, what[0])
            for (source, locator), what in of.items()
            if source == "tars" and locator.split("!")[0] == one.path
        ]
        outcome.found.update(("members of archives", what) for _, what in items)
        if not items and one.path not in EMPTY:
            outcome.unanswered.append(one.path)
    web = [what[0] for (source, _), what in of.items() if source == "urls"]
    outcome.found.update(("addresses inside", what) for what in web)
    outcome.unanswered += ["a URL"] * (scene.urls - len(web))
    outcome.died = [row["locator"] for row in refused if row["error_class"] == "DecoderDied"]
    for name in lake.tables():
        if TOKEN in repr([row for row in lake.read(name).to_pylist()]):
            outcome.secrets.append(f"table {name}")


EMPTY = ("zeros.tar", "bomb.tar.gz")  # an end mark and nothing before it: no member, no item


def timed(scene: Scene, limits: DecodeLimits) -> float:
    """Return the longest that a decoder takes for one file by itself, in seconds."""
    longest = 0.0
    with Decoder(InspectRecipe(), limits) as decoder:
        for one in scene.files:
            path = str(scene.root / "corpus" / "media" / one.path)
            if os.path.islink(path):
                continue
            began = time.monotonic()
            with suppress(BadInput):
                decoder.inspect(LocalBytes(path), name=path)
            longest = max(longest, time.monotonic() - began)
    return longest


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


_HERE = r'"127\.|"::1"|"0\.0\.0\.0"|"::"|htons\(53\)'


def traced(log: Path, allowed: list[str]) -> list[str]:
    """Return calls in a log of `strace` that write outside the allowed folders or connect beyond this machine.

    A resolver's port is let pass: whoever looks at addresses must ask for them. So is Python's own bytecode.
    """
    inside = (*allowed, "/dev/null", "/dev/shm", "/proc/self", "/dev/tty")
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"\d+ +(\w+)\((.*)", line)
        if match is None:
            continue
        call, said = match.groups()
        if call in ("connect", "sendto", "bind"):
            beyond = re.search(r"AF_INET6?,", said) and not re.search(_HERE, said)
        elif re.search(r"\) += -1 ", said) or call == "execve":
            continue
        else:
            writes = call not in ("open", "openat") or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", said)
            paths = [path for path in re.findall(r'"((?:[^"\\]|\\.)*)"', said) if path.startswith("/")]
            beyond = writes and any(
                not path.startswith(inside) and "/__pycache__/" not in path for path in paths
            )
        if beyond:
            found.append(line[:200])
    return found


def measured(root: Path, *, files: int, seed: int, timeout_s: float, trace: bool) -> Outcome:
    """Build a corpus below an empty folder, take it in by a process of its own, and judge."""
    with trap() as door:
        scene = build(root, Traps(root / "secret.txt", door.url), files=files, seed=seed)
        for name in ("home", "tmp", "cache", "prefect"):
            (root / name).mkdir()
        (root / "home" / "canary").write_text("nobody writes here")
        own = {
            "HOME": "home", "TMPDIR": "tmp", "XMODAL_CACHE": "cache", "PREFECT_HOME": "prefect",
        }  # fmt: skip
        environment = os.environ | {name: str(root / folder) for name, folder in own.items()} | {
            "XMODAL_WORKERS": "0", "XMODAL_DECODE_TIMEOUT_S": f"{timeout_s:g}", "XMODAL_FETCH_RETRIES": "0",
            "XMODAL_FETCH_TIMEOUT_S": "5", "PYTHONDONTWRITEBYTECODE": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        }  # fmt: skip
        (root / "recipe.json").write_text(scene.recipe().model_dump_json())
        before = state(root / "corpus") | state(root / "home")
        secret = (root / "secret.txt").stat().st_mtime_ns
        command = [
            sys.executable,
            "-m",
            "benchmarks.hostile",
            "--take-in",
            str(root / "recipe.json"),
            "--lake",
            scene.lake,
        ]
        log = root / "strace.log"
        if trace:
            command = [
                "strace",
                "-f",
                "--seccomp-bpf",
                "-qq",
                "-s",
                "300",
                "-e",
                f"trace={_CALLS}",
                "-o",
                str(log),
                *command,
            ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        outcome = Outcome(len(scene.files) + len(scene.archives) + scene.urls, limit_s=timeout_s)
        after = state(root / "corpus") | state(root / "home")
        outcome.touched = sorted(
            path
            for path in before.keys() | after.keys()
            if before.get(path) != after.get(path) and "/home/." not in path
        )
        outcome.touched += [] if (root / "secret.txt").stat().st_mtime_ns == secret else ["secret.txt"]
        outcome.touched += [
            path for path in ("/tmp/xmodal-climbed.png", str(root / "climbed.png")) if os.path.exists(path)
        ]
        if done.returncode:
            raise RuntimeError(f"ingest ended with {done.returncode}:\n{done.stderr[-3000:]}")
        judged(scene, outcome)
        outcome.slowest_s = timed(scene, DecodeLimits(timeout_s=timeout_s))
        if trace:
            own = [scene.lake, *(str(root / name) for name in ("home/.", "tmp", "cache", "prefect"))]
            outcome.called = traced(log, own)
        outcome.reached = door.count
        return outcome


def main() -> None:
    """Run the whole thing and print the tables; exit 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000, help="media in the corpus")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout-s", type=float, default=10.0, help="limit on decoding one file")
    parser.add_argument("--scratch", type=Path, help="folder to work in, kept; default: one that is removed")
    parser.add_argument("--json", type=Path, help="write the counts here too")
    parser.add_argument("--take-in", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--lake", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.take_in:
        from flows.ingest import ingest_sources

        ingest_sources(CurationRecipe.model_validate_json(asked.take_in.read_text()), lake=asked.lake)
        return
    print(machine())
    with tempfile.TemporaryDirectory(prefix="xmodal-hostile-") as folder:
        root = (asked.scratch or Path(folder)).resolve()
        root.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        outcome = measured(
            root,
            files=asked.files,
            seed=asked.seed,
            timeout_s=asked.timeout_s,
            trace=shutil.which("strace") is not None,
        )
    print(
        f"{outcome.planted} files, archives and addresses in {time.monotonic() - began:.0f} s\n\n{outcome.tables()}\n"
    )
    if asked.json:
        asked.json.write_text(
            json.dumps(
                {"found": [[*key, n] for key, n in outcome.found.items()], "problems": outcome.problems},
                indent=1,
            )
        )
    for problem in outcome.problems[:40]:
        print(problem)
    for name in outcome.died[:20]:
        print(f"died of: {name}")
    sys.exit(bool(outcome.problems))


if __name__ == "__main__":
    main()
