"""The cost ledger, beside the clock of the process."""

import subprocess
import sys
import time

import pytest

from tasks.run import Ledger, ShardReport, cpu_seconds


def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_what_a_shard_in_this_process_costs_counts_once():
    ledger, before = Ledger(), time.process_time()
    with ledger.step("work") as step:
        burn(0.1)
        for _ in range(2):
            with cpu_seconds() as cpu:
                burn(0.2)
            step.add(ShardReport({}, 1, cpu[0], 0.0, 0, 0))
    spent = time.process_time() - before
    (cost,) = ledger.costs()
    assert cost["cpu_s"] == pytest.approx(spent, abs=0.05) and spent >= 0.5
    with ledger.step("next"):
        burn(0.1)
    assert ledger.costs()[1]["cpu_s"] == pytest.approx(0.1, abs=0.05)


def test_children_of_a_shard_count_and_its_own_seconds_are_not_lost():
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ninput()"
    ledger = Ledger()
    with ledger.step("work") as step:
        with cpu_seconds() as cpu:
            child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
            time.sleep(0)
            burn(0.1)
            _wait_for(child)
        step.add(ShardReport({}, 1, cpu[0], 0.0, 0, 0))
        child.communicate(b"\n")
    assert ledger.costs()[0]["cpu_s"] == pytest.approx(0.4, abs=0.15)


def _wait_for(child):
    """Until the child waits for a line, having burnt what it had to."""
    import psutil

    until = time.monotonic() + 30
    while time.monotonic() < until and sum(psutil.Process(child.pid).cpu_times()[:2]) < 0.3:
        time.sleep(0.01)
