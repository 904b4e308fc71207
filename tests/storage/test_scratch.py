"""Temporary folders: gone after use, gone after a kill, left alone while somebody uses them."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from storage.scratch import scratch, sweep

REPOSITORY = Path(__file__).parents[2]
HOLD = (
    "import sys; from storage.scratch import scratch\n"
    "with scratch('spill') as folder:\n    print(folder, flush=True)\n    sys.stdin.readline()\n"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def held(place):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = Path(process.stdout.readline().strip())
    assert folder.is_dir() and folder.parent.parent == place
    return process, folder


def ours(place):
    return sorted(path.name for path in place.iterdir() if not path.name.startswith("."))


def test_a_folder_goes_after_use_also_when_the_use_failed(place):
    with pytest.raises(RuntimeError), scratch("spill") as folder:
        assert list(Path(folder).iterdir()) == []
        (Path(folder) / "file").write_text("x")
        raise RuntimeError("amid")
    assert ours(place) == []


def test_the_folder_of_a_killed_process_goes_with_the_next_and_that_of_a_living_one_stays(place):
    killed, dead = held(place)
    living, used = held(place)
    (dead / "big").write_text("x")
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    (place / "xmodal-mine").mkdir()  # not made here: says nothing about who uses it
    with scratch("check"):
        assert not dead.exists() and used.is_dir() and (place / "xmodal-mine").is_dir()
    living.communicate("\n")
    assert ours(place) == ["xmodal-mine"]
    killed.stdin.close()
    killed.stdout.close()


def test_a_link_is_not_followed(place, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / ".held").write_text("")
    (outside / "precious").write_text("x")
    (place / "xmodal-trap").mkdir()
    (place / "xmodal-trap" / ".held").symlink_to(outside / ".held")
    assert sweep(place) == []
    assert (outside / "precious").exists() and (place / "xmodal-trap").exists()
