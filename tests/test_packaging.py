"""What is installed: five packages and their data, nothing else, under names that are ours."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"flows", "tasks", "schemas", "storage", "dashboards"}
MAX_BYTES = 20_000_000
PAGES = {".html", ".js", ".css"}  # what the dashboard is made of, beside its modules


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built without network: the build backend comes from this environment."""
    pytest.importorskip("hatchling", reason="the build backend is not installed: pip install hatchling")
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(ROOT),
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(out),
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr
    (built,) = out.glob("*.whl")
    return built


def names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert not [name for name in names(wheel) if "__pycache__" in name or "/test_" in name]


def test_every_module_of_the_packages_is_in_the_wheel(wheel):
    modules = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert modules <= set(names(wheel))


def test_data_ships_with_the_code(wheel):
    inside = set(names(wheel))
    recipes = {str(path.relative_to(ROOT)) for path in (ROOT / "flows" / "recipes").glob("*.yaml")}
    assert "flows/recipes/demo.yaml" in recipes <= inside
    assert "tasks/corpora/demo/manifest.jsonl" in inside
    pictures = [name for name in inside if name.startswith("tasks/corpora/demo/media/")]
    assert len(pictures) == sum(path.is_file() for path in (ROOT / "tasks/corpora/demo/media").rglob("*"))
    assert pictures
    assert "tasks/encoders/lite_head.safetensors" in inside
    pages = {
        str(path.relative_to(ROOT)) for path in (ROOT / "dashboards").rglob("*.*") if path.suffix in PAGES
    }
    assert len(pages) > 20 and pages <= inside
    assert [name for name in inside if name.endswith("LICENSE")]


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < MAX_BYTES


def test_it_cannot_be_uploaded_by_mistake(wheel):
    (metadata,) = [name for name in names(wheel) if name.endswith("METADATA")]
    assert "Classifier: Private :: Do Not Upload" in zipfile.ZipFile(wheel).read(metadata).decode()


def test_the_command_leads_to_the_command_line(wheel):
    (points,) = [name for name in names(wheel) if name.endswith("entry_points.txt")]
    assert "xmodal = flows.cli.app:main" in zipfile.ZipFile(wheel).read(points).decode()


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_nobody_else_owns_our_names(package):
    owners = importlib.metadata.packages_distributions().get(package, [])  # an editable install lists nobody
    assert set(owners) <= {"xmodal"}, (
        f"{package} also belongs to {owners}: install Xmodal into an environment of its own"
    )
