"""Files appear whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from storage.places import Place
from storage.staging import Staging

ROWS = pa.table({"n": [1, 2, 3]})


@pytest.fixture(params=["local", "memory"])
def staging(request: pytest.FixtureRequest, tmp_path: Path) -> Staging:
    uri = str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
    return Staging(Place(uri), "key")


def test_what_was_written_is_read_back(staging):
    path = staging.write(ROWS, "done", "a.arrow")
    assert staging.read(path) == ROWS
    assert staging.exists("done", "a.arrow") and not staging.exists("done", "b.arrow")
    assert staging.names("done") == ["a.arrow"]
    assert staging.names("nowhere") == []


def test_a_writer_that_fails_leaves_nothing(staging, tmp_path):
    with pytest.raises(RuntimeError, match="amid"), staging.writer(ROWS.schema, "done", "a.arrow") as writer:
        writer.write_table(ROWS)
        raise RuntimeError("amid a file")
    assert not staging.exists("done", "a.arrow")
    assert staging.names("done") == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_being_written_is_not_there_yet(staging):
    with staging.writer(ROWS.schema, "done", "a.arrow") as writer:
        writer.write_table(ROWS)
        assert not staging.exists("done", "a.arrow")
        assert staging.names("done") == []
    assert staging.names("done") == ["a.arrow"]


def test_what_a_killed_writer_left_does_not_count(tmp_path):
    die_amid = (
        "import os, sys, pyarrow as pa\n"
        "from storage.places import Place\n"
        "from storage.staging import Staging\n"
        "rows = pa.table({'n': [1]})\n"
        "with Staging(Place(sys.argv[1]), 'key').writer(rows.schema, 'done', 'a.arrow') as writer:\n"
        "    writer.write_table(rows)\n"
        "    os._exit(9)\n"
    )
    died = subprocess.run([sys.executable, "-c", die_amid, str(tmp_path)], cwd=Path(__file__).parents[2])
    assert died.returncode == 9
    assert len([*tmp_path.rglob("*.part")]) == 1
    staging = Staging(Place(str(tmp_path)), "key")
    assert staging.names("done") == []
    staging.write(ROWS, "done", "a.arrow")
    assert staging.read(staging.path("done", "a.arrow")) == ROWS


def test_files_are_one_dataset_and_no_files_an_empty_one(staging):
    paths = [staging.write(ROWS.slice(n, 1), "part", f"{n}.arrow") for n in range(3)]
    assert staging.dataset(paths, ROWS.schema).to_table().sort_by("n") == ROWS
    assert staging.dataset([], ROWS.schema).count_rows() == 0


def test_what_is_dropped_is_gone_and_the_rest_stays(staging):
    for parts in (("rows.arrow",), ("more", "a.arrow"), ("more", "b.arrow"), ("kept", "c.arrow")):
        staging.write(ROWS, *parts)
    staging.drop("rows.arrow")
    staging.drop("more")
    staging.drop("more")
    assert not staging.exists("rows.arrow") and staging.names("more") == []
    assert staging.names("kept") == ["c.arrow"]


def test_clearing_removes_the_folder_and_may_be_done_twice(staging):
    path = staging.write(ROWS, "done", "a.arrow")
    staging.clear()
    staging.clear()
    assert not staging.place.fs.exists(path)
    assert not staging.exists("done", "a.arrow")
