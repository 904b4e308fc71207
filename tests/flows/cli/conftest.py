"""A curated lake to ask, and two ways to ask it: in this process, and as a user's shell does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from prefect.settings import get_current_settings

from flows.cli.app import main
from flows.curate import curate
from schemas.recipes import load_recipe

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "<script>alert(1)</script> \x1b[31mred\x07 [bold]square[/bold] & more"
RECIPE = """
name: cli
sources:
  - {name: photos, kind: folder, location: photos}
filters:
  - {method: {name: min-side}, at_least: 16}
encoder: {name: hashing}
pair_rules:
  - {method: {name: cosine}, at_least: 0.0, verdict: flag}
"""


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def curated(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Path:
    """A workspace with a lake of two snapshots: kept, merged, filtered and quarantined items, a hostile caption."""
    work = tmp_path_factory.mktemp("curated")
    photos = work / "photos"
    photos.mkdir()
    colours = {"red": (220, 30, 30), "blue": (30, 40, 220), "green": (20, 160, 40)}
    for name, colour in colours.items():
        Image.new("RGB", (64, 48), colour).save(photos / f"{name}.png")
        (photos / f"{name}.txt").write_text(f"a {name} square")
    (photos / "red.txt").write_text(HOSTILE)
    shutil.copy(photos / "blue.png", photos / "copy.png")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(photos / "tiny.png")
    (photos / "broken.png").write_bytes(b"")
    (work / "mine.yaml").write_text(RECIPE)
    curate(load_recipe(work / "mine.yaml"), lake=str(work / "lake"))
    Image.new("RGB", (64, 48), (240, 220, 20)).save(photos / "yellow.png")
    curate(load_recipe(work / "mine.yaml"), lake=str(work / "lake"))
    return work


@pytest.fixture
def own(curated: Path, tmp_path: Path) -> Path:
    """A copy of the workspace to change."""
    shutil.copytree(curated, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def xmodal(
    curated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run a command in this process, as `main` does, on the curated lake unless `--lake` or `work` says otherwise."""

    def run(*arguments: str, work: Path | None = None) -> Said:
        monkeypatch.chdir(work or curated)
        monkeypatch.setattr(sys, "argv", ["xmodal", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def shell(prefect_server: None) -> Callable[..., Said]:
    """Run a command in a process of its own."""

    def run(*arguments: str, work: Path) -> Said:
        left_out = {"PREFECT_LOGGING_LEVEL"}  # the command line sets it
        env = {name: value for name, value in os.environ.items() if name not in left_out}
        env |= {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(get_current_settings().api.url)}
        command = [sys.executable, "-m", "flows.cli.app", *arguments]
        found = subprocess.run(
            command, cwd=work, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        late = "| EventsWorker - Still processing items"  # Prefect's client, on a busy machine, after the run
        said = [line for line in found.stderr.splitlines(keepends=True) if late not in line]
        return Said(found.returncode, found.stdout, "".join(said))

    return run
