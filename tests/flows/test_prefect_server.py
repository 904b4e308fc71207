"""Runs as a Prefect server tells them: states, task names, failures; and without a server of one's own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from storage import lake as lakes
from tests.conftest import write_picture

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")
STEPS = {"plan", "inspect", "merge", "screen", "items", "encode", "study", "judge", "pairs", "commit"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    for seed in range(4):
        write_picture(folder / f"{seed}.png", seed)
        (folder / f"{seed}.txt").write_text(f"picture number {seed} of four")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server started as in the documentation; its address."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "log").open("wb") as out:
        process = subprocess.Popen(command, env=environment(home), stdout=out, stderr=out)
    api = f"http://127.0.0.1:{port}/api"
    try:
        end = time.monotonic() + 180
        while not _is_up(api):
            assert process.poll() is None and time.monotonic() < end, (home / "log").read_text()
            time.sleep(0.5)
        yield api
    finally:
        process.terminate()
        process.wait(60)


def _is_up(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment that no other Prefect has left its settings in."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ours = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PYTHONPATH": str(REPOSITORY),
    }
    return clean | ours | more


def run_curate(recipe: Any, root: Path, lake: str, **more: str) -> "subprocess.CompletedProcess[str]":
    file = root / f"{recipe.name}.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    command = [sys.executable, str(DRIVER), str(file), lake]
    env = environment(root / "home", **more)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)


def flow_runs(api: str, lake: str) -> list[dict[str, Any]]:
    runs = httpx.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_DESC"}, timeout=30).json()
    return [run for run in runs if run["parameters"]["lake"] == lake]


def test_a_server_sees_a_run_and_its_steps(server, pictures, recipe_of, tmp_path, lake_dir):
    done = run_curate(recipe_of(pictures), tmp_path, lake_dir, PREFECT_API_URL=server)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == lakes.open(lake_dir).head().digest
    (run,) = flow_runs(server, lake_dir)
    (flow,) = httpx.post(f"{server}/flows/filter", json={"flows": {"id": {"any_": [run["flow_id"]]}}}).json()
    assert (flow["name"], run["state_type"]) == ("curate", "COMPLETED")
    wanted = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    end = time.monotonic() + 60
    while True:  # the server records task runs from a stream of events, a moment later
        tasks = httpx.post(f"{server}/task_runs/filter", json=wanted, timeout=30).json()
        states = {task["name"].rsplit("-", 1)[0]: task["state_type"] for task in tasks}
        if states == dict.fromkeys(STEPS, "COMPLETED"):
            return
        assert time.monotonic() < end, states
        time.sleep(0.5)


def test_a_run_that_fails_is_failed_on_the_server_and_in_the_lake(server, recipe_of, tmp_path, lake_dir):
    missing = tmp_path / "nowhere"
    done = run_curate(recipe_of(missing), tmp_path, lake_dir, PREFECT_API_URL=server)
    assert done.returncode != 0
    (run,) = flow_runs(server, lake_dir)
    assert run["state_type"] == "FAILED"
    assert "SourceError" in run["state"]["message"] and str(missing) in run["state"]["message"]
    (row,) = lakes.open(lake_dir).runs()
    assert (row["status"], row["written_snapshot"]) == ("failed", "")
    assert row["message"].startswith("SourceError") and str(missing) in row["message"]
    assert lakes.open(lake_dir).head() is None


def test_without_a_server_a_run_brings_its_own(pictures, recipe_of, tmp_path, lake_dir):
    done = run_curate(recipe_of(pictures), tmp_path, lake_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == lakes.open(lake_dir).head().digest
