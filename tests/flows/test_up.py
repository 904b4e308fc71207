"""One machine with everything up: schedules fire by themselves, failures are told, and `down` leaves nothing behind."""

import http.server
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from flows.services import State
from storage import lake as lakes
from tests.conftest import write_picture

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Home:
    """A machine's folder, its ports, and how to call the command line there."""

    folder: Path
    port: int
    prefect_port: int

    @property
    def lake(self) -> str:
        return str(self.folder / "lake")

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}/api"

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        ours = {"XMODAL_STATE": str(self.folder / "state"), "XMODAL_LAKE": self.lake}
        return clean | ours | {"PYTHONPATH": str(REPOSITORY), "PREFECT_WORKER_QUERY_SECONDS": "2"}

    def xmodal(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "flows.cli.app", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )

    def up(self) -> str:
        ports = ("--port", str(self.port), "--prefect-port", str(self.prefect_port))
        done = self.xmodal("up", *ports, "--deployments", str(self.folder / "prefect.yaml"), "--limit", "5")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def processes(self) -> dict[int, str]:
        """Every process whose environment names the state folder, found without our pid files."""
        found = {}
        for process in psutil.process_iter():
            try:
                if process.environ().get("XMODAL_STATE") == str(self.folder / "state"):
                    found[process.pid] = " ".join(process.cmdline())
            except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def ask(self, path: str, **body: Any) -> Any:
        """Ask as Prefect's own client does: 503 says that its database was busy and that nothing was done."""
        end = time.monotonic() + 60
        while (answer := httpx.post(f"{self.api}/{path}", json=body, timeout=30)).status_code == 503:
            assert time.monotonic() < end, answer.text
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        answer.raise_for_status()
        return answer.json()

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of a flow that have begun, newest first."""
        begun = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
        return self.ask(
            "flow_runs/filter", flows={"name": {"any_": [name]}}, flow_runs=begun, sort="START_TIME_DESC"
        )


def _soon(what: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what is true at last."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.5)
    return found


def _tasks_of(home: Home, run: dict[str, Any]) -> dict[str, str]:
    tasks = home.ask("task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
    return {task["name"].rsplit("-", 1)[0]: task["state_name"] for task in tasks}


def _page(address: str) -> str:
    answer = httpx.get(address, headers={"accept": "text/html"}, timeout=60)
    answer.raise_for_status()
    return answer.text


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, recipe_of) -> Iterator[Home]:
    """A machine that is up, with prefect.yaml's deployments over four pictures, due every few seconds."""
    home = Home(tmp_path_factory.mktemp("machine"), _free_port(), _free_port())
    for seed in range(4):
        write_picture(home.folder / "media" / f"{seed}.png", seed).with_suffix(".txt").write_text(
            f"picture number {seed} of four"
        )
    recipe = recipe_of(home.folder / "media", tag="latest").model_dump(mode="json")
    file = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    entries = {entry["name"]: entry for entry in file["deployments"]}
    for name in ("nightly", "hourly"):
        entries[name]["parameters"]["recipe"] = recipe
    entries["hourly"]["schedules"] = [{"interval": 15, "active": True}]
    file["deployments"].append(
        file["definitions"]["after_a_curation"]
        | {"name": "after", "entrypoint": "flows.maintain:maintain", "parameters": {"keep": 3}}
    )
    (home.folder / "prefect.yaml").write_text(yaml.safe_dump(file))
    try:
        home.up()
        yield home
    finally:
        home.xmodal("down")


def test_a_scheduled_run_makes_a_snapshot_and_shows_what_it_did(home):
    head = _soon(lambda: lakes.open(home.lake).head())
    run = _soon(lambda: next((run for run in home.runs("curate") if run["state_type"] == "COMPLETED"), None))
    refreshes = {one["id"]: one for one in home.runs("refresh")}
    (task,) = home.ask("task_runs/filter", task_runs={"id": {"any_": [run["parent_task_run_id"]]}})
    parent = refreshes[task["flow_run_id"]]
    assert parent["auto_scheduled"] and parent["created_by"]["type"] == "SCHEDULE"
    assert head.row_counts["media"] == 4 and lakes.open(home.lake).snapshot("latest").row_counts["media"] == 4
    _soon(lambda: _tasks_of(home, run).get("hold") == "Completed")  # it would have waited for a busy lake
    shown = {
        artifact["key"]: artifact
        for artifact in home.ask("artifacts/filter", flow_runs={"id": {"any_": [run["id"]]}})
    }
    assert {key: artifact["type"] for key, artifact in shown.items()} == {
        "run-summary": "markdown",
        "run-costs": "table",
    }
    assert "| items | 4 | 4 | 0 | 0 | 0 |" in shown["run-summary"]["data"]
    assert head.snapshot_id in shown["run-summary"]["data"] and "latest" in shown["run-summary"]["data"]
    costs = json.loads(shown["run-costs"]["data"])
    (row,) = [row for row in lakes.open(home.lake).runs() if row["flow"] == "curate"]
    pages = f"http://127.0.0.1:{home.port}"  # the dashboard that came up with the rest
    hourly = re.compile(
        r">hourly</a>[^\n]*>Completed<[^\n]*>(Scheduled|Pending|Late)<"
    )  # its last run, its next run
    _soon(lambda: hourly.search(_page(f"{pages}/schedules")))  # the run that began the curation ends after it
    linked = _page(f"{pages}/runs/{row['run_id']}/prefect")
    assert f"{home.api.removesuffix('/api')}/runs/flow-run/{run['id']}" in linked
    assert costs[:-1] == json.loads(row["costs"])  # each step as the lake records it, then their sum
    assert costs[-1]["step"] == "all"


