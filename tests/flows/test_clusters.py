"""Many machines on one lake: two drivers at once; workers elsewhere, one of them cut off while it works."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import s3fs
import yaml
from distributed import Client
from prefect.settings import PREFECT_API_URL

from flows.curate import curate
from schemas.recipes import CurationRecipe
from storage import lake as lakes
from tasks.originals import Originals
from tests import hosts, stores
from tests.conftest import write_picture
from tests.flows.conftest import content
from tests.wire import Wire

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]

REPOSITORY = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")


def environment(**more: str) -> dict[str, str]:
    return (
        os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or "", "PYTHONPATH": str(REPOSITORY)} | more
    )


def test_two_curations_of_one_lake_at_once_both_end_and_nothing_is_lost(store, recipe_of, tmp_path):
    """Each has a source of its own and some pictures that the other has too."""
    recipes: dict[str, CurationRecipe] = {}
    for name, seeds in {"one": range(0, 5), "two": range(3, 8)}.items():
        for seed in seeds:
            write_picture(tmp_path / name / f"{seed}.png", seed)
            (tmp_path / name / f"{seed}.txt").write_text(
                f"picture {seed} as {name} calls it", encoding="utf-8"
            )
        source = {"name": name, "kind": "folder", "location": str(tmp_path / name)}
        recipes[name] = recipe_of(name=name, sources=[source])
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipes[name].model_dump(mode="json")))
    lake = store.lake(f"s3://{store.bucket()}/lake")
    env = environment(XMODAL_WAIT_S="300", XMODAL_WORKERS="0")
    runs = [
        subprocess.Popen([sys.executable, str(DRIVER), str(tmp_path / f"{name}.yaml"), lake.uri], env=env)
        for name in recipes
    ]
    assert [run.wait(400) for run in runs] == [0, 0]

    first, second = lake.snapshots()
    assert (first.parent_id, second.parent_id) == ("", first.snapshot_id)
    ran = {row["run_id"]: row for row in lake.runs()}
    assert [(row["status"], row["written_snapshot"]) for row in (ran[first.run_id], ran[second.run_id])] == [
        ("committed", "s000001"),
        ("committed", "s000002"),
    ]
    assert len(lake.runs()) == 2
    local = str(tmp_path / "local")
    for snapshot in (first, second):  # one after the other, in the order they came in
        assert curate(recipes[ran[snapshot.run_id]["recipe"]], lake=local).digest == snapshot.digest
    assert content(lake.uri) == content(local)
    assert {row["media_id"] for row in lake.read("media").to_pylist()} == {
        row["media_id"] for row in lakes.open(local).read("media").to_pylist()
    }
    assert lake.read("media").num_rows == 8


class Cluster:
    """A scheduler and two workers, each on a host of its own; they reach the store over a wire, the driver over another."""

    def __init__(self, store: stores.Store, folder: Path, stack: ExitStack) -> None:
        ours, (self.scheduler, *self.workers) = stack.enter_context(hosts.hosts(3))
        target = store.endpoint.removeprefix("http://").split(":")
        self.theirs = Wire((target[0], int(target[1])), host=ours)
        self.ours = Wire((target[0], int(target[1])))
        for wire in (self.theirs, self.ours):
            stack.callback(wire.close)
        self.env = environment(
            **store.environment(self.theirs.endpoint),
            OMP_NUM_THREADS="1",
            DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP="11s",  # until a silent host is given up: the least it takes
            DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="4s",
        )
        self.folder, self.stack = folder, stack
        self.address = f"tcp://{self.scheduler.address}:8786"
        self._start(self.scheduler, "scheduler", "--host", self.scheduler.address, "--no-dashboard")
        for worker in self.workers:
            self._start(
                worker, "worker", self.address, "--host", worker.address, "--nthreads", "1", "--no-dashboard",
                "--no-nanny", "--local-directory", str(folder / worker.name),
            )  # fmt: skip

    def _start(self, host: hosts.Host, role: str, *options: str) -> None:
        command = (sys.executable, "-m", f"distributed.cli.dask_{role}", *options)
        process = host.start(*command, env=self.env, log=str(self.folder / f"{host.name}.log"))

        def stop() -> None:
            process.kill()
            process.wait(30)

        self.stack.callback(stop)


@pytest.fixture
def cluster(store, tmp_path) -> Iterator[Cluster]:
    if not hosts.has_hosts():
        pytest.skip(hosts.WITHOUT_HOSTS)
    with ExitStack() as stack:
        yield Cluster(store, tmp_path, stack)


def test_a_worker_cut_off_amid_a_run_costs_nothing_but_time(
    cluster, store, recipe_of, tmp_path, lake_dir, monkeypatch
):
    bucket, rows = store.bucket(), []
    for seed in range(24):
        file = write_picture(tmp_path / "media" / f"{seed:02d}.png", seed)
        store.client().put_object(Bucket=bucket, Key=f"pictures/{file.name}", Body=file.read_bytes())
        rows.append({"media": f"s3://{bucket}/pictures/{file.name}", "text": f"picture number {seed}"})
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = {
        "name": "objects", "kind": "manifest", "location": str(manifest), "options": {"allow_outside": True}
    }  # fmt: skip
    recipe = recipe_of(sources=[source], shard_rows=1)
    expected = curate(recipe.model_copy(update={"shard_rows": 64}), lake=lake_dir)

    monkeypatch.setenv("AWS_ENDPOINT_URL", cluster.ours.endpoint)
    monkeypatch.setenv("XMODAL_DASK", cluster.address)
    s3fs.S3FileSystem.clear_instance_cache()
    with Client(cluster.address, set_as_default=False, timeout=120) as client:
        client.wait_for_workers(2, timeout=120)
    lost = cluster.workers[0]
    done: list[int] = []

    def cut() -> None:
        def inspected() -> int:
            return sum("/inspected/done/" in line for line in cluster.theirs.requests if line[:3] == "PUT")

        stores.until(lambda: inspected() >= 3, 300)
        lost.unplug()
        done.append(inspected())

    cutter = threading.Thread(target=cut)
    cutter.start()
    lake = lakes.open(f"s3://{bucket}/lake")
    snapshot = curate(recipe, lake=lake.uri)
    cutter.join()
    assert done[0] < 24, "every shard was inspected before the worker was cut off"
    assert snapshot.digest == expected.digest
    assert content(lake.uri) == content(lake_dir)

    read = {
        line.split("/")[-1]
        for line in cluster.theirs.requests
        if line.startswith("GET") and "/pictures/" in line
    }
    assert read == {f"{seed:02d}.png" for seed in range(24)}
    assert not [line for line in cluster.ours.requests if "/pictures/" in line], "the driver read media"
    stored = lake.read("media", columns=["media_id", "uri"]).sort_by("uri").to_pylist()
    assert [row["uri"] for row in stored] == [row["media"] for row in rows]
    assert not lake.place.fs.exists(lake.place.path("media"))  # left where they are
    (first,) = Originals(lake.uri).read([stored[0]["media_id"]], [stored[0]["uri"]])
    assert first == (tmp_path / "media" / "00.png").read_bytes()

    lost.plug()  # the run is over: what it left behind is not heard of again
    assert curate(recipe, lake=lake.uri).snapshot_id == snapshot.snapshot_id
    assert content(lake.uri) == content(lake_dir)
