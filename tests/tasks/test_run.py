"""The cost ledger, beside the clock of the process."""

import io
import subprocess
import sys
import time

import PIL.Image
import psutil
import pytest

from schemas.recipes import InspectRecipe
from schemas.settings import DecodeLimits
from tasks import children
from tasks.media.decoder import Decoder
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
    ledger, before = Ledger(), time.process_time()
    with ledger.step("work") as step:
        with cpu_seconds() as cpu:
            child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
            children.began(child.pid)
            burn(0.1)
            childs = _spent_when_it_waits(child)
        step.add(ShardReport({}, 1, cpu[0], 0.0, 0, 0))
        child.communicate(b"\n")
        children.ended(child.pid)
    own = time.process_time() - before  # starting a child of a large process takes its time too
    assert own >= 0.1 and childs >= 0.3
    assert ledger.costs()[0]["cpu_s"] == pytest.approx(own + childs, abs=0.1)


def test_a_child_that_is_waited_for_amid_a_shard_counts_once():
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    children.began(child.pid)
    before = _spent_when_it_waits(child)
    with cpu_seconds() as cpu:
        child.communicate(b"\n")
        children.ended(child.pid)
    assert before >= 0.3 and cpu[0] < 0.15


def test_a_process_that_is_no_longer_ours_does_not_count():
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    children.began(child.pid)
    spent = _spent_when_it_waits(child)
    with_it = children.cpu_seconds()
    children.ended(child.pid)
    assert spent >= 0.3 and with_it - children.cpu_seconds() == pytest.approx(spent, abs=0.05)
    child.communicate(b"\n")


def test_what_decoding_costs_is_its_shards():
    out = io.BytesIO()
    PIL.Image.effect_noise((3000, 3000), 90).save(out, "PNG")
    with Decoder(InspectRecipe(), DecodeLimits()) as decoder:
        decoder.inspect(out.getvalue(), name="first.png")
        of_child = psutil.Process(decoder.pid)
        own, childs = time.process_time(), sum(of_child.cpu_times()[:2])
        with cpu_seconds() as cpu:
            for _ in range(3):
                decoder.inspect(out.getvalue(), name="again.png")
        childs = sum(of_child.cpu_times()[:2]) - childs
        own = time.process_time() - own
    assert childs >= 0.2
    assert cpu[0] == pytest.approx(own + childs, abs=0.05)


def _spent_when_it_waits(child):
    """Wait until the child waits for a line, having burnt what it had to, and return its CPU seconds."""
    process, until = psutil.Process(child.pid), time.monotonic() + 30
    while time.monotonic() < until and (
        sum(process.cpu_times()[:2]) < 0.3 or process.status() != psutil.STATUS_SLEEPING
    ):
        time.sleep(0.01)
    return sum(process.cpu_times()[:2])
