"""Shared by all tests: a Prefect server of their own, a lake in a temporary folder, small pictures."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.pop("COLUMNS", None)  # tests in several processes are given one; output is read as a pipe has it
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
import s3fs  # noqa: E402
from PIL import Image  # noqa: E402

from schemas.recipes import CurationRecipe  # noqa: E402
from tests import stores  # noqa: E402


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Run flows against one server for the whole session: starting it costs more than most flows."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield


@pytest.fixture(scope="session")
def moto_store() -> Iterator[stores.Store]:
    with stores.moto() as store:
        yield store


@pytest.fixture(scope="session")
def ceph_store() -> Iterator[stores.Store]:
    """A small Ceph: the most real S3 server to be had from a package registry here."""
    if not stores.has_ceph():
        pytest.skip(stores.WITHOUT_CEPH)
    folder = stores.scratch("ceph")
    with stores.ceph(folder) as store:
        yield store
    shutil.rmtree(folder)


@pytest.fixture
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> stores.Store:
    """An object store, the most real there is unless a test asks for one; the environment leads to it, as a user's."""
    name = getattr(request, "param", "ceph" if stores.has_ceph() else "moto")
    found: stores.Store = request.getfixturevalue(f"{name}_store")
    for variable, value in found.environment().items():
        monkeypatch.setenv(variable, value)
    s3fs.S3FileSystem.clear_instance_cache()  # of stores that the environment led to before
    return found


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


@pytest.fixture(scope="session")
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
