"""An upgrade may be killed at any write: every state can be searched, and the next run ends where an undisturbed one does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.curate import curate
from flows.upgrade import upgrade
from schemas.recipes import MethodRef
from schemas.upgrade import UpgradeRecipe
from storage import bridges
from storage import lake as lakes
from tasks.bridges import Crossing
from tasks.encoders import identity
from tasks.encoders.hashing import Hashing
from tests.conftest import write_picture
from tests.flows.conftest import content

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]

REPOSITORY = Path(__file__).parents[2]
NEW = Hashing(dim=32, seed=7)
TABLE = identity(NEW).table
RECIPE = UpgradeRecipe(
    old="hashing", new=MethodRef(name="hashing", params={"dim": 32, "seed": 7}),
    media=6, tested=6, held_out=0.25, step=0.5, shard_rows=32,
)  # fmt: skip
POINTS = 12

# One process a run, forked from one that has imported everything; it dies at the write whose number it is given.
DRIVER = """
import json, os, sys
from flows.upgrade import upgrade
from schemas.upgrade import UpgradeRecipe
from tests.flows.driver import watch
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        watch(job["log"], job["kill"])
        code = 1
        try:
            upgrade(UpgradeRecipe.model_validate(job["recipe"]), job["lake"])
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def driver():
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY), "XMODAL_WORKERS": "0", "PREFECT_API_URL": PREFECT_API_URL.value() or "",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    yield process
    process.stdin.close()
    process.wait(timeout=60)


def drive(driver, lake, kill=None):
    """Upgrade in a process of its own; return how it ended and what it wrote."""
    log = Path(f"{lake}.log")
    log.unlink(missing_ok=True)
    job = {"recipe": RECIPE.model_dump(mode="json"), "lake": str(lake), "log": str(log), "kill": kill}
    driver.stdin.write(json.dumps(job) + "\n")
    driver.stdin.flush()
    return int(driver.stdout.readline()), log.read_text().splitlines()


def searched(lake):
    """Return how many media a query of the new encoder finds now; None while it cannot be asked."""
    snapshot = lake.head()
    if TABLE not in snapshot.versions:
        return None
    bridge = bridges.serving(lake, snapshot, TABLE)
    if bridge is None:
        return lake.dataset(TABLE, snapshot).count_rows(filter="side = 'media'")
    query = NEW(["blocks"])[0]
    crossed = Crossing.from_state(bridge.crossings["media"])(query[None])[0]
    return len(bridges.mixed(lake, snapshot, bridge, query, crossed, k=100))


def test_killed_anywhere_it_can_be_searched_and_gone_on_with(tmp_path, driver, recipe_of):
    for number in range(24):
        write_picture(tmp_path / "media" / f"{number}.png", number)
        (tmp_path / "media" / f"{number}.txt").write_text(f"picture {number} of coloured blocks")
    recipe = recipe_of(tmp_path / "media", filters=[], pair_rules=[], near_duplicates=None)
    curate(recipe, lake=str(tmp_path / "base"))
    shutil.copytree(tmp_path / "base", tmp_path / "whole")
    ended, events = drive(driver, tmp_path / "whole")
    assert ended == 0
    whole = lakes.open(str(tmp_path / "whole"))
    expected = content(whole.uri)
    for n in range(POINTS):
        place = tmp_path / f"killed-{n}"
        shutil.copytree(tmp_path / "base", place)
        at = n * (len(events) - 1) // (POINTS - 1)
        ended, seen = drive(driver, place, kill=at)
        assert ended == -9, events[at]
        lake = lakes.open(str(place))
        assert searched(lake) in (None, 24), events[at]
        done = upgrade(RECIPE, str(place))
        assert done.complete, events[at]
        assert lake.head().digest == whole.head().digest, events[at]
        assert content(lake.uri) == expected, events[at]
        assert len(bridges.bridges(lake)) == 1, events[at]
        assert len(lake.snapshots()) == len(whole.snapshots()), events[at]
        shutil.rmtree(place)
