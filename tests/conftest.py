"""Shared by all tests: a Prefect server of their own, a lake in a temporary folder, small pictures."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_HOME = tempfile.mkdtemp(prefix="xmodal-tests-prefect-")
os.environ.update(
    PREFECT_HOME=_HOME,
    PREFECT_LOGGING_LEVEL="ERROR",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    OMP_NUM_THREADS="1",
    XMODAL_WORKERS="0",
    XMODAL_CACHE=tempfile.mkdtemp(prefix="xmodal-tests-cache-"),
)

import numpy as np  # noqa: E402 - after the environment is set
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

from schemas.recipes import CurationRecipe  # noqa: E402


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Run flows against one server for the whole session: starting it costs more than most flows."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield


@pytest.fixture
def lake_dir(tmp_path: Path) -> str:
    return str(tmp_path / "lake")


def write_picture(path: Path, seed: int, *, size: tuple[int, int] = (48, 40)) -> Path:
    """Write a picture that no other seed's picture resembles: coloured blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(path)
    return path


@pytest.fixture
def media_folder(tmp_path: Path) -> Path:
    """Twelve pictures with captions of their own."""
    folder = tmp_path / "media"
    for seed in range(12):
        write_picture(folder / f"{seed:02d}.png", seed)
        (folder / f"{seed:02d}.txt").write_text(
            f"picture number {seed} of a dozen coloured blocks", encoding="utf-8"
        )
    return folder


@pytest.fixture
def recipe_of() -> Callable[..., CurationRecipe]:
    """Make a small recipe over folders; further fields replace the defaults."""

    def make(*folders: Path, **changes: object) -> CurationRecipe:
        fields: dict[str, object] = {
            "name": "test",
            "sources": [
                {"name": f"source{n}" if n else "source", "kind": "folder", "location": str(folder)}
                for n, folder in enumerate(folders)
            ],
            "filters": [
                {"method": {"name": "min-side"}, "at_least": 8},
                {"method": {"name": "length-chars"}, "at_least": 3},
                {"method": {"name": "shared-text"}, "at_most": 5},
            ],
            "encoder": {"name": "hashing", "params": {"dim": 32}},
            "pair_rules": [{"method": {"name": "cosine"}, "at_least": 0.05}],
            "shard_rows": 4,
        }
        return CurationRecipe.model_validate(fields | changes)

    return make
