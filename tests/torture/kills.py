"""Processes killed at points drawn from a seed: the same seed kills the same process at the same point."""

import json
import os
import random
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from storage import lake as lakes
from tests.flows.conftest import content
from tests.flows.test_dask import Cluster
from tests.torture.nest import Started
from tests.torture.world import (
    Case,
    Lost,
    PrefectServer,
    World,
    free_port,
    left_in_lake,
    left_in_scratch,
    left_running,
    once,
    until,
)

LIMIT_S = 240  # that a run may take to end by itself once something it needs is gone
# Who dies, by seed modulo 20.
VICTIMS = (
    "driver", "worker", "driver", "dashboard writer", "driver", "driver", "scheduler", "driver", "Prefect server",
    "driver", "worker", "dashboard writer", "driver", "own cluster's driver", "driver", "worker", "Prefect server",
    "scheduler", "dashboard writer", "driver",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Args:
        seed: The run's.
        victim: Who was killed.
        point: When: an event, or a share of the undisturbed run's time.
        fell: What the victim's death did to the run: killed, failed, went on, had ended.
        seen: What readers of the tag saw then: before, after or nothing.
        lost: What did not hold; "" if everything did.
        wall_s: Seconds of the whole case.
    """

    seed: int
    victim: str
    point: str
    fell: str
    seen: str
    lost: str
    wall_s: float


class Killer:
    """Kills by seed, with a cluster and a second Prefect server that are started when first needed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._cluster: Cluster | None = None
        self._clusters = 0
        self._server: PrefectServer | None = None

    def run(self, seed: int, victim: str | None = None) -> Outcome:
        """Do one run and say what became of it."""
        rng = random.Random(seed)
        whom = victim or VICTIMS[seed % len(VICTIMS)]
        start, media = rng.choice(("earlier", "earlier", "empty")), rng.choice(("reference", "store"))
        if whom == "dashboard writer":
            start = "earlier"
        case = Case(self.world, f"kill-{seed}", start, media)
        clock = time.monotonic()
        found = {"point": "", "fell": "", "seen": "", "lost": ""}
        try:
            getattr(self, "_" + re.sub(r"\W+", "_", whom).lower())(case, rng, found)
        except (Lost, AssertionError, TimeoutError, httpx.HTTPError) as error:
            found["lost"] = f"{type(error).__name__}: {error}"
        outcome = Outcome(seed, whom, **found, wall_s=time.monotonic() - clock)
        if not outcome.lost:
            case.remove()
        return outcome

    def stop(self) -> None:
        """End what was started."""
        if self._cluster is not None:
            self._cluster.stop()
        if self._server is not None:
            self._server.kill()

    # The victims

    def _driver(self, case: Case, rng: random.Random, found: dict[str, str]) -> None:
        if rng.random() < 0.5:
            events = self.world.events[case.start]
            number = rng.randrange(len(events))
            found["point"] = f"{case.start}: {events[number]}"
            self._fell(case, case.run(kill=(number, None)), found)
        else:
            share = rng.random()
            found["point"] = f"{case.start}: {share:.3f} of the time"
            begun = case.run()
            self._kill_after(begun, share * self.world.duration_s[case.start], begun.kill)
            self._fell(case, begun, found)
        case.check_recovery(twice=rng.random() < 0.25)

    def _own_cluster_s_driver(self, case: Case, rng: random.Random, found: dict[str, str]) -> None:
        begun, shards = self._finer(case, XMODAL_WORKERS="2"), rng.randrange(1, 9)
        found["point"] = f"{case.start}: {shards} shards inspected"
        self._kill_after_shards(case, begun, shards, begun.kill)
        self._fell(case, begun, found)
        case.check_recovery(twice=rng.random() < 0.25)

    def _worker(self, case: Case, rng: random.Random, found: dict[str, str]) -> None:
        cluster = self._with_cluster()
        begun, shards, which = (
            self._finer(case, XMODAL_DASK=self._address()),
            rng.randrange(1, 9),
            rng.randrange(2),
        )
        victims = workers_of(cluster)
        found["point"] = f"{case.start}: {shards} shards inspected, worker {which}"
        victim = victims[which % len(victims)]
        self._kill_after_shards(case, begun, shards, lambda: os.kill(victim, signal.SIGKILL))
        self._fell(case, begun, found)
        until(lambda: len(workers_of(cluster)) == 2, 120, 0.2)
        case.check_recovery(twice=rng.random() < 0.25)

    def _scheduler(self, case: Case, rng: random.Random, found: dict[str, str]) -> None:
        cluster = self._with_cluster()
        begun, shards = self._finer(case, XMODAL_DASK=self._address()), rng.randrange(1, 9)
        found["point"] = f"{case.start}: {shards} shards inspected"
        self._kill_after_shards(
            case, begun, shards, lambda: os.kill(cluster.processes[0].pid, signal.SIGKILL)
        )
        self._fell(case, begun, found)
        cluster.stop()
        self._cluster = None
        case.check_recovery(twice=rng.random() < 0.25)

    def _prefect_server(self, case: Case, rng: random.Random, found: dict[str, str]) -> None:
        self._server = self._server or PrefectServer(self.world.root / "prefect-victim")
        if self._server.process is None:
            self._server.start()
        server, events = self._server, self.world.events[case.start]
        assert server.process is not None
        if rng.random() < 0.5:
            number = rng.randrange(len(events))
            found["point"] = f"{case.start}: {events[number]}"
            begun = case.run(kill=(number, server.process.pid), PREFECT_API_URL=server.url)
        else:
            share = rng.random()
            found["point"] = f"{case.start}: {share:.3f} of the time"
            begun = case.run(PREFECT_API_URL=server.url)
            seconds = share * self.world.duration_s[case.start]
            self._kill_after(begun, seconds, lambda: os.kill(server.process.pid, signal.SIGKILL))
        self._fell(case, begun, found)
        server.kill()
        server.start()
        case.check_recovery(twice=False, PREFECT_API_URL=server.url)

    def _dashboard_writer(self, case: Case, rng: random.Random, found: dict[str, str]) -> None:
        """Verdicts that the page has taken must each reach the lake once, whenever the server dies."""
        case.run().wait()
        lake = lakes.open(case.uri)
        rows = lake.read(
            "pairs", columns=["pair_id", "kept", "present"], where="present AND kept"
        ).to_pylist()
        pairs = sorted(row["pair_id"] for row in rows)
        chosen = rng.sample(pairs, 6)
        said = {pair: rng.choice(("accept", "reject")) for pair in chosen}
        killed_at = rng.randrange(1, 60)
        by_event = rng.random() < 0.5
        delay_s = rng.uniform(0.0, 6.0)
        found["point"] = (
            f"event {killed_at} of its writer" if by_event else f"{delay_s:.2f} s after the last verdict"
        )
        taken = 0
        base = {name: rows for name, rows in content(case.uri).items() if name not in ("verdicts",)}
        port = free_port()
        kill = (str(case.folder / "writer-events"), killed_at if by_event else None, None)
        server = self.world.nest.start("dashboard", env=case.env, kill=kill, lake=case.uri, port=port)
        with suppress(httpx.HTTPError):
            taken = judge(port, said, server)
        if not by_event:
            time.sleep(delay_s)
            server.kill()
        elif server.ended(30) is None:
            server.kill()
        server.wait(30)
        found["fell"] = "killed"
        # What readers see is whole: the tables of a snapshot agree on who was judged.
        seen = said_in(lake, "latest")
        if not seen.items() <= said.items():
            raise Lost(f"the lake says {seen}, which nobody said")
        found["seen"] = f"{len(seen)} of {taken} taken"
        port = free_port()
        server = self.world.nest.start("dashboard", env=case.env, lake=case.uri, port=port)
        wanted = dict(list(said.items())[:taken])
        try:
            answers(port, server)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                client.get("/review")
            judge(
                port, dict(list(said.items())[taken:]), server
            )  # the person goes on; this also wakes the journal
            until(lambda: said_in(lake, "latest").items() >= said.items(), 180, 0.2)
            until(lambda: not open_entries(case.lake), 60, 0.2)
        finally:
            server.kill()
            server.wait(30)
        if wanted.items() - said_in(lake).items():
            raise Lost("a verdict that the page had taken is not in the lake")
        verdicts = lake.read("verdicts").to_pylist()
        active = [row["subject_id"] for row in verdicts if row["active"]]
        if len(active) != len(set(active)) or set(active) != set(said):
            raise Lost(f"{len(active)} active verdicts of {len(set(active))} pairs, wanted {len(said)}")
        self._check_untouched(case, base, said)
        tidied = self.world.nest.start("tidy", env=case.env, lake=case.uri)
        if tidied.wait() != 0:
            raise Lost(f"maintain failed: {tidied.result}")
        once(lake)
        if left := [*left_in_lake(lake), *left_in_scratch(case.scratch), *left_running(case.name)]:
            raise Lost(f"left behind: {', '.join(left[:5])} ({len(left)})")

    # What they share

    def _check_untouched(self, case: Case, base: dict[str, Any], said: dict[str, str]) -> None:
        """See that verdicts changed the pairs they speak of, as they say, and nothing else."""
        now = content(case.uri, "latest")
        for table, rows in base.items():
            if table != "pairs" and rows != now[table]:
                raise Lost(f"a verdict of a pair changed {table}")
        for old, new in zip(base["pairs"], now["pairs"], strict=True):
            verdict = said.get(new["pair_id"])
            wanted = old["kept"] if verdict is None else verdict == "accept"
            if new["kept"] is not wanted:
                raise Lost(f"pair {new['pair_id']} is kept={new['kept']} after {verdict}")

    def _finer(self, case: Case, **env: str) -> Started:
        return self.world.nest.start(
            "run", env=case.env | env, recipe=str(self.world.finer_file), lake=case.uri
        )

    def _kill_after(self, begun: Started, seconds: float, kill: Callable[[], None]) -> None:
        if begun.ended(seconds) is None:
            kill()

    def _kill_after_shards(self, case: Case, begun: Started, shards: int, kill: Callable[[], None]) -> None:
        def there() -> bool:
            done = len(list(case.lake.glob("_staging/*/inspected/done/*.arrow")))
            return done >= shards or begun.ended() is not None

        until(there, 240)
        if begun.ended() is None:
            kill()

    def _fell(self, case: Case, begun: Started, found: dict[str, str]) -> None:
        """Wait for the run's end and look at the lake as readers do."""
        clock = time.monotonic()
        status = begun.wait(LIMIT_S)
        took = time.monotonic() - clock
        found["fell"] = "killed" if status < 0 else "went on"
        if status > 0:
            found["fell"] = f"failed after {took:.0f} s: {begun.result.get('error')}"
        found["seen"] = case.check_readers()

    def _with_cluster(self) -> Cluster:
        if self._cluster is None:
            self._clusters += 1
            folder = self.world.root / f"cluster-{self._clusters}"
            folder.mkdir()
            self._cluster = Cluster(folder)
            self._cluster.worker("one")
            self._cluster.worker("two")
            with self._cluster.client(2):
                pass
        return self._cluster

    def _address(self) -> str:
        assert self._cluster is not None
        return str(json.loads(self._cluster.file.read_text())["address"])


def workers_of(cluster: Cluster) -> list[int]:
    """Return the process numbers of a cluster's workers, which their nannies started."""
    found = []
    for nanny in cluster.processes[1:]:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(nanny.pid).children():
                with suppress(psutil.NoSuchProcess):
                    if "spawn_main" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                        found.append(child.pid)
    return found


def answers(port: int, server: Started) -> None:
    """Wait until the dashboard answers."""

    def reached() -> bool:
        if server.ended() is not None:
            raise Lost(f"the dashboard ended: {server.log.read_text()[-800:]}")
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
        return False

    until(reached, 120, 0.1)


def judge(port: int, said: dict[str, str], server: Started) -> int:
    """Give verdicts as the page does, and return how many the server took before it was gone."""
    answers(port, server)
    taken = 0
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        page = client.get("/versions").text
        match = re.search(r'<meta name="csrf" content="(\w+)">', page)
        assert match is not None
        for pair, verdict in said.items():
            form = {"pair_id": pair, "say": verdict, "person": "tester"}
            try:
                answer = client.post("/review/verdict", data=form, headers={"x-csrf-token": match[1]})
            except httpx.HTTPError:
                return taken
            if answer.status_code != 200:
                raise Lost(f"a verdict was refused: {answer.status_code} {answer.text[:200]}")
            taken += 1
    return taken


def said_in(lake: lakes.Lake, at: str | None = None) -> dict[str, str]:
    """Return {pair: accept or reject} of the active verdicts of a snapshot."""
    if "verdicts" not in lake.tables(at):
        return {}
    rows = lake.read("verdicts", at=at).to_pylist()
    said = {"keep": "accept", "drop": "reject"}
    return {row["subject_id"]: said[row["verdict"]] for row in rows if row["active"]}


def open_entries(lake: Path) -> int:
    """Return how many verdicts are written down and not in the lake."""
    with closing(sqlite3.connect(lake / "_verdicts.sqlite")) as db:
        return int(
            db.execute(
                "SELECT count(*) FROM entries WHERE status NOT IN ('written', 'taken back')"
            ).fetchone()[0]
        )
