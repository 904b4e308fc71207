"""Processes that are started, watched and ended: also those that die, hang, hide or will not go."""

import json
import os
import socket
import sys
import time

import psutil
import pytest

from flows.machine import Machine
from flows.services import Service, State
from schemas.errors import ServiceError

# Will not go when asked, and has a child in a group of its own that will not either.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
    print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def state(tmp_path) -> State:
    folder = tmp_path / "state"
    folder.mkdir()
    return State(folder)


def _service(*arguments: str, is_healthy=lambda since: False) -> Service:
    return Service("one", (sys.executable, *arguments), dict(os.environ), "", is_healthy)


def test_one_that_dies_is_reported_with_the_end_of_its_log(state):
    lines = "import sys; [print('line', n) for n in range(100)]; sys.exit('the disk is on fire')"
    service = _service("-c", lines)
    with pytest.raises(ServiceError, match="one has died") as caught:
        state.wait(service, state.start(service), seconds=60, say=lambda line: None)
    said = str(caught.value).splitlines()
    assert "the disk is on fire" in said and "line 99" in said and "line 50" not in said
    assert state.running("one") is None


def test_one_that_does_not_answer_is_reported_and_goes_on(state):
    service = _service("-c", "import time; time.sleep(600)")
    started = state.start(service)
    with pytest.raises(ServiceError, match="does not answer after 1 s"):
        state.wait(service, started, seconds=0.6, say=lambda line: None)
    assert state.running("one") == started
    assert state.stop("one", grace_s=10) and state.running("one") is None
    assert not state.stop("one", grace_s=10)


def test_one_that_will_not_go_is_killed_with_all_it_started(state, tmp_path):
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    started = state.start(_service(str(script)))
    end = time.monotonic() + 30
    while not (said := state.log("one").read_text()).strip():
        assert time.monotonic() < end
        time.sleep(0.05)
    child = psutil.Process(int(said))
    assert state.stop("one", grace_s=1)
    for pid in (started.pid, child.pid):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_number_that_went_to_another_process_is_left_alone(state):
    own = psutil.Process()
    file = state.folder / "one.pid"
    file.write_text(json.dumps({"name": "one", "pid": own.pid, "created": own.create_time() - 60, "url": ""}))
    assert state.running("one") is None
    assert not state.stop("one", grace_s=1)
    assert not file.exists()


def test_a_pid_file_cut_short_says_nothing(state):
    (state.folder / "one.pid").write_text('{"name": "one", "pid"')
    assert state.found("one") is None


def test_two_commands_do_not_work_in_one_folder(state):
    with state.held(), pytest.raises(ServiceError, match="another"), State(state.folder).held():
        pass


def _machine(state: State, **changes) -> Machine:
    fields = {
        "lake": "lake",
        "dask": None,
        "prefect": None,
        "prefect_port": 1,
        "port": 1,
        "deployments": None,
    }
    return Machine(state, **fields | changes)


def test_a_port_that_is_taken_is_named_and_nothing_is_started(state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port} is taken"):
            _machine(state, port=port).up(print)
    assert list(state.folder.glob("*.pid")) == []


def test_a_server_elsewhere_that_does_not_answer_is_named_and_nothing_is_started(state):
    with pytest.raises(ServiceError, match="no Prefect server answers at http://127.0.0.1:9/api"):
        _machine(state, prefect="http://127.0.0.1:9/api").up(print)
    assert list(state.folder.glob("*.pid")) == []


def test_a_cluster_and_a_server_elsewhere_are_passed_on(state):
    machine = _machine(state, prefect="http://prefect:4200/api/", dask="tcp://scheduler:8786")
    where = machine.environment
    assert (
        where["PREFECT_API_URL"] == "http://prefect:4200/api"
        and where["XMODAL_DASK"] == "tcp://scheduler:8786"
    )
    assert where["DO_NOT_TRACK"] == "1" and where["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert where.get("PREFECT_HOME") == os.environ.get("PREFECT_HOME")
