"""Everything but kills: full and read-only disks, clocks, networks, others at work, damaged files."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import LakeDamaged
from storage import lake as lakes
from storage import soundness
from storage.lake import Lake
from tests.flows.conftest import rows_of
from tests.torture.nest import Started
from tests.torture.object_store import ObjectStore
from tests.torture.world import Case, Lost, World, once, until

FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
)


class Skipped(Exception):
    """This machine cannot do it; says why."""


@dataclass(frozen=True)
class Found:
    """What became of one fault.

    Args:
        fault: What was done.
        variant: How, or how much.
        fell: What the run, or the read, did.
        then: What held afterwards; "" if something did not.
        lost: What did not hold.
        wall_s: Seconds of the whole case.
    """

    fault: str
    variant: str
    fell: str
    then: str
    lost: str
    wall_s: float


class Faults:
    """Does each fault once in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._store: ObjectStore | None = None

    def run(self, only: set[str] | None = None) -> Iterator[Found]:
        """Yield what became of each fault."""
        for name, variants in ALL.items():
            if only and name not in only:
                continue
            for variant in variants:
                clock = time.monotonic()
                fell, then, lost = "", "", ""
                try:
                    fell, then = DO[name](self, variant)
                except Skipped as why:
                    fell = f"skipped: {why}"
                except (Lost, AssertionError, TimeoutError) as error:
                    lost = f"{type(error).__name__}: {error}"
                yield Found(name, variant, fell, then, lost, time.monotonic() - clock)

    def stop(self) -> None:
        """End what was started."""
        if self._store is not None:
            self._store.stop()

    # Disks

    def disk_full(self, variant: str) -> tuple[str, str]:
        """The lake's file system runs out of room amid a run; then there is more."""
        case = self._case("earlier")
        base = sum(path.stat().st_size for path in self.world.base["reference"].rglob("*") if path.is_file())
        whole = self.world.root / "cases" / "reference-earlier" / "lake"
        grown = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        blocks = 4096 * sum(1 for _ in whole.rglob("*"))  # a file takes whole pages
        size = base + blocks // 2 + int((grown - base + blocks // 2) * int(variant.split("%")[0]) / 100)
        with mounted(case, size) as remount:
            begun = case.run()
            status = begun.wait()
            if status == 0:
                raise Lost(f"the run ended well on {size} bytes: nothing was tested")
            if begun.result["error"] != "LakeError":
                raise Lost(f"the run does not say what to do: {begun.result}")
            case.check_readers()
            remount("size=512m")
            case.check_recovery(twice=False)
            fell = _short(begun)
        return fell, "tagged snapshot whole; with room again the next run reached the reference"

    def read_only(self, variant: str) -> tuple[str, str]:
        """The lake lies on a file system that is mounted read-only; readers go on, writers are told."""
        case = self._case("earlier")
        with mounted(case, 512 << 20) as remount:
            remount("ro")
            if case.check_readers() != "before":
                raise Lost("a reader sees something else")
            begun = case.run()
            if begun.wait() == 0 or begun.result["error"] != "LakeError":
                raise Lost(f"the run said {begun.result}")
            remount("rw")
            case.check_recovery(twice=False)
        return _short(begun), "readers read; writable again, the next run reached the reference"

    # Clocks

    def clock(self, variant: str) -> tuple[str, str]:
        """A run's clock is a year off, or jumps amid it; the runs before and after have the right one."""
        library = next((path for path in FAKETIME if Path(path).exists()), None)
        if library is None:
            raise Skipped("libfaketime is not installed (Debian: apt-get install libfaketime)")
        case = self._case("earlier")
        env = {"LD_PRELOAD": library, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
        stamp = case.folder / "clock"
        if variant.startswith("amid"):
            stamp.write_text("+0d")
            env |= {"FAKETIME_TIMESTAMP_FILE": str(stamp)}
        else:
            env |= {"FAKETIME": {"a year behind": "-365d", "a year ahead": "+365d"}[variant]}
        job = {
            "do": "run",
            "args": {"recipe": str(self.world.recipe_file), "lake": case.uri},
            "env": case.env,
            "log": str(case.folder / "clock.log"),
            "events": str(case.folder / "events"),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.nest", "--job", json.dumps(job)],
            env=os.environ | self.world.nest.env | env,
        )
        if variant.startswith("amid"):
            until(lambda: (case.folder / "events").exists() or process.poll() is not None, 120)
            stamp.write_text("-365d")
        if process.wait(300) != 0:
            raise Lost(f"the run failed: {(case.folder / 'clock.log').read_text()[-500:]}")
        if case.check_readers() != "after":
            raise Lost("the tag did not move")
        case.check_recovery()
        return "went on", "tag moved; the next run, by the right clock, found nothing to do"

    # Others at work

    def two_curations(self, variant: str) -> tuple[str, str]:
        """Two processes curate one lake at once: one is refused or waits for nothing, and nothing is done twice."""
        if variant == "local disk":
            case = self._case("earlier")
            runs = [case.run(), case.run()]
            said = self._one_of_two(runs)
            case.check_recovery(twice=False)
            return said, "reference reached, no row twice"
        store, uri, case = self._on_store("earlier")
        runs = [self._run_on_store(case, uri) for _ in range(2)]
        said = self._one_of_two(runs)
        self._settled_on_store(store, case, uri)
        return said, "reference reached, no row twice"

    def overtaken(self, variant: str) -> tuple[str, str]:
        """A writer on an object store sleeps past the others' patience, another one commits, the first wakes up."""
        store, uri, case = self._on_store("earlier")
        events = self.world.events["earlier"]
        at = next(n for n, event in enumerate(events) if event.startswith(variant))
        env = case.env | store.env
        noted = case.folder / "sleeper"
        sleeper = self.world.nest.start(
            "sleep", env=env, kill=(str(noted), None, None), recipe=str(self.world.recipe_file), lake=uri, at=at,
            until=str(case.folder / "wake"), slept=str(case.folder / "slept"),
        )  # fmt: skip
        until(lambda: (case.folder / "slept").exists() or sleeper.ended() is not None, 240)
        if sleeper.ended() is not None:
            raise Lost(f"the first run ended before it slept: {sleeper.result}")
        second = self._run_on_store(case, uri)
        if second.wait() != 0:
            raise Lost(f"the second run did not get the lake: {second.result}")
        (case.folder / "wake").touch()
        if sleeper.wait() != 0:
            raise Lost(f"the first run did not begin anew: {sleeper.result}")
        self._settled_on_store(store, case, uri)
        return (
            "the second run committed; the first noticed, began anew and found nothing to do",
            "reference reached, no row twice",
        )

    def readers(self, variant: str) -> tuple[str, str]:
        """A reader reads the tag again and again while another process commits, compacts and lets versions go."""
        case = self._case("earlier")
        stop = case.folder / "stop"
        reader = self.world.nest.start(
            "read", env=case.env, lake=case.uri, stop=str(stop), before=str(self._saved("before", self.world.before)),
            after=str(self._saved("after", self.world.after["earlier"])), seen=str(case.folder / "seen"),
        )  # fmt: skip
        until(lambda: (case.folder / "seen").exists() or reader.ended() is not None, 120)
        if variant.startswith("commit"):
            case.run().wait()
            self.world.nest.start("tidy", env=case.env, lake=case.uri, keep=10).wait()
        else:
            case.run().wait()
            for _ in range(3):
                self.world.nest.start("tidy", env=case.env, lake=case.uri, keep=1).wait()
        stop.touch()
        status = reader.wait(120)
        if status != 0:
            raise Lost(f"the reader: {reader.result}")
        said = reader.result
        if said["wrong"]:
            raise Lost(f"the reader saw {said['wrong']} snapshots that never were")
        if variant.startswith("commit") and said["refused"]:
            raise Lost(f"{said['refused']} reads failed: {said['why']}")
        case.check_end()
        return (
            f"{said['reads']} reads, {said['refused']} refused as let go",
            "every read was one whole snapshot",
        )

    # Networks

    def network(self, variant: str) -> tuple[str, str]:
        """The wire to the object store is cut amid a run, for a moment or until the run is given up."""
        store, uri, case = self._on_store("earlier")
        for_s, share = {
            "2 s": (2, 0.5),
            "at a fifth": (0, 0.2),
            "at a half": (0, 0.5),
            "at nine tenths": (0, 0.9),
        }[variant]
        if not self._connections:
            trial_uri = f"{uri}-trial"
            store.put(self.world.base["reference"], trial_uri)
            begun_at = store.wire.passed
            if self._run_on_store(case, trial_uri).wait() != 0:
                raise Lost("an undisturbed run on the store failed")
            self._connections.append(store.wire.passed - begun_at)
        cut_at = store.wire.passed + int(share * self._connections[0])
        begun = self._run_on_store(case, uri)
        until(lambda: store.wire.passed >= cut_at or begun.ended() is not None, 300)
        store.wire.cut()
        if for_s:
            time.sleep(for_s)
            store.wire.mend()
            status = begun.wait(400)
            fell = "went on" if status == 0 else _short(begun)
        else:
            status_or_none = begun.ended(60)
            fell = "given up after 60 s without network, and killed"
            if status_or_none is None:
                begun.kill()
                begun.wait(30)
            else:
                fell = "had ended" if status_or_none == 0 else _short(begun)
            store.wire.mend()
        seen = rows_of(store.lake(uri), "latest")
        if seen not in (self.world.before, self.world.after["earlier"]):
            raise Lost("the tagged snapshot is neither what it was nor what it should become")
        self._settled_on_store(store, case, uri)
        return fell, "tagged snapshot whole; mended, the next run reached the reference"

    # Damage

    def damage(self, variant: str) -> tuple[str, str]:
        """A file of the newest snapshot is harmed: the read says so, doctor finds it, going back works."""
        case = self._case("earlier")
        if case.run().wait() != 0:
            raise Lost("the run before failed")
        lake = lakes.open(case.uri)
        head = lake.head()
        assert head is not None
        rng = random.Random(variant)
        silent = harm(lake, variant, rng)
        said = ""
        try:
            for table in lake.tables():
                lake.read(table)
        except LakeDamaged as error:
            said = str(error)
        if not silent and "restore" not in said:
            raise Lost(f"the read did not say what is wrong: {said!r}")
        damage = soundness.check(lake, head, deep=silent)
        if not damage:
            raise Lost("doctor finds nothing")
        if rows_of(lake, "s000001") != self.world.before:
            raise Lost("the earlier snapshot does not read")
        lake.restore("s000001")
        lake.move_tag("latest", lake.head().snapshot_id)  # type: ignore[union-attr]
        if rows_of(lake, "latest") != self.world.before:
            raise Lost("the restored snapshot is not the earlier one")
        settled = self.world.nest.start(
            "settle", env=case.env, recipe=str(self.world.recipe_file), lake=case.uri, twice=True
        )
        if settled.wait() != 0:
            raise Lost(f"the run after going back failed: {settled.result}")
        if rows_of(lake) != self.world.after["earlier"]:
            raise Lost("the run after going back did not reach the reference")
        if soundness.check(lake, lake.head(), deep=True):  # type: ignore[arg-type]
            raise Lost("doctor still finds something")
        what = f"read says: {said.split(': ', 3)[-1][:60]}" if said else "read says nothing"
        return (
            f"{what}; doctor: {damage[0].table}: {damage[0].what[:60]}",
            "restored, curated again: reference reached",
        )

    # What they share

    _connections: list[int] = []

    def _case(self, start: str) -> Case:
        return Case(self.world, f"fault-{len(list((self.world.root / 'cases').iterdir()))}", start)

    def _saved(self, name: str, content: object) -> Path:
        import pickle

        path = self.world.root / f"{name}.pickle"
        path.write_bytes(pickle.dumps(content))
        return path

    def _one_of_two(self, runs: list[Started]) -> str:
        ended = [run.wait() for run in runs]
        said = [run.result for run in runs]
        if 0 not in ended:
            raise Lost(f"neither run ended well: {said}")
        refused = [one["error"] for one in said if "error" in one]
        if any(error not in ("LakeBusy", "Overtaken") for error in refused):
            raise Lost(f"the other run failed by {refused}")
        return f"one committed, the other {'was refused: ' + refused[0] if refused else 'came after it'}"

    def _on_store(self, start: str) -> tuple[ObjectStore, str, Case]:
        if self._store is None:
            self._store = ObjectStore(self.world.root / "store")
        case = self._case("empty")
        uri = f"s3://torture/{case.name}"
        if start == "earlier":
            self._store.put(self.world.base["reference"], uri)
        return self._store, uri, case

    def _run_on_store(self, case: Case, uri: str) -> Started:
        assert self._store is not None
        return self.world.nest.start(
            "run", env=case.env | self._store.env, recipe=str(self.world.recipe_file), lake=uri
        )

    def _settled_on_store(self, store: ObjectStore, case: Case, uri: str) -> None:
        settled = self.world.nest.start(
            "settle", env=case.env | store.env, recipe=str(self.world.recipe_file), lake=uri, twice=False
        )
        if settled.wait(400) != 0:
            raise Lost(f"the run after the fault failed: {settled.result}")
        lake = store.lake(uri)
        if (
            rows_of(lake) != self.world.after["earlier"]
            or rows_of(lake, "latest") != self.world.after["earlier"]
        ):
            raise Lost("the tables differ from those of a run that nobody disturbed")
        once(lake)
        if left := [path for path in lake.place.fs.find(lake.place.path("_staging"))]:
            raise Lost(f"{len(left)} staged files are left")


def harm(lake: Lake, how: str, rng: random.Random) -> bool:
    """Harm a file that only the newest snapshot names; return whether a plain read may not notice."""
    root = Path(lake.uri)
    head, first = lake.head(), lake.snapshot("s000001")
    assert head is not None
    table = rng.choice(
        [
            name
            for name in ("media", "texts", "pairs", "sources", "scores")
            if head.versions[name] != first.versions[name]
        ]
    )
    files = {
        name: {file.path for f in lake.dataset(table, at).get_fragments() for file in f.metadata.files}
        for name, at in (("now", head), ("then", first))
    }
    path = root / f"{table}.lance" / "data" / sorted(files["now"] - files["then"])[0]
    number = (1 << 64) - 1 - head.versions[table]
    manifest = root / f"{table}.lance" / "_versions" / f"{number:020}.manifest"
    if how == "data file deleted":
        path.unlink()
    elif how == "data file cut short":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "data file overwritten":
        path.write_bytes(rng.randbytes(path.stat().st_size))
    elif how == "letters of a text changed":
        table = "texts"
        for path in (root / "texts.lance" / "data").glob("*.lance"):
            data = path.read_bytes()
            if b"added later" in data:
                path.write_bytes(data.replace(b"added later", b"added l4ter"))
        return True
    elif how == "manifest deleted":
        manifest.unlink()
    elif how == "manifest cut short":
        os.truncate(manifest, manifest.stat().st_size // 2)
    elif how == "manifest overwritten":
        manifest.write_bytes(rng.randbytes(manifest.stat().st_size))
    return False


@contextmanager
def mounted(case: Case, size: int) -> Iterator[Callable[[str], None]]:
    """Put the case's lake on a small file system of its own; offers to mount it anew with other options."""
    if os.geteuid() != 0:
        raise Skipped("mounting a tmpfs takes root")
    kept = case.lake.with_name("kept")
    case.lake.rename(kept)
    case.lake.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "torture", str(case.lake)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise Skipped(f"mount: {made.stderr.strip()}")
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", str(case.lake)], check=True)
        yield lambda options: _mount(case.lake, f"remount,{options}")
    finally:
        subprocess.run(["umount", "-l", str(case.lake)], check=False)


def _mount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", options, str(place)], check=True)


def _short(run: Started) -> str:
    said = run.result
    return f"failed: {said.get('error')}: {' '.join(said.get('message', '').split())[:90]}"


ALL: dict[str, tuple[str, ...]] = {
    "disk full": ("20%", "50%", "80%"),
    "read-only lake": ("mounted read-only",),
    "clock": ("a year behind", "a year ahead", "amid a run a year back"),
    "two curations": ("local disk", "object store"),
    "overtaken": ("before append media", "before log snapshots"),
    "reader": ("commit and compaction", "gc keeping one version"),
    "network cut": ("2 s", "at a fifth", "at a half", "at nine tenths"),
    "damage": (
        "data file deleted", "data file cut short", "data file overwritten", "letters of a text changed",
        "manifest deleted", "manifest cut short", "manifest overwritten",
    ),
}  # fmt: skip
DO: dict[str, Callable[[Faults, str], tuple[str, str]]] = {
    "disk full": Faults.disk_full,
    "read-only lake": Faults.read_only,
    "clock": Faults.clock,
    "two curations": Faults.two_curations,
    "overtaken": Faults.overtaken,
    "reader": Faults.readers,
    "network cut": Faults.network,
    "damage": Faults.damage,
}
