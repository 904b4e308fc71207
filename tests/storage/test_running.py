"""What a run says while it works, read by another process and gone with the run."""

import os
import subprocess
import sys
from pathlib import Path

from storage import lake as lakes
from storage import running

CHILD = """
import os, sys
from storage import lake as lakes, running
with running.board(lakes.open(sys.argv[1]), "r1", "curate", "<b>") as board:
    board.began("inspect")
    board.progress("media", 0, 8)
    board.progress("media", 8, 8)
    board.ended({"step": "inspect", "wall_s": 1.5, "items": 8, "counts": {"kept": 7, "corrupt": 1}})
    board.began("embed")
    print("ready", flush=True)
    if sys.stdin.readline() == "die\\n":
        os._exit(1)
"""


def started(lake):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, lake.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def test_another_process_reads_what_a_run_does_until_it_ends(lake_dir):
    lake = lakes.open(lake_dir)
    process = started(lake)
    (run,) = running.running(lake)
    assert (run.run_id, run.flow, run.step, run.pid) == ("r1", "curate", "embed", process.pid)
    assert run.steps == [{"step": "inspect", "wall_s": 1.5, "items": 8, "counts": {"kept": 7, "corrupt": 1}}]
    assert (run.done, run.total) == (0, 0)  # of the new step
    process.communicate("end\n", timeout=60)
    assert running.running(lake) == [] and not (Path(lake.uri) / running.FOLDER).exists()


def test_what_a_killed_run_left_behind_is_no_run_at_work(lake_dir):
    lake = lakes.open(lake_dir)
    started(lake).communicate("die\n", timeout=60)
    assert list((Path(lake.uri) / running.FOLDER).glob("*.json"))
    assert running.running(lake) == []
    with running.board(lake, "r2", "curate", "x"):  # the next one clears what was left
        assert [path.name for path in (Path(lake.uri) / running.FOLDER).iterdir()] == ["r2.json"]


def test_a_file_cut_short_says_nothing(lake_dir):
    lake = lakes.open(lake_dir)
    with running.board(lake, "r2", "curate", "x") as board:
        board.began("plan")
        (Path(lake.uri) / running.FOLDER / "r0.json").write_text('{"run_id": "r0"')
        assert [run.run_id for run in running.running(lake)] == ["r2"]
