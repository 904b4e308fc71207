"""Who imports whom, what modules are called, and that nothing points at one machine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "storage", "tasks", "flows", "dashboards")
TEXT = {".py", ".yaml", ".yml", ".md", ".toml", ".sql", ".html", ".css", ".js", ".txt", ""}
DRAWERS = {"utils", "util", "common", "helper", "helpers", "misc"}
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_the_import_contracts_hold():
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "5 kept, 0 broken" in found.stdout


def test_a_planted_import_breaks_a_contract(tmp_path):
    import shutil

    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("__pycache__", "*.webp", "*.png"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    module = tmp_path / "tasks" / "filters" / "aspect.py"
    module.write_text(module.read_text() + "\nimport prefect\n")
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 1
    assert "tasks.filters.aspect -> prefect" in found.stdout


def test_every_method_family_is_under_the_contract_for_families():
    text = (ROOT / "pyproject.toml").read_text()
    families = {path.parent.name for path in (ROOT / "tasks").glob("*/contract.py")}
    assert {f"tasks.{family}" for family in families} <= set(re.findall(r'"(tasks\.\w+)"', text))


def test_no_module_is_a_drawer():
    named = {path.stem.strip("_") for path in MODULES} | {path.parent.name for path in MODULES}
    assert not named & DRAWERS


def test_no_module_of_flows_hides_a_package():
    assert not {path.stem for path in (ROOT / "flows").rglob("*.py")} & (set(PACKAGES) - {"flows"})


def test_every_module_says_why_it_exists():
    assert [str(path) for path in MODULES if not path.read_text().startswith(('"""', 'r"""'))] == []


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks", "docs", "."])
def test_no_file_names_a_place_on_one_machine(package):
    files = (ROOT / package).rglob("*") if package != "." else ROOT.glob("*")
    there = re.compile(r"(?<![\w.])/work/|(?<![\w/.])shared/")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if path.is_file() and path.suffix in TEXT and path.name != "manifest.jsonl"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if there.search(line)
    ]
    assert found == []