def test_what_follows_a_curation_follows_it(home):
    run = _soon(lambda: next((run for run in home.runs("maintain") if run["end_time"]), None))
    assert run["state_type"] == "COMPLETED" and run["created_by"]["type"] == "AUTOMATION"


def test_a_source_that_stays_as_it_is_leaves_no_record(home):
    _soon(lambda: len([run for run in home.runs("refresh") if run["state_type"] == "COMPLETED"]) >= 2)
    assert len([row for row in lakes.open(home.lake).runs() if row["flow"] == "curate"]) == 1


def test_up_again_starts_nothing(home):
    names = ("server", "worker", "dashboard")
    before = {name: State(home.folder / "state").running(name) for name in names}
    said = home.up()
    assert {name: State(home.folder / "state").running(name) for name in names} == before
    assert said.count("was up") == 3
    status = home.xmodal("up", "--status", "--json")
    assert status.returncode == 0
    assert [row["state"] for row in json.loads(status.stdout)] == ["running"] * 3
    assert httpx.get(f"http://127.0.0.1:{home.port}/health", timeout=30).json()["lake"] == home.lake


@pytest.fixture
def webhook() -> Iterator[tuple[str, "queue.Queue[tuple[str, dict[str, Any]]]"]]:
    """A server that keeps what is posted to it, and its address."""
    told: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    class Keeping(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.put((self.headers["Content-Type"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keeping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", told
        server.shutdown()


def test_failures_are_told_to_a_webhook(home, webhook):
    url, told = webhook
    for occasion in ("failed-run", "failed-gate", "failed-gate"):  # the second time changes nothing
        added = home.xmodal("notify", "add", "--webhook", url, "--on", occasion)
        assert added.returncode == 0, added.stderr
    listed = json.loads(home.xmodal("notify", "list", "--json").stdout)
    assert [one["occasion"] for one in listed] == ["failed-gate", "failed-run"]
    assert url not in json.dumps(listed)

    facts = {"message": 'gate "texts" failed: 7 of 9', "table": "texts"}
    emit = f"from tasks.events import GATE_FAILED, emit; assert emit(GATE_FAILED, lake={home.lake!r}, payload={facts!r})"
    where = home.environment | {"PREFECT_API_URL": home.api}
    subprocess.run([sys.executable, "-c", emit], env=where, check=True, timeout=120)
    kind, said = told.get(timeout=90)
    assert kind == "application/json"
    assert said == {"occasion": "failed-gate", "text": facts["message"], "lake": home.lake, "facts": facts}

    (nightly,) = home.ask("deployments/filter", deployments={"name": {"any_": ["nightly"]}})
    recipe = nightly["parameters"]["recipe"]
    recipe["sources"][0]["location"] = str(home.folder / 'no "such" folder')
    run = home.ask(f"deployments/{nightly['id']}/create_flow_run", parameters={"recipe": recipe})
    _, said = told.get(timeout=90)
    assert (said["occasion"], said["flow"], said["run_id"]) == ("failed-run", "curate", run["id"])
    assert "SourceError" in said["message"] and 'no "such" folder' in said["message"]
    assert said["text"].startswith(f"Run {run['name']} of curate: Failed.")

    for one in listed:
        assert home.xmodal("notify", "remove", one["name"]).returncode == 0
    assert json.loads(home.xmodal("notify", "list", "--json").stdout) == []


def test_a_second_run_of_a_deployment_waits_or_is_skipped_and_both_wait_for_the_lake(home):
    found = home.ask("deployments/filter", deployments={"name": {"any_": ["daily", "after"]}})
    ids = {deployment["name"]: deployment["id"] for deployment in found}

    def started(name: str) -> dict[str, Any]:
        return home.ask(f"deployments/{ids[name]}/create_flow_run")

    def now(run: dict[str, Any]) -> str:
        return httpx.get(f"{home.api}/flow_runs/{run['id']}", timeout=30).json()["state_name"]

    with lakes.open(home.lake).writer():
        first = {name: started(name) for name in ids}
        _soon(lambda: all(_tasks_of(home, run).get("hold") == "AwaitingRetry" for run in first.values()))
        second = {name: started(name) for name in ids}
        _soon(lambda: now(second["daily"]) == "Cancelled")
        _soon(lambda: now(second["after"]) == "AwaitingConcurrencySlot")
        assert {now(run) for run in first.values()} == {"Running"}
    _soon(lambda: {now(run) for run in first.values()} == {"Completed"})
    _soon(lambda: now(second["after"]) == "Completed")


def test_down_leaves_no_process_not_even_a_run_that_waits_and_has_lost_its_worker(home):
    """The run waits for the lake, which is held here."""
    (daily,) = home.ask("deployments/filter", deployments={"name": {"any_": ["daily"]}})
    with lakes.open(home.lake).writer():
        run = home.ask(f"deployments/{daily['id']}/create_flow_run")
        _soon(lambda: _tasks_of(home, run).get("hold") == "AwaitingRetry")
        os.kill(State(home.folder / "state").running("worker").pid, signal.SIGKILL)
        status = home.xmodal("up", "--status", "--json")
        assert status.returncode == 1
        assert [row["state"] for row in json.loads(status.stdout)] == ["running", "ended", "running"]
        _down(home)


def _down(home: Home) -> None:
    assert len(home.processes()) >= 3
    began = time.monotonic()
    done = home.xmodal("down")
    assert done.returncode == 0, done.stderr
    assert home.processes() == {} and time.monotonic() - began < 60
    assert list((home.folder / "state").glob("*.pid")) == []
    assert home.xmodal("down").stdout == ""
    status = json.loads(home.xmodal("up", "--status", "--json").stdout)
    assert [row["state"] for row in status] == ["not started"] * 3
