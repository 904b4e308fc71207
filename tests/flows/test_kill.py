"""A run may die anywhere: readers never notice, and the next run ends where an uninterrupted one does."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from PIL import Image
from prefect.settings import PREFECT_API_URL

from flows.curate import curate
from schemas.errors import NoSuchSnapshot, NoSuchTable
from schemas.recipes import CurationRecipe
from storage import lake as lakes
from tests.conftest import write_picture
from tests.flows.conftest import content

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]

REPOSITORY = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")

# Where the driver dies: step, event (a pattern), and which of the events that fit.
POINTS: dict[str, tuple[str, int]] = {
    "plan, before the listing is staged": ("before stage listed.arrow", 0),
    "plan, between two shards": ("after stage planned/", 0),
    "inspect, amid the first shard's files": ("after stage inspected/media/", 0),
    "inspect, after the first shard": ("after stage inspected/done/", 0),
    "merge": ("after stage merged/now_media", 0),
    "screen, a shard of pictures": ("after stage screened/media-", 0),
    "screen, a rule on the whole table": ("before stage screened/table-", 0),
    "decide items": ("after stage decided/items", 0),
    "embed, before the first vectors": ("before stage embedded/", 0),
    "embed, between two shards": ("after stage embedded/", 0),
    "score pairs": ("before stage judged/", 0),
    "decide pairs": ("after stage decided/kept-pair", 0),
    "publish, before the first table": ("before append media", 0),
    "publish, between new rows and those they replace": ("before delete media", 0),
    "publish, between two tables": ("after delete media", 0),
    "publish, after all tables": ("before protect", 0),
    "publish, some tables protected": ("after protect", 3),
    "publish, before the snapshot is named": ("before log snapshots", 0),
    "publish, after the snapshot is named": ("after log snapshots", 0),
    "check, before what was found is logged": ("before log quality", 0),
    "check, after what was found is logged": ("after log quality", 0),
    "publish, before the tag moves": ("before log tags", 0),
    "publish, after the tag moved": ("after log tags", 0),
    "publish, before the run is recorded": ("before log runs", 0),
    "publish, before staging is cleared": ("before clear staging", 0),
}
NAMED_AT = list(POINTS).index("publish, after the snapshot is named")
TAGGED_AT = list(POINTS).index("publish, after the tag moved")
IN_AN_EMPTY_LAKE = [
    "inspect, after the first shard",
    "publish, some tables protected",
    "publish, after the snapshot is named",
]


def caption(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def fill(folder: Path) -> None:
    """Write twenty pictures with texts: one of them bad, one twice, two nearly the same."""
    for seed in range(17):
        write_picture(folder / f"{seed:02d}.png", seed)
        caption(folder, f"{seed:02d}", f"picture number {seed} of many coloured blocks")
    shutil.copy(folder / "00.png", folder / "copy.png")
    caption(folder, "copy", "another caption for the first picture")
    with Image.open(folder / "01.png") as image:
        image.resize((96, 80), Image.Resampling.NEAREST).save(folder / "near.png")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    write_picture(folder / "tiny.png", 50, size=(6, 6))


def change(folder: Path) -> None:
    """Add, change, repair and remove: every table gets rows that are new and rows that differ."""
    for seed in range(20, 28):
        write_picture(folder / f"{seed}.png", seed)
        caption(folder, str(seed), f"picture number {seed}, added later")
    shutil.copy(folder / "20.png", folder / "copy-20.png")
    with Image.open(folder / "21.png") as image:
        image.resize((96, 80), Image.Resampling.NEAREST).save(folder / "near-21.png")
    caption(folder, "02", "a changed caption")
    for name in ("03.png", "03.txt"):
        (folder / name).unlink()
    write_picture(folder / "bad.png", 60)
    (folder / "worse.png").write_bytes(b"")
    write_picture(folder / "tiny.png", 61)
    write_picture(folder / "small.png", 62, size=(5, 5))


class World:
    """A folder in its later state, a recipe, a lake that knows its earlier state, and what it should become."""

    def __init__(self, root: Path, recipe: CurationRecipe) -> None:
        self.root, self.recipe = root, recipe
        self.recipe_file = root / "recipe.yaml"
        self.recipe_file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
        self.folder = Path(recipe.sources[0].location)
        fill(self.folder)
        self.base = root / "base"
        curate(recipe, lake=str(self.base))
        change(self.folder)
        self.server = subprocess.Popen(
            [sys.executable, str(DRIVER), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(XMODAL_WORKERS="0"),
            text=True,
        )
        self.before = {"earlier": content(str(self.base)), "empty": {}}
        self.events, self.expected, self.digest = {}, {}, {}
        for start in ("earlier", "empty"):
            reference = self.lake(start)
            self.events[start] = self.drive(reference)
            self.expected[start] = content(str(reference))
            self.digest[start] = lakes.open(str(reference)).head().digest

    def lake(self, start: str) -> Path:
        lake = self.root / f"lake-{len(list(self.root.iterdir()))}"
        if start == "earlier":
            shutil.copytree(self.base, lake)
        return lake

    def drive(self, lake: Path, kill: int | None = None) -> list[str]:
        """Curate in a process of its own, which dies at an event; return the events it saw."""
        log = self.root / f"{lake.name}.log"
        job = {"recipe": str(self.recipe_file), "lake": str(lake), "log": str(log), "kill": kill}
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        status = int(self.server.stdout.readline())
        assert status == (0 if kill is None else -signal.SIGKILL)
        return log.read_text().splitlines()

    def moment(self, start: str, point: str) -> int:
        """Return the number of the event at which a point is reached."""
        pattern, which = POINTS[point]
        fits = [n for n, event in enumerate(self.events[start]) if re.match(re.escape(pattern), event)]
        assert len(fits) > which, f"nothing like {pattern!r} happens: {self.events[start]}"
        return fits[which]


def environment(**more: str) -> dict[str, str]:
    return (
        os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or "", "PYTHONPATH": str(REPOSITORY)} | more
    )


RECIPE = {
    "name": "kill",
    "near_duplicates": {"max_distance": 3, "verdict": "drop"},
    "filters": [
        {"method": {"name": "min-side"}, "at_least": 8},
        {"method": {"name": "length-chars"}, "at_least": 3},
        {"method": {"name": "shared-text"}, "at_most": 5},
    ],
    "encoder": {"name": "hashing", "params": {"dim": 32}},
    "pair_rules": [{"method": {"name": "cosine"}, "at_least": 0.05}],
    "shard_rows": 4,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[World]:
    root = tmp_path_factory.mktemp("kill")
    source = {"name": "source", "kind": "folder", "location": str(root / "media")}
    made = World(root, CurationRecipe.model_validate(RECIPE | {"sources": [source]}))
    yield made
    made.server.terminate()
    made.server.wait(30)


def staged_files(lake: Path) -> list[Path]:
    return [path for path in (lake / "_staging").rglob("*") if path.is_file()]


def assert_recovers(world: World, start: str, lake: Path) -> None:
    """Run again, and again, and compare with the run that nobody killed."""
    uri = str(lake)
    again = curate(world.recipe, lake=uri)
    assert again.digest == world.digest[start]
    assert content(uri) == world.expected[start]
    assert lakes.open(uri).tags() == {"latest": again.snapshot_id}
    assert staged_files(lake) == []
    versions = {table: lakes.open(uri).latest(table).version for table in again.versions}
    assert curate(world.recipe, lake=uri).snapshot_id == again.snapshot_id
    assert {table: lakes.open(uri).latest(table).version for table in again.versions} == versions
    assert lakes.open(uri).runs()[0]["status"] == "unchanged"


def test_every_step_has_several_writes_to_die_at(world):
    events = world.events["earlier"]
    for folder in ("planned", "inspected/done", "screened", "embedded"):
        assert sum(event.startswith(f"after stage {folder}/") for event in events) > 1, folder
    assert {"before delete media", "before delete texts", "before delete pairs", "before delete sources"} <= {
        *events
    }


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_after_an_earlier_snapshot_resumes(world, point):
    lake = world.lake("earlier")
    world.drive(lake, world.moment("earlier", point))
    uri, number = str(lake), list(POINTS).index(point)
    assert content(uri, "s000001") == world.before["earlier"]
    newest = world.expected if number >= NAMED_AT else world.before
    tagged = world.expected if number >= TAGGED_AT else world.before
    assert content(uri) == newest["earlier"]
    assert content(uri, "latest") == tagged["earlier"]
    assert_recovers(world, "earlier", lake)
    assert content(uri, "s000001") == world.before["earlier"]


@pytest.mark.parametrize("point", IN_AN_EMPTY_LAKE)
def test_a_run_killed_in_an_empty_lake_resumes(world, point):
    lake = world.lake("empty")
    world.drive(lake, world.moment("empty", point))
    if list(POINTS).index(point) < NAMED_AT:
        seen = lakes.open(str(lake))
        assert (seen.head(), seen.tables(), seen.tags()) == (None, {}, {})
        with pytest.raises(NoSuchTable, match="no table 'media'"):
            seen.read("media")
        with pytest.raises(NoSuchSnapshot, match="latest"):
            seen.read("media", at="latest")
    assert_recovers(world, "empty", lake)


def test_shards_done_before_a_kill_are_not_inspected_again(world):
    lake = world.lake("earlier")
    last = max(
        n for n, e in enumerate(world.events["earlier"]) if e.startswith("after stage inspected/done/")
    )
    world.drive(lake, last)
    done = {path.name: path.stat().st_mtime_ns for path in lake.glob("_staging/*/inspected/media/*")}
    assert len(done) > 1
    log = world.root / f"{lake.name}.log"
    log.unlink()
    events = world.drive(lake)
    assert not any("stage inspected/" in event for event in events)
    counts = json.loads(lakes.open(str(lake)).runs()[0]["counts"])["inspect"]
    assert counts == {"shards done before": len(done)}


def test_two_kills_in_a_row_are_no_worse_than_one(world):
    lake = world.lake("earlier")
    world.drive(lake, world.moment("earlier", "publish, between two tables"))
    (world.root / f"{lake.name}.log").unlink()
    world.drive(lake, 60)
    assert content(str(lake)) == world.before["earlier"]
    assert_recovers(world, "earlier", lake)


@pytest.mark.parametrize("seed", [0])
def test_a_cluster_killed_from_outside_leaves_no_process_and_resumes(world, seed):
    lake = world.lake("empty")
    finer = world.root / "finer.yaml"
    finer.write_text(yaml.safe_dump(world.recipe.model_dump(mode="json") | {"shard_rows": 1}))
    driver = subprocess.Popen(
        [sys.executable, str(DRIVER), str(finer), str(lake)],
        env=environment(XMODAL_WORKERS="2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: any(lake.glob("_staging/*/inspected/done/*.arrow")) or driver.poll() is not None)
        time.sleep(random.Random(seed).uniform(0.0, 0.5))
        assert driver.poll() is None, "the run ended before it could be killed"
        family = psutil.Process(driver.pid).children(recursive=True)
    finally:
        driver.kill()
        driver.wait(30)
    assert len(family) >= 4  # two workers, each with a decoder
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert lakes.open(str(lake)).head() is None
    assert_recovers(world, "empty", lake)


def until(happened: Callable[[], object], timeout_s: float = 240) -> None:
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
