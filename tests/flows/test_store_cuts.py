"""The network to the object store goes away amid a commit: the run ends, and the next one ends where it should."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL

from flows.curate import curate
from schemas.recipes import CurationRecipe
from tests import stores
from tests.conftest import write_picture
from tests.flows.conftest import content
from tests.wire import Wire

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]

REPOSITORY = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")

# The request at which the network goes, whether the store still does what it says, and whether the network stays away.
CUTS = {
    "rows of a table, lost": (r"PUT \S+/media\.lance/data/", False, True),
    "a version of a table, lost": (r"PUT \S+/pairs\.lance/_versions/", False, True),
    "a version of a table, done and not answered": (r"PUT \S+/pairs\.lance/_versions/", True, True),
    "a version of a table, done and not answered, for a moment": (r"PUT \S+/pairs\.lance/_versions/", True, False),
    "the commit, lost": (r"PUT \S+/_commits/", False, True),
    "the commit, done and not answered": (r"PUT \S+/_commits/", True, True),
    "the commit, done and not answered, for a moment": (r"PUT \S+/_commits/", True, False),
    "the snapshot's row, done and not answered": (r"PUT \S+/snapshots\.lance/_versions/", True, True),
    "the snapshot's row, done and not answered, for a moment": (r"PUT \S+/snapshots\.lance/_versions/", True, False),
    "the tag": (r"PUT \S+/tags\.lance/_versions/", True, True),
}  # fmt: skip


ORDINARY = (
    "a version of a table, done and not answered, for a moment",
    "the commit, done and not answered",
)


class World:
    """A folder in its later state, a lake that knows its earlier one, what it should become, and a way to it to cut."""

    def __init__(self, store: stores.Store, root: Path, recipe: CurationRecipe) -> None:
        self.store, self.bucket, self.lakes = store, store.bucket(), 0
        self.recipe_file, self.log = root / "recipe.yaml", root / "log"
        self.recipe_file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
        folder, local = Path(recipe.sources[0].location), str(root / "local")
        for seed in range(4):
            write_picture(folder / f"{seed}.png", seed)
            (folder / f"{seed}.txt").write_text(f"picture number {seed} of a few", encoding="utf-8")
        host, port = store.endpoint.removeprefix("http://").split(":")
        self.wire = Wire((host, int(port)))
        environment = os.environ | self.store.environment(self.wire.endpoint) | {
            "PREFECT_API_URL": PREFECT_API_URL.value() or "",
            "PYTHONPATH": str(REPOSITORY),
            "AWS_MAX_ATTEMPTS": "1",  # of botocore, and two of Lance: else they try for minutes
            "OBJECT_STORE_CLIENT_MAX_RETRIES": "2",
            "OBJECT_STORE_CLIENT_RETRY_TIMEOUT": "5",
        }  # fmt: skip
        self.driver = subprocess.Popen(
            [sys.executable, str(DRIVER), "--serve"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.drive("base")
        curate(recipe, lake=local)
        write_picture(folder / "new.png", 77)
        (folder / "0.txt").write_text("another text for the first of them", encoding="utf-8")
        self.digest, self.expected = curate(recipe, lake=local).digest, content(local)

    def drive(self, lake: str) -> int:
        """Curate in a process of its own, over the wire; return its exit code."""
        job = {"recipe": str(self.recipe_file), "lake": f"s3://{self.bucket}/{lake}", "log": str(self.log)}
        self.driver.stdin.write(json.dumps(job) + "\n")
        self.driver.stdin.flush()
        return int(self.driver.stdout.readline())

    def lake(self) -> str:
        """Copy the lake in its earlier state, object by object, and return its name."""
        client, self.lakes = self.store.client(), self.lakes + 1
        name = f"lake{self.lakes}"
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="base/")
        for key in [found["Key"] for page in pages for found in page["Contents"]]:
            there = {"Bucket": self.bucket, "Key": key.replace("base/", f"{name}/", 1)}
            client.copy_object(CopySource={"Bucket": self.bucket, "Key": key}, **there)
        return name


@pytest.fixture(scope="module")
def world(request, tmp_path_factory, prefect_server, recipe_of) -> Iterator[World]:
    store = request.getfixturevalue("ceph_store" if stores.has_ceph() else "moto_store")
    root = tmp_path_factory.mktemp("cuts")
    made = World(store, root, recipe_of(root / "media"))
    yield made
    os.killpg(made.driver.pid, signal.SIGKILL)  # it may have a child at work
    made.driver.wait(30)
    made.wire.close()


@pytest.mark.parametrize("cut", CUTS if os.environ.get("XMODAL_LONG") else ORDINARY)
def test_a_cut_amid_a_commit_costs_nothing_but_another_run(cut, world, store):
    pattern, answered, stays = CUTS[cut]
    name = world.lake()
    lake = store.lake(f"s3://{world.bucket}/{name}")
    world.wire.cut_at(pattern, answered=answered, stays=stays)
    code = world.drive(name)
    assert world.wire.was_cut
    world.wire.mend()
    assert code == 1 or not stays
    assert lake.snapshot("s000001").row_counts["media"] == lake.read("media", at="s000001").num_rows == 4
    assert lake.tags() == {"latest": "s000001"} or lake.tags() == {"latest": "s000002"}
    assert code == 0 or world.drive(name) == 0
    assert lake.head().digest == world.digest
    assert content(lake.uri) == world.expected
    assert lake.tags() == {"latest": "s000002"}
    assert [s.snapshot_id for s in lake.snapshots()] == ["s000001", "s000002"]
