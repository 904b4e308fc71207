"""A run that starts a Prefect server of its own takes it along when it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

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


def test_a_killed_run_leaves_no_server_behind(tmp_path):
    unset = ("PREFECT_API_URL",)
    env = {name: value for name, value in os.environ.items() if name not in unset}
    env |= {
        "PREFECT_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(REPOSITORY),
        "XMODAL_MARK": str(tmp_path),
    }
    run = subprocess.run(
        [sys.executable, "-c", DIE, str(tmp_path / "lake")], env=env, check=False, timeout=300
    )
    assert run.returncode == -signal.SIGKILL
    end = time.monotonic() + 60
    while (left := marked(str(tmp_path))) and time.monotonic() < end:
        time.sleep(0.1)
    assert [process.cmdline() for process in left] == []
