"""Who writes on an object store: signs of life, taking over, and the commit that only one of two can make."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import psutil
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from schemas.errors import LakeBusy, LakeError
from storage import lease
from storage.lake import Lake
from storage.places import Place
from tests.storage.conftest import commit, texts_of, upsert

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
SHORT_S = 1.5  # of a lease

# Stages a row, says so, and commits when it is told to.
LATE = """
import sys
sys.path.insert(0, {repository!r})
from storage.lake import Lake
from tests.storage.conftest import upsert
from schemas.errors import LakeBusy
lake = Lake({uri!r}, lease_s={lease_s})
with lake.writer() as writer:
    upsert(writer, {{"late": "x"}})
    print("staged", flush=True)
    sys.stdin.readline()
    try:
        {more}
        writer.commit(tag="latest", recipe_digest="late", run_id="late")
        print("committed", flush=True)
    except LakeBusy as error:
        print("refused", error, flush=True)
"""


@pytest.fixture
def lake(store) -> Lake:
    return store.lake(f"s3://{store.bucket()}/lake", lease_s=SHORT_S)


class Elsewhere:
    """A writer that others cannot look up: it has process numbers of its own, as on another machine."""

    def __init__(self, lake: Lake, more: str = "pass") -> None:
        code = LATE.format(repository=str(REPOSITORY), uri=lake.uri, lease_s=SHORT_S, more=more)
        command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", code]
        if subprocess.run([*command[:3], "true"], capture_output=True).returncode:
            pytest.skip("`unshare --pid` is not allowed here")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.says() == "staged"
        (self.inner,) = psutil.Process(self.process.pid).children()

    def says(self) -> str:
        return self.process.stdout.readline().strip()

    def go_on(self) -> str:
        self.inner.send_signal(signal.SIGCONT)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.says()
        self.process.wait(60)
        return answer


def test_a_holder_that_lives_elsewhere_is_left_alone_however_long_it_works(lake):
    commit(lake, {"a": "x"})
    other = Elsewhere(lake)
    for _ in range(3):  # each look is longer than half a lease
        with pytest.raises(LakeBusy, match="another run is writing"), lake.writer():
            pass
    assert other.go_on() == "committed"
    assert texts_of(lake) == {"a": "x", "late": "x"}


def test_a_holder_that_fell_silent_is_overtaken_and_its_commit_is_refused(lake):
    commit(lake, {"a": "x"})
    other = Elsewhere(lake)
    other.inner.suspend()
    second = commit(lake, {"b": "y"})
    assert other.go_on().startswith("refused")
    assert texts_of(lake) == {"a": "x", "b": "y"}
    assert [s.snapshot_id for s in lake.snapshots()] == ["s000001", second.snapshot_id]
    third = commit(lake, {"late": "again"})
    assert texts_of(lake) == {"a": "x", "b": "y", "late": "again"}
    assert third.parent_id == second.snapshot_id


def test_a_first_writer_that_fell_silent_is_overtaken(lake):
    other = Elsewhere(lake)
    other.inner.suspend()
    commit(lake, {"b": "y"})
    assert other.go_on().startswith("refused")
    assert texts_of(lake) == {"b": "y"}


def test_of_two_that_both_think_they_hold_the_lake_one_can_commit(lake):
    commit(lake, {"a": "x"})
    other = Elsewhere(
        lake, more="type(writer)._check = lambda self: None"
    )  # it looks no more whether it holds the lake
    other.inner.suspend()
    with lake.writer() as writer:
        upsert(writer, {"b": "y"})
        assert other.go_on() == "committed"
        with pytest.raises(LakeBusy):
            writer.commit(tag="latest", recipe_digest="d", run_id="r")
    assert texts_of(lake) == {"a": "x", "late": "x"}
    commit(lake, {"b": "y"})
    assert texts_of(lake) == {"a": "x", "late": "x", "b": "y"}


def test_a_commit_that_nobody_lived_to_show_is_shown_by_the_next_writer(lake):
    first = commit(lake, {"a": "x"})
    with lake.writer() as writer:
        upsert(writer, {"b": "y"})
        second = writer.commit(tag="latest", recipe_digest="d2", run_id="two")
    lake.latest("snapshots").delete(f"snapshot_id = '{second.snapshot_id}'")  # as if killed before that row
    assert lake.head() == first
    with lake.writer() as writer:
        assert writer.head.snapshot_id == second.snapshot_id
    assert texts_of(lake) == {"a": "x", "b": "y"}


def test_a_holder_that_died_on_this_machine_keeps_nobody_waiting(store):
    place = Place(store.lake(f"s3://{store.bucket()}/lake").uri)
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    held = lease.take(place, lease_s=3600)
    dead = json.loads(held.body("held")) | {"pid": int(gone.stdout)}
    held.release()
    place.write(place.path("_writer", "0000000007"), json.dumps(dead).encode())
    again = lease.take(place, lease_s=3600)
    assert again.number == 8
    again.release()
    assert place.fs.ls(place.path("_writer"), detail=False) == [place.path("_writer", "0000000008")]


class Careless(MemoryFileSystem):
    """A store that writes whatever the condition."""

    protocol = "careless"

    def pipe_file(self, path, value, mode="overwrite", **options):
        super().pipe_file(path, value, **options)


def test_a_store_that_overwrites_regardless_is_refused():
    fsspec.register_implementation("careless", Careless, clobber=True)
    place = Place("careless://lake")
    assert not lease.honours_conditions(place)
    with pytest.raises(LakeError, match="ignores `If-None-Match`"):
        lease.take(place)
    assert place.fs.find(place.root) == []
