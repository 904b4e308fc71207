"""A refresh lists the sources, and curates only when they differ from what the lake knows."""

import os
import threading
import time
from contextlib import ExitStack

import pytest
from prefect import flow

from flows import hold
from flows.curate import curate
from flows.refresh import refresh
from schemas.errors import LakeBusy, SourceError
from storage import lake as lakes
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")


def _files(folder: str) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its time of change and size."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            status = os.stat(os.path.join(root, name))
            found[os.path.join(root, name)] = (status.st_mtime_ns, status.st_size)
    return found


def test_an_empty_lake_is_filled(media_folder, recipe_of, lake_dir):
    assert refresh(recipe_of(media_folder), lake=lake_dir).row_counts["media"] == 12


def test_nothing_is_touched_when_nothing_changed_even_while_another_run_writes(
    media_folder, recipe_of, lake_dir
):
    recipe = recipe_of(media_folder)
    made = curate(recipe, lake=lake_dir)
    before = _files(lake_dir)
    with lakes.open(lake_dir).writer():
        assert refresh(recipe, lake=lake_dir) == made
    lock = os.path.join(lake_dir, "_lock")
    assert {**_files(lake_dir), lock: None} == {**before, lock: None}
    assert len(lakes.open(lake_dir).runs()) == 1


@pytest.mark.parametrize("change", ["added", "changed", "removed", "captioned"])
def test_a_difference_is_curated(media_folder, recipe_of, lake_dir, change):
    recipe = recipe_of(media_folder)
    made = refresh(recipe, lake=lake_dir)
    if change == "added":
        write_picture(media_folder / "99.png", 99).with_suffix(".txt").write_text("a picture that came later")
    elif change == "changed":
        write_picture(media_folder / "00.png", 77, size=(64, 64))
    elif change == "removed":
        (media_folder / "00.png").unlink()
        (media_folder / "00.txt").unlink()
    else:
        (media_folder / "00.txt").write_text("quite another caption")
    assert refresh(recipe, lake=lake_dir).snapshot_id != made.snapshot_id
    items = sum(1 for row in lakes.open(lake_dir).read("sources").to_pylist() if row["present"])
    assert items == {"added": 13, "removed": 11}.get(change, 12)


def test_a_source_that_is_gone_is_an_error_and_not_an_empty_one(media_folder, recipe_of, lake_dir, tmp_path):
    curate(recipe_of(media_folder), lake=lake_dir)
    with pytest.raises(SourceError):
        refresh(recipe_of(tmp_path / "nowhere"), lake=lake_dir)


@flow
def _held(uri: str, pauses_s: list[float], is_busy=None) -> None:
    waiting = hold.hold.with_options(
        retries=len(pauses_s), retry_delay_seconds=pauses_s, retry_condition_fn=is_busy or hold.is_busy
    )
    with ExitStack() as until:
        waiting(lakes.open(uri), until)


def test_a_busy_lake_is_waited_for(lake_dir):
    taken, found_busy = threading.Event(), threading.Event()

    def occupy() -> None:
        with lakes.open(lake_dir).writer():
            taken.set()
            found_busy.wait(120)

    def is_busy(*asked) -> bool:
        if busy := hold.is_busy(*asked):
            found_busy.set()
        return busy

    other = threading.Thread(target=occupy)
    other.start()
    assert taken.wait(120)
    _held(lake_dir, [0.3] * 20, is_busy)
    assert found_busy.is_set()
    other.join()


def test_waiting_for_a_busy_lake_has_an_end(lake_dir):
    with lakes.open(lake_dir).writer(), pytest.raises(LakeBusy):
        _held(lake_dir, [0.1, 0.1])


def test_what_does_not_pass_is_not_tried_again(tmp_path):
    (tmp_path / "file").write_text("no folder")
    begun = time.monotonic()
    with pytest.raises(OSError):
        _held(str(tmp_path / "file"), [30.0])
    assert time.monotonic() - begun < 20


def test_a_run_that_somebody_started_by_hand_is_refused_at_once(media_folder, recipe_of, lake_dir):
    with lakes.open(lake_dir).writer(), pytest.raises(LakeBusy):
        curate(recipe_of(media_folder), lake=lake_dir)
