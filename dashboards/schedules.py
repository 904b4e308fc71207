"""What a Prefect server says of runs: what is due, what ran, what is at work. Asked over HTTP, and never waited for long."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

PATIENCE_S = 3.0  # with a server that does not answer
FRESH_S = 2.0  # how long an answer is repeated to whoever asks next
MOST = 200  # runs that are looked at
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
BROKEN = ("FAILED", "CRASHED")
SUMMARY = "run-summary"  # key of the artifact that every run of ours leaves


@dataclass(frozen=True)
class FlowRun:
    """A run as the server knows it.

    Args:
        name: As the server calls it.
        deployment: Name of its deployment; "" for one that was started by hand.
        flow: Name of its flow.
        state: Completed, Running, Late ...
        at: When it began, or is due.
        seconds: How long it has run.
        message: What the server says of its state.
        url: Its page in the Prefect UI.
    """

    name: str
    deployment: str
    flow: str
    state: str
    at: datetime | None
    seconds: float
    message: str
    url: str

    @property
    def is_broken(self) -> bool:
        """Whether it failed or crashed."""
        return self.state.upper() in BROKEN


@dataclass(frozen=True)
class Deployment:
    """A deployment with its last and its next run.

    Args:
        name: Its name.
        flow: Name of its flow.
        paused: It is paused, or all of its schedules are off.
        has_schedule: It runs at times; else upon events, or when asked.
        last: The run that ended last.
        next: The run that is due next.
        url: Its page in the Prefect UI.
    """

    name: str
    flow: str
    paused: bool
    has_schedule: bool
    last: FlowRun | None
    next: FlowRun | None
    url: str


@dataclass(frozen=True)
class Told:
    """What the server said.

    Args:
        trouble: Why nothing is known; "" where it answered.
        deployments: By name.
        running: Runs at work, the newest first.
        ended: Runs that ended, the newest first.
    """

    trouble: str = ""
    deployments: tuple[Deployment, ...] = ()
    running: tuple[FlowRun, ...] = ()
    ended: tuple[FlowRun, ...] = ()

    @property
    def alerts(self) -> list[str]:
        """What is wrong: deployments whose last run broke, and runs that are overdue."""
        found = [
            f"{one.name} ({one.flow}): its last run {one.last.state.lower()}: {one.last.message or 'no message'}"
            for one in self.deployments
            if one.last is not None and one.last.is_broken
        ]
        late = [one.next for one in self.deployments if one.next is not None and one.next.state == "Late"]
        return found + [
            f"{run.deployment}: due since {run.at:%Y-%m-%d %H:%M} UTC and not begun" for run in late if run.at
        ]


@dataclass(frozen=True)
class Schedules:
    """A Prefect server, asked when a page wants to know.

    Args:
        api: Address of its API, such as http://127.0.0.1:4200/api; None: no server is configured.
        headers: Sent along, such as an authorization.
        ui: Address of its pages, where it is not that of the API without /api.
    """

    api: str | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ui: str | None = None
    _last: list[tuple[float, Told]] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def page(self, *parts: str) -> str:
        """Return the address of a page of the Prefect UI; "" where no server is configured."""
        if self.api is None:
            return ""
        return "/".join([(self.ui or self.api.rstrip("/").removesuffix("/api")).rstrip("/"), *parts])

    def told(self) -> Told:
        """Return what the server says, or why it says nothing."""
        if self.api is None:
            said = "No Prefect server is configured: start `xmodal up`, or set PREFECT_API_URL before the dashboard."
            return Told(said)
        with self._lock:  # one asks, the others wait for its answer
            if self._last and time.monotonic() - self._last[0][0] < FRESH_S:
                return self._last[0][1]
            try:
                found = self._asked()
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                found = Told(f"The Prefect server at {self.api} does not answer ({type(error).__name__}).")
            self._last[:] = [(time.monotonic(), found)]
            return found

    def run_of(self, snapshot_id: str, began: datetime, ended: datetime) -> str:
        """Return the page of the run that left a summary of a snapshot in a span of time; "" where there is none."""
        if self.api is None or not snapshot_id:
            return ""
        try:
            with self._client() as client:
                wanted = {"artifacts": {"key": {"any_": [SUMMARY]}}, "sort": "CREATED_DESC", "limit": MOST}
                left = _posted(client, "artifacts/filter", wanted)
            for one in left:
                at = _time(one["created"])
                slack = 120  # seconds that a loaded server takes to note it down
                is_then = (
                    at is not None
                    and -1 <= (at - began).total_seconds() <= (ended - began).total_seconds() + slack
                )
                if one["description"] == snapshot_id and one["flow_run_id"] and is_then:
                    return self.page("runs", "flow-run", str(one["flow_run_id"]))
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return ""
        return ""

    def _client(self) -> httpx.Client:
        assert self.api is not None
        return httpx.Client(
            base_url=self.api.rstrip("/") + "/", headers=dict(self.headers), timeout=PATIENCE_S
        )

    def _asked(self) -> Told:
        with self._client() as client:
            deployments = _posted(client, "deployments/filter", {"limit": MOST})
            flows = {one["id"]: one["name"] for one in _posted(client, "flows/filter", {"limit": MOST})}
            names = {one["id"]: one["name"] for one in deployments}

            def runs(sort: str, *states: str) -> list[tuple[str | None, FlowRun]]:
                asked = {
                    "flow_runs": {"state": {"type": {"any_": list(states)}}},
                    "sort": sort,
                    "limit": MOST,
                }
                found = _posted(client, "flow_runs/filter", asked)
                return [(one["deployment_id"], self._run(one, flows, names)) for one in found]

            due = runs("NEXT_SCHEDULED_START_TIME_ASC", "SCHEDULED")
            ended = runs("END_TIME_DESC", *ENDED)
            at_work = runs("START_TIME_DESC", "RUNNING", "PENDING", "CANCELLING")
        found = [
            Deployment(
                one["name"], flows.get(one["flow_id"], ""),
                bool(one["paused"]) or bool(one["schedules"] and not any(each["active"] for each in one["schedules"])),
                bool(one["schedules"]), _first(ended, one["id"]), _first(due, one["id"]),
                self.page("deployments", "deployment", str(one["id"])),
            )
            for one in deployments
        ]  # fmt: skip
        return Told(
            "", tuple(sorted(found, key=lambda one: one.name)), tuple(run for _, run in at_work),
            tuple(run for _, run in ended[:10]),
        )  # fmt: skip

    def _run(self, one: dict[str, Any], flows: Mapping[str, str], names: Mapping[str, str]) -> FlowRun:
        state = one.get("state") or {}
        due = one.get("next_scheduled_start_time") or one["expected_start_time"]
        return FlowRun(
            one["name"], names.get(one["deployment_id"] or "", ""), flows.get(one["flow_id"], ""),
            str(state.get("name") or one["state_name"]), _time(one["start_time"] or due),
            float(one["estimated_run_time"] or 0), str(state.get("message") or "")[:500],
            self.page("runs", "flow-run", str(one["id"])),
        )  # fmt: skip


def _posted(client: httpx.Client, path: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(path, json=asked)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def _first(runs: list[tuple[str | None, FlowRun]], deployment_id: str) -> FlowRun | None:
    return next((run for of, run in runs if of == deployment_id), None)


def _time(said: str | None) -> datetime | None:
    return None if said is None else datetime.fromisoformat(said.replace("Z", "+00:00")).astimezone(UTC)
