"""A run that starts a Prefect server of its own takes it along when it is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import write_picture

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
DIE = """
import os, signal, sys
from flows import hold
from prefect import flow
from storage import lake as lakes

@flow
def die():
    with hold.writer(lakes.open(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGKILL)

die()
"""


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("XMODAL_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    "ahead", ["", "from flows import ephemeral; ephemeral.ahead()"], ids=["prefect's", "ours"]
)
def test_a_killed_run_leaves_no_server_behind(tmp_path, ahead):
    run = subprocess.run(
        [sys.executable, "-c", ahead + DIE, str(tmp_path / "lake")],
        env=alone(tmp_path),
        check=False,
        timeout=300,
    )
    assert run.returncode == -signal.SIGKILL
    assert left_of(tmp_path) == []


def test_a_command_begins_its_server_before_it_imports_prefect_and_takes_it_along(tmp_path):
    write_picture(tmp_path / "pictures" / "one.png", 1)
    command = [sys.executable, "-m", "flows.cli.app", "ingest", str(tmp_path / "pictures")]
    run = subprocess.run(
        [*command, "--lake", str(tmp_path / "lake")],
        env=alone(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert left_of(tmp_path, wait_s=0) == []
    with sqlite3.connect(tmp_path / "home" / "prefect.db") as database:
        assert database.execute("SELECT state_type, count(*) FROM flow_run GROUP BY 1").fetchall() == [
            ("COMPLETED", 1)
        ]


def test_a_command_whose_server_cannot_start_says_so(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "prefect.db").write_text("no database")
    write_picture(tmp_path / "pictures" / "one.png", 1)
    command = [sys.executable, "-m", "flows.cli.app", "ingest", str(tmp_path / "pictures")]
    run = subprocess.run(
        [*command, "--lake", str(tmp_path / "lake")],
        env=alone(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 1
    last = run.stderr.rstrip().splitlines()[-1]
    assert last.startswith("xmodal: ServiceError: the Prefect server of this run has ended")
    assert f"({tmp_path / 'home'})" in last
    assert left_of(tmp_path, wait_s=0) == []


BEGIN = """
import os, sys
from flows import ephemeral
ephemeral.ahead()
import prefect
url = str(prefect.settings.get_current_settings().api.url)
print("prefect.server" in sys.modules, url if url != os.environ.get("PREFECT_API_URL") else "ahead")
"""
ELSEWHERE = "http://elsewhere:4200/api"


@pytest.mark.parametrize(
    ("file", "text", "env", "said"),
    [
        (None, "", {}, "ahead"),
        (None, "", {"PREFECT_API_URL": ""}, "ahead"),
        (".env", "OTHER=1", {}, "ahead"),
        ("pyproject.toml", "[project]", {}, "ahead"),
        ("pyproject.toml", f'[tool.prefect]\napi.url = "{ELSEWHERE}"', {}, ELSEWHERE),
        ("prefect.toml", f'api.url = "{ELSEWHERE}"', {}, ELSEWHERE),
        (".env", f"PREFECT_API_URL={ELSEWHERE}", {}, ELSEWHERE),
        ("home/profiles.toml", f'active = "x"\n[profiles.x]\nPREFECT_API_URL = "{ELSEWHERE}"', {}, ELSEWHERE),
        (None, "", {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}, "None"),
    ],
)  # fmt: skip
def test_what_prefect_is_told_of_a_server_holds(tmp_path, file, text, env, said):
    if file:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    run = subprocess.run(
        [sys.executable, "-c", BEGIN],
        env=alone(tmp_path) | env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.stdout.split() == ["False", said], run.stderr


def alone(folder: Path) -> dict[str, str]:
    """An environment in which nothing says where a Prefect server is, and by which its processes are found."""
    env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return env | {
        "PREFECT_HOME": str(folder / "home"), "PYTHONPATH": str(REPOSITORY), "XMODAL_MARK": str(folder),
    }  # fmt: skip


def left_of(folder: Path, wait_s: float = 60) -> list[list[str]]:
    """Commands of the processes that are left, once there is none or the time is over."""
    end = time.monotonic() + wait_s
    while (left := marked(str(folder))) and time.monotonic() < end:
        time.sleep(0.1)
    return [process.cmdline() for process in left]
