"""What every fault happens to: a folder that has changed, a lake that knows it as it was, and what it should become."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from flows.services import is_free
from schemas.recipes import CurationRecipe
from storage import lake as lakes
from tests.flows.conftest import content
from tests.flows.test_kill import RECIPE, change, fill
from tests.torture.nest import Nest, Started

MARK = "XMODAL_TORTURE"  # in the environment of everything that a fault started
STARTS = (
    "earlier",
    "empty",
)  # what the lake holds before the run that suffers: the folder as it was, or nothing
MEDIA = ("reference", "store")


class Lost(AssertionError):
    """Something that must hold after a fault does not."""


def until(happened: Callable[[], object], timeout_s: float = 240, every_s: float = 0.02) -> None:
    """Wait for something.

    Raises:
        Lost: It did not happen in time.
    """
    end = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > end:
            raise Lost(f"waited {timeout_s:.0f} s in vain")
        time.sleep(every_s)


@dataclass
class PrefectServer:
    """A Prefect server that can be killed and started again with the same database.

    Args:
        folder: Its database and log.
    """

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its API answers."""
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> "PrefectServer":
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        until(lambda: is_free("127.0.0.1", self.port), 60)
        command = [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        with (self.folder / "server.log").open("ab") as out:
            self.process = subprocess.Popen(
                command,
                env=env | {"PREFECT_HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        until(self._answers, 300, 0.2)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise Lost(f"the Prefect server has died: {(self.folder / 'server.log').read_text()[-1000:]}")
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        return False

    def kill(self) -> None:
        """Kill it and all it started."""
        if self.process is not None:
            kill_tree(self.process.pid)
            self.process.wait(30)
            self.process = None


def free_port() -> int:
    """Return a port nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill_tree(pid: int) -> None:
    """Kill a process and everything it started."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [*root.children(recursive=True), root]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


@dataclass
class Case:
    """One fault's own lake, temporary folder and environment.

    Args:
        world: Where it happens.
        name: Of the case.
        start: What the lake holds before: one of `STARTS`.
        media: Whether media are copied: one of `MEDIA`.
    """

    world: "World"
    name: str
    start: str
    media: str = "reference"
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the lake and the temporary folder."""
        self.folder = self.world.root / "cases" / self.name
        self.lake = self.folder / "lake"
        self.scratch = self.folder / "tmp"
        self.scratch.mkdir(parents=True)
        if self.start == "earlier":
            shutil.copytree(self.world.base[self.media], self.lake)
        self.env = {
            "TMPDIR": str(self.scratch),
            "XMODAL_MEDIA": self.media,
            "XMODAL_WORKERS": "0",
            "XMODAL_CACHE": str(self.folder / "cache"),
            "PREFECT_API_URL": self.world.api,
            MARK: self.name,
        } | self.env

    @property
    def uri(self) -> str:
        """The lake's address."""
        return str(self.lake)

    def run(self, kill: tuple[int | None, int | None] | None = None, **env: str) -> Started:
        """Start the curation; `kill` is the number of the event to kill at, and whom (None: itself)."""
        noted = (str(self.folder / "events"), *(kill or (None, None)))
        return self.world.nest.start(
            "run", env=self.env | env, kill=noted, recipe=str(self.world.recipe_file), lake=self.uri
        )

    # What must hold

    def check_readers(self) -> str:
        """See that what readers see is one whole snapshot, and return which: "before", "after", or "nothing" at all.

        Raises:
            Lost: It is neither.
        """
        lake = lakes.open(self.uri)
        if self.start == "earlier" and content(self.uri, "s000001") != self.world.before:
            raise Lost("the earlier snapshot does not read as it was")
        if "latest" not in lake.tags():
            if self.start == "earlier":
                raise Lost("the tag is gone")
            return "nothing"
        seen = content(self.uri, "latest")
        if seen == self.world.after[self.start]:
            return "after"
        if self.start == "earlier" and seen == self.world.before:
            return "before"
        raise Lost("the tagged snapshot is neither what it was nor what it should become")

    def check_recovery(self, *, twice: bool = True, **env: str) -> None:
        """Run again in a new process, and again, and tidy up; then the lake must be as if nothing had happened.

        Args:
            twice: Whether to run a second time, which must find nothing to do.
            env: Environment beside the case's.

        Raises:
            Lost: It is not.
        """
        settled = self.world.nest.start(
            "settle", env=self.env | env, recipe=str(self.world.recipe_file), lake=self.uri, twice=twice
        )
        status = settled.wait()
        if status != 0:
            raise Lost(
                f"the run after the fault ended with {status}: {settled.result or settled.log.read_text()[-800:]}"
            )
        self.check_end(settled.result["digest"], settled.result["same"])

    def check_end(self, digest: str | None = None, same: bool = True) -> None:
        """Compare the lake with the reference, row by row, and look for what was left behind.

        Raises:
            Lost: They differ, or something was left.
        """
        lake = lakes.open(self.uri)
        head = lake.head()
        wanted = self.world.digest[self.start]
        if head is None or (digest or head.digest) != wanted or head.digest != wanted:
            raise Lost(f"the digest is {head and head.digest}, wanted {wanted}")
        if (
            content(self.uri) != self.world.after[self.start]
            or content(self.uri, "latest") != self.world.after[self.start]
        ):
            raise Lost("the tables differ from those of a run that nobody disturbed")
        if lake.tags() != {"latest": head.snapshot_id}:
            raise Lost(f"the tags are {lake.tags()}")
        if not same:
            raise Lost("a further run found something to do")
        once(lake)
        if left := [*left_in_lake(lake), *left_in_scratch(self.scratch), *left_running(self.name)]:
            raise Lost(f"left behind: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''} ({len(left)})")

    def remove(self) -> None:
        """Give back its disk."""
        shutil.rmtree(self.folder, ignore_errors=True)


def once(lake: lakes.Lake) -> None:
    """See that no key stands twice, in tables and logs.

    Raises:
        Lost: One does.
    """
    columns = {table: lakes.key_of(table) for table in lake.tables()}
    columns |= {"snapshots": "snapshot_id", "runs": "run_id", "tags": "move_id", "quality": "quality_id"}
    for table, key in columns.items():
        keys = lake.read(table, columns=[key])[key].to_pylist()
        if len(keys) != len(set(keys)):
            raise Lost(f"{len(keys) - len(set(keys))} rows of {table} stand twice")


def left_in_lake(lake: lakes.Lake) -> list[str]:
    """Return files of a lake that nothing names: found by walking, not by asking the lake."""
    root = Path(lake.uri)
    named = {f"{table}.lance" for snapshot in lake.snapshots() for table in snapshot.versions}
    named |= {f"{table}.lance" for table in ("runs", "snapshots", "tags", "quality", "metrics", "indexes")}
    found = [str(path.relative_to(root)) for path in root.rglob("*.part*")]
    found += [str(path.relative_to(root)) for path in (root / "_staging").rglob("*") if path.is_file()]
    for folder in root.glob("*.lance"):
        if folder.name not in named:
            found.append(folder.name)
            continue
        dataset = lake.latest(folder.stem)
        assert dataset is not None
        used = set()
        for entry in dataset.versions():
            for fragment in dataset.checkout_version(entry["version"]).get_fragments():
                used |= {file.path for file in fragment.metadata.files}
        found += [
            f"{folder.name}/data/{path.name}"
            for path in (folder / "data").rglob("*.lance")
            if path.name not in used
        ]
    media = {row["media_id"] for row in lake.read("media", columns=["media_id"]).to_pylist()}
    found += [
        str(path.relative_to(root))
        for path in (root / "media").rglob("*")
        if path.is_file() and path.name not in media
    ]
    return found


def left_in_scratch(scratch: Path) -> list[str]:
    """Return what runs have left in their temporary folder; Dask looks after its own."""
    return [str(path) for path in scratch.iterdir() if path.name.startswith(("xmodal-", "tmp"))]


def left_running(name: str) -> list[str]:
    """Return processes that a case started and that still run after a while."""

    def alive() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == name and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    with suppress(Lost):
        until(lambda: not alive(), 30, 0.2)
    left = []
    for process in alive():
        with suppress(psutil.Error):
            left.append(f"process {' '.join(process.cmdline())[:120]}")
            process.kill()
    return left


class World:
    """The references, and the processes that all cases share."""

    def __init__(self, root: Path, api: str | None = None) -> None:
        """Fill the folder, curate it, change it, and curate it undisturbed from each start.

        Args:
            root: An empty folder.
            api: Of a Prefect server that runs; none: start one.
        """
        self.root = root
        self.server = None if api else PrefectServer(root / "prefect").start()
        self.api = api or (self.server.url if self.server else "")
        self.nest = Nest(
            root / "nest",
            {"PREFECT_API_URL": self.api, "OMP_NUM_THREADS": "1", "PREFECT_LOGGING_TO_API_ENABLED": "false"},
        )
        self.recipe_file = root / "recipe.yaml"
        source = {"name": "source", "kind": "folder", "location": str(root / "media")}
        self.recipe = CurationRecipe.model_validate(RECIPE | {"sources": [source]})
        self.write_recipe(self.recipe_file, shard_rows=4)
        self.finer_file = root / "finer.yaml"
        self.write_recipe(self.finer_file, shard_rows=1)
        fill(root / "media")
        self.base: dict[str, Path] = {}
        for media in MEDIA:
            self.base[media] = root / f"base-{media}"
            env = {"XMODAL_MEDIA": media, "XMODAL_WORKERS": "0"}
            begun = self.nest.start("run", env=env, recipe=str(self.recipe_file), lake=str(self.base[media]))
            assert begun.wait() == 0, begun.log.read_text()[-2000:]
        self.before = content(str(self.base["reference"]))
        change(root / "media")
        self.after: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.events: dict[str, list[str]] = {}
        self.duration_s: dict[str, float] = {}
        self.digest: dict[str, str] = {}
        for start in STARTS:
            case = Case(self, f"reference-{start}", start)
            clock = time.monotonic()
            begun = case.run()
            assert begun.wait() == 0, begun.log.read_text()[-2000:]
            self.duration_s[start] = time.monotonic() - clock
            self.events[start] = (case.folder / "events").read_text().splitlines()
            self.after[start] = content(case.uri)
            head = lakes.open(case.uri).head()
            assert head is not None
            self.digest[start] = head.digest

    def write_recipe(self, path: Path, **changes: Any) -> None:
        """Write the recipe with some fields changed."""
        path.write_text(yaml.safe_dump(self.recipe.model_dump(mode="json") | changes))

    def stop(self) -> None:
        """End what was started."""
        self.nest.stop()
        if self.server is not None:
            self.server.kill()
