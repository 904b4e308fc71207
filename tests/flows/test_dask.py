"""The same shards on a cluster: ours, someone else's, one that loses a worker, one that grows."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client, get_task_stream

from flows import runners
from flows.curate import curate
from flows.runners import workers
from schemas.settings import Settings
from tests.conftest import write_picture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]

REPOSITORY = Path(__file__).parents[2]


class Cluster:
    """A scheduler and workers, each a process started as a user would start it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        until(self.file.exists)

    def worker(self, name: str, *options: str) -> None:
        local = ("--local-directory", str(self.folder / name), "--no-dashboard", "--nthreads", "1")
        self._start("worker", "--name", name, *local, *options)

    def _start(self, role: str, *options: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{role}", "--scheduler-file", str(self.file)]
        out = (self.folder / f"{role}-{len(self.processes)}.log").open("wb")
        env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        self.processes.append(subprocess.Popen([*command, *options], env=env, stdout=out, stderr=out))

    def client(self, workers: int) -> Client:
        client = Client(scheduler_file=str(self.file), set_as_default=False, timeout=120)
        client.wait_for_workers(workers, timeout=120)
        return client

    def stop(self) -> None:
        family = [c for p in self.processes for c in psutil.Process(p.pid).children(recursive=True)]
        for process in reversed(self.processes):
            process.terminate()
        ours = [psutil.Process(p.pid) for p in self.processes if p.poll() is None]
        _, left = psutil.wait_procs([*ours, *family], timeout=10)  # a worker may linger after its scheduler
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.processes:
            process.wait(30)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    started = Cluster(folder)
    yield started
    started.stop()


@pytest.fixture
def inline(media_folder, recipe_of, tmp_path, content_of):
    """The recipe in shards of two, its lake's content when run in this process, and its digest."""
    write_picture(media_folder / "tiny.png", 99, size=(4, 4))
    (media_folder / "broken.png").write_bytes(b"")
    recipe = recipe_of(media_folder, shard_rows=2)
    lake = str(tmp_path / "inline")
    snapshot = curate(recipe, lake=lake)
    return recipe, content_of(lake), snapshot.digest


def test_a_local_cluster_gives_what_this_process_gives(inline, lake_dir, content_of, monkeypatch):
    recipe, expected, digest = inline
    monkeypatch.setenv("XMODAL_WORKERS", "2")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert curate(recipe, lake=lake_dir).digest == digest
    assert content_of(lake_dir) == expected
    until(lambda: started_since(before) == [], timeout_s=30)


def test_what_is_begun_runs_once_on_each_worker_that_is_up():
    found: list[int] = []
    with workers(Settings(workers=2)) as pool:
        pool.begin(os.getpid)
        assert pool.begun() == []  # nobody is up
        assert sorted(pool.map(str, range(4), label="up")) == ["0", "1", "2", "3"]
        pool.begin(os.getpid)
        until(lambda: len(found) >= 2 or found.extend(pool.begun()))
        assert len(set(found)) == len(found) == 2 and os.getpid() not in found
        pool.begin(broken)
        pool.begin(os.getpid)
        found.clear()
        until(lambda: len(found) >= 2 or found.extend(pool.begun()))
        assert len(found) == 2  # a call that failed says nothing, and nothing else fails of it


def test_few_shards_have_workers_where_more_will_need_them():
    with workers(Settings(workers=2)) as pool:
        assert list(pool.map(pid, range(2), label="here", more=2)) == [os.getpid()] * 2
        assert os.getpid() not in set(pool.map(pid, range(2), label="there", more=3))
    with workers(Settings(workers=0)) as pool:
        assert list(pool.map(pid, range(2), label="nowhere else", more=3)) == [os.getpid()] * 2


UNGUARDED = """
import sys
from flows.runners import workers
from schemas.settings import Settings

with workers(Settings(workers=2)) as pool:
    print(sorted(pool.map(str, range(3), label="three")))
"""


def test_a_script_whose_workers_would_run_it_again_is_told_what_to_do(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, str(tmp_path / "script.py")]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode != 0
    assert (
        run.stderr.rstrip()
        .splitlines()[-1]
        .startswith("schemas.errors.ServiceError: 2 worker processes could not be")
    )
    assert 'if __name__ == "__main__":' in run.stderr

    guarded = UNGUARDED.replace("with workers", 'if __name__ == "__main__":\n  with workers').replace(
        "    print", "      print"
    )
    (tmp_path / "script.py").write_text(guarded)
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert run.stdout.strip() == str(["0", "1", "2"]), run.stderr


def pid(shard: int) -> int:
    return os.getpid()


def broken() -> None:
    raise ValueError("it cannot be opened")


def started_since(before: set[int]) -> list[str]:
    """Names of children that were not there before and belong to a cluster or a decoder."""
    mine = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    return [" ".join(child.cmdline()) for child in mine if "spawn_main" in " ".join(child.cmdline())]


def test_an_adaptive_cluster_gives_what_this_process_gives(inline, lake_dir, content_of, monkeypatch):
    recipe, expected, digest = inline
    monkeypatch.setenv("XMODAL_WORKERS", "1")
    monkeypatch.setenv("XMODAL_ADAPTIVE", "2")
    assert curate(recipe, lake=lake_dir).digest == digest
    assert content_of(lake_dir) == expected


def test_encoding_runs_only_where_an_existing_cluster_has_a_gpu_slot(
    inline, lake_dir, content_of, monkeypatch, cluster
):
    recipe, expected, digest = inline
    cluster.worker("plain", "--no-nanny")
    cluster.worker("with-gpu", "--no-nanny", "--resources", "GPU=1")
    with cluster.client(2) as client:
        names = {w["id"]: a for a, w in client.scheduler_info(n_workers=-1)["workers"].items()}
        monkeypatch.setenv("XMODAL_DASK", client.scheduler.address)
        with get_task_stream(client) as stream:
            assert curate(recipe, lake=lake_dir).digest == digest
        pids = client.run(os.getpid)
    assert all(psutil.pid_exists(pid) for pid in pids.values()), "a borrowed cluster must outlive the run"
    assert content_of(lake_dir) == expected
    ran: dict[str, set[str]] = {}
    for task in stream.data:
        ran.setdefault(task["key"].split("-")[0], set()).add(task["worker"])
    assert ran["encode_shard"] == ran["open_encoder"] == {names["with-gpu"]}
    assert ran["inspect_shard"] == {names["plain"], names["with-gpu"]}


def test_a_worker_killed_amid_inspection_costs_nothing_but_time(
    inline, lake_dir, content_of, monkeypatch, cluster
):
    recipe, expected, digest = inline
    cluster.worker("one")
    cluster.worker("two")
    with cluster.client(2) as client:
        pids = client.run(os.getpid)
        monkeypatch.setenv("XMODAL_DASK", client.scheduler.address)
    victim = sorted(pids.values())[0]
    killed: list[int] = []

    def kill() -> None:
        planned, done = "_staging/*/planned/*.arrow", "_staging/*/inspected/done/*.arrow"
        until(lambda: any(Path(lake_dir).glob(done)))
        killed.append(len([*Path(lake_dir).glob(planned)]) - len([*Path(lake_dir).glob(done)]))
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    snapshot = curate(recipe.model_copy(update={"shard_rows": 1}), lake=lake_dir)
    killer.join()
    assert killed[0] > 0, "every shard was inspected before the worker died"
    assert not psutil.pid_exists(victim)
    assert snapshot.digest == digest
    assert content_of(lake_dir) == expected


def until(happened: Callable[[], object], timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_the_scheduler_is_told_of_few_shards_ahead_and_every_one_is_done_once(monkeypatch):
    monkeypatch.setattr(runners, "LEAST_AHEAD", 8)
    shards, known, found = list(range(300)), [], []
    with workers(Settings(workers=2)) as pool:
        for result in pool.map(abs, shards, label="numbers"):
            found.append(result)
            known.append(len(pool._client.futures))
    assert sorted(found) == shards
    assert max(known) <= 8 + 1  # and the one whose result was just given


def test_a_shard_that_fails_ends_the_map_with_its_error_however_many_wait(monkeypatch):
    monkeypatch.setattr(runners, "LEAST_AHEAD", 8)
    with workers(Settings(workers=2)) as pool, pytest.raises(ZeroDivisionError):
        list(pool.map((1).__floordiv__, [1] * 20 + [0] + [1] * 200, label="numbers"))
