"""A commit that is tried again."""

from pathlib import Path

import pytest

from flows.curate import curate
from storage import lake as lakes
from tasks import publish
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["gate", "record"])
@pytest.mark.parametrize("filled", [False, True])
def test_a_commit_that_fails_after_its_snapshot_is_there_writes_no_row_twice(
    media_folder, recipe_of, lake_dir, tmp_path, monkeypatch, failing, filled
):
    recipe, tries = recipe_of(media_folder), []
    if filled:
        curate(recipe, lake=lake_dir)
        write_picture(media_folder / "12.png", 12)
        (media_folder / "12.txt").write_text("one more picture of blocks")
        (media_folder / "03.txt").write_text("quite another caption")
        (media_folder / "05.png").unlink()
        (media_folder / "05.txt").unlink()
    whole = getattr(publish, failing)

    def at_first_not(*given, **named):
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the disk was away for a moment")
        return whole(*given, **named)

    monkeypatch.setattr(publish, failing, at_first_not)
    done = curate(recipe, lake=lake_dir)
    assert len(tries) == 2
    monkeypatch.undo()
    at_once = curate(recipe, lake=str(tmp_path / "at-once"))
    lake, other = lakes.open(lake_dir), lakes.open(str(tmp_path / "at-once"))
    assert lake.head() == done
    for table in ("media", "texts", "pairs", "sources", "scores"):
        key = lakes.key_of(table)
        rows = lake.read(table)
        assert len(rows) == len(set(rows[key].to_pylist())), table
        if not filled:
            assert done.digests[table] == at_once.digests[table]
        assert set(other.read(table)[key].to_pylist()) <= set(rows[key].to_pylist())


def test_what_was_staged_for_one_step_is_gone_when_the_snapshot_is_there(
    media_folder, recipe_of, lake_dir, monkeypatch
):
    curate(recipe_of(media_folder), lake=lake_dir)
    write_picture(media_folder / "12.png", 12)
    (media_folder / "12.txt").write_text("one more picture of blocks")
    judged = [{"method": {"name": "min-side"}, "at_least": 16}, {"method": {"name": "aspect"}, "at_most": 4}]
    whole, left = publish.gate, []

    def looked(job, snapshot):
        left.extend(str(each.relative_to(root)) for each in root.rglob("*") if each.is_file())
        return whole(job, snapshot)

    root = Path(lake_dir) / "_staging"
    monkeypatch.setattr(publish, "gate", looked)
    curate(recipe_of(media_folder, filters=judged), lake=lake_dir)
    parts = {name.split("/")[1] for name in left}
    assert {"planned", "inspected", "merged", "screened", "decided"} <= parts
    assert any("screened/media-base-" in name for name in left)  # so there were rows to be scored anew
    assert parts.isdisjoint({"listed.arrow", "unscored", "publish"})
