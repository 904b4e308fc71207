"""What one machine runs for scheduled work: a Prefect server, a worker, prefect.yaml's deployments, the HTTP door."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

import flows
from flows.services import Running, Service, State, end, is_free
from schemas.digests import key
from schemas.errors import ServiceError

SERVER, WORKER, DASHBOARD = "server", "worker", "dashboard"
ORDER = (SERVER, WORKER, DASHBOARD)
HOST = "127.0.0.1"
_QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}  # nothing is told to anyone


@dataclass(frozen=True)
class Machine:
    """Where things are.

    Args:
        state: Folder of pid files, logs and Prefect's database.
        lake: The lake that the dashboard shows and runs write to.
        dask: Address of a Dask scheduler for runs; None: each starts its own cluster.
        prefect: API of a server that is there already; None: start one.
        prefect_port: Port of the server.
        port: Port of the dashboard.
        deployments: File of deployments; None: there are none to register.
        limit: Runs at once.
        wait_s: Longest wait for a service to answer.
    """

    state: State
    lake: str
    dask: str | None
    prefect: str | None
    prefect_port: int
    port: int
    deployments: Path | None
    limit: int = 2
    wait_s: float = 300.0

    def up(self, say: Callable[[str], None]) -> str:
        """Start what does not run, register the deployments, and return the Prefect API's address.

        Raises:
            ServiceError: Something does not start; what did start goes on running.
        """
        with self.state.held():
            if self.prefect is not None and not _answers(f"{self.api}/health"):
                raise ServiceError(f"no Prefect server answers at {self.api}")
            dashboard = self._dashboard()
            begun = self._begin(dashboard, self.port, say)
            if self.prefect is None:
                server = self._server()
                self._await(server, self._begin(server, self.prefect_port, say), say)
            else:
                say(f"{SERVER}: {self.api}, not ours")
            worker = self._worker()
            self._await(worker, self._begin(worker, None, say), say)
            self._register(say)
            self._await(dashboard, begun, say)
        return self.api

    @property
    def api(self) -> str:
        """Address of the Prefect API."""
        if self.prefect is not None:
            return self.prefect.rstrip("/")
        running = self.state.running(SERVER)
        return running.url if running else f"http://{HOST}:{self.prefect_port}/api"

    @property
    def environment(self) -> Mapping[str, str]:
        """What every process is started with."""
        ours = {
            **_QUIET,
            "PREFECT_API_URL": self.api,
            "XMODAL_LAKE": self.lake,
            "XMODAL_DASK": self.dask or "",
            "XMODAL_STATE": str(self.state.folder),
            "PWD": os.getcwd(),
            "PYTHONUNBUFFERED": "1",
        }
        if self.prefect is None:  # another server's address and keys may stand in the user's own profile
            ours["PREFECT_HOME"] = str(self.state.folder / "prefect")
        return {**os.environ, **ours}

    @property
    def pool(self) -> str:
        """The work pool of the deployments.

        Raises:
            ServiceError: They name several.
        """
        pools = (entry.get("work_pool", {}).get("name") for entry in self._entries())
        named = {name for name in pools if name} or {"xmodal"}
        if len(named) > 1:
            raise ServiceError(
                f"{self.deployments} names the work pools {', '.join(sorted(named))}; one worker serves one"
            )
        return named.pop()

    def _entries(self) -> list[dict[str, dict[str, str]]]:
        if self.deployments is None:
            return []
        return (yaml.safe_load(self.deployments.read_text(encoding="utf-8")) or {}).get("deployments") or []

    def _server(self) -> Service:
        command = (sys.executable, "-m", "prefect", "server", "start")
        place = ("--host", HOST, "--port", str(self.prefect_port))
        return Service(SERVER, command + place, self.environment, self.api, lambda _: _answers(f"{self.api}/health"))  # fmt: skip

    def _worker(self) -> Service:
        name = f"{socket.gethostname()}-{key(str(self.state.folder))[:6]}"
        command = (
            sys.executable,
            "-m",
            "prefect",
            "worker",
            "start",
            "--pool",
            self.pool,
            "--type",
            "process",
        )
        more = ("--name", name, "--limit", str(self.limit))
        return Service(WORKER, command + more, self.environment, "", lambda since: self._is_online(name, since))  # fmt: skip

    def _dashboard(self) -> Service:
        running = self.state.running(DASHBOARD)
        url = running.url if running else f"http://{HOST}:{self.port}"
        command = (sys.executable, "-m", "flows.cli.app", "dashboard", "--lake", self.lake)
        place = ("--host", HOST, "--port", str(self.port))
        return Service(DASHBOARD, command + place, self.environment, url, lambda _: _answers(f"{url}/health"))

    def _begin(self, service: Service, port: int | None, say: Callable[[str], None]) -> tuple[Running, bool]:
        """Return the service, started unless it runs, and whether it was."""
        if running := self.state.running(service.name):
            return running, False
        if port is not None and not is_free(HOST, port):
            raise ServiceError(f"port {port} is taken, so {service.name} cannot have it; name another one")
        say(f"{service.name}: starting")
        return self.state.start(service), True

    def _await(self, service: Service, begun: tuple[Running, bool], say: Callable[[str], None]) -> None:
        running, is_new = begun
        self.state.wait(service, running, seconds=self.wait_s, say=say)
        after = f"up after {time.time() - running.created:.0f} s" if is_new else "was up"
        say(
            " ".join(part for part in (f"{service.name}:", service.url, f"pid {running.pid},", after) if part)
        )

    def _is_online(self, name: str, since: float) -> bool:
        """Whether our worker has told the server that it lives, since it was started."""
        wanted = {"workers": {"last_heartbeat_time": {"after_": _iso(since)}}}
        try:
            answer = httpx.post(f"{self.api}/work_pools/{self.pool}/workers/filter", json=wanted, timeout=5)
            return answer.status_code == 200 and any(
                worker["name"] == name and worker["status"] == "ONLINE" for worker in answer.json()
            )
        except httpx.HTTPError:
            return False

    def _register(self, say: Callable[[str], None]) -> None:
        """Register the file's deployments. What it says replaces what the server was told before."""
        entries = self._entries()
        if not entries:
            say("deployments: none to register")
            return
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(
            [*command, "--prefect-file", str(self.deployments)],
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.wait_s,
            check=False,
        )
        self.state.log("deploy").write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).strip().splitlines()[-20:]
            raise ServiceError("\n".join([f"{self.deployments} cannot be registered:", *lines]))
        say(f"deployments: {', '.join(str(entry['name']) for entry in entries)}")


def down(state: State, *, grace_s: float, say: Callable[[str], None]) -> None:
    """Stop what `up` started, the worker first, so that no run loses its server."""
    with state.held():
        for name in (WORKER, DASHBOARD, SERVER):
            found = state.found(name)
            if state.stop(name, grace_s=grace_s):
                say(f"{name}: stopped")
            elif found is not None:
                say(f"{name}: had ended")
        if strays := state.strays():
            end(strays, grace_s=grace_s)
            say("runs whose worker had ended: stopped")


def file_of_deployments() -> Path | None:
    """Return prefect.yaml in the working folder, or of the checkout that this code is."""
    places = (Path.cwd(), Path(flows.__file__).resolve().parent.parent)
    return next((place / "prefect.yaml" for place in places if (place / "prefect.yaml").is_file()), None)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
