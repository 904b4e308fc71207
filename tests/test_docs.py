"""The documents do what they say, and say all there is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from flows.cli.app import app
from flows.recipes import shipped
from schemas.errors import REASONS
from schemas.quality import Change, Expectation, QualityRecipe
from schemas.recipes import (
    CaptionRecipe,
    CorrespondenceRecipe,
    CurationRecipe,
    Gate,
    InspectRecipe,
    NearDuplicates,
    Rule,
    ScheduleRecipe,
    SourceRef,
    TrainRecipe,
    Use,
    load,
)
from schemas.settings import DecodeLimits, FetchLimits, Settings
from tasks.assessors import ASSESSORS
from tasks.captioners import CAPTIONERS
from tasks.catalog import build
from tasks.negatives import REWRITERS
from tests.documents import ROOT, SHELL, blocks, environment, prepare, run

DOCS = sorted((ROOT / "docs").rglob("*.md"))
EVERYTHING = [ROOT / "README.md", *DOCS]
OF_MAKE = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands_of_xmodal() -> set[str]:
    """Every command as typed, groups included: "curate", "corpora get" ..."""
    found = set()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {f"{name} {sub}" for sub in inner} if inner else {name}
    return found


def typed(command: str) -> str | None:
    """Return the xmodal command in a line of shell, without options; None when it is another program."""
    match = re.search(r"(?:^|\s)xmodal ([a-z]+)(?: ([a-z]+))?", command)
    if match is None:
        return None
    both = f"{match[1]} {match[2]}"
    return both if both in commands_of_xmodal() else match[1]


@pytest.mark.parametrize("document", EVERYTHING, ids=lambda path: path.name)
def test_every_command_shown_exists(document):
    for block in blocks(document):
        if block.kind not in SHELL:
            continue
        for command in block.commands:
            if (named := typed(command)) is not None:
                assert named in commands_of_xmodal(), f"{block.where}: xmodal has no {named!r}"
            if command.startswith("make "):
                assert set(command.split()[1:]) - {""} <= OF_MAKE, f"{block.where}: {command}"


@pytest.mark.parametrize("document", EVERYTHING, ids=lambda path: path.name)
def test_a_block_that_is_not_run_says_why(document):
    for block in blocks(document):
        if block.note.startswith("not run:"):
            assert len(block.note.removeprefix("not run:").strip()) > 10, block.where
        assert block.kind in (*SHELL, "python", "yaml", "text", "diff", "toml"), block.where


@pytest.mark.parametrize("document", EVERYTHING, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_every_block_runs(document, tmp_path, prefect_server):
    runnable = [
        b for b in blocks(document) if b.is_run and (b.kind in SHELL or (b.kind == "python" and not b.file))
    ]
    if not runnable:
        pytest.skip("shows nothing to run")
    assert len(run(document, tmp_path)) >= len(runnable)


def settings_table() -> str:
    """The table of settings, from the code."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for settings in (Settings, DecodeLimits, FetchLimits):
        prefix = settings.model_config["env_prefix"]
        for name, field in settings.model_fields.items():
            default = "" if field.default is None else str(field.default).replace(str(Path.home()), "~")
            lines.append(
                f"| `{prefix}{name.upper()}` | {f'`{default}`' if default != '' else 'none'} | {field.description} |"
            )
    return "\n".join(lines)


def reasons_table() -> str:
    """The table of quarantine reasons, from the code."""
    return "\n".join(
        ["| reason | meaning |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in REASONS.items())]
    )


@pytest.mark.parametrize("table", [settings_table, reasons_table])
def test_operations_has_the_table_that_the_code_gives(table):
    assert table() in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), f"paste this:\n{table()}"


@pytest.mark.parametrize(
    "model",
    [
        CurationRecipe,
        CorrespondenceRecipe,
        SourceRef,
        InspectRecipe,
        NearDuplicates,
        Rule,
        TrainRecipe,
        ScheduleRecipe,
        CaptionRecipe,
        Gate,
        Use,
        QualityRecipe,
        Change,
        Expectation,
    ],
)
def test_recipes_names_every_field(model):
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert [name for name in model.model_fields if not re.search(rf"`{name}`|\b{name}:", text)] == []


@pytest.mark.slow
def test_the_worked_example_is_a_filter_like_any_other(tmp_path, prefect_server):
    """Adds the document's file and its two lines to a copy of the code, and uses it."""
    shown = blocks(ROOT / "docs" / "recipes.md")
    (new,) = [block for block in shown if block.file.startswith("tasks/filters/")]
    (change,) = [block for block in shown if block.kind == "diff"]
    (recipe,) = [block for block in shown if block.file == "quiet.yaml"]

    code = tmp_path / "code"
    skip = shutil.ignore_patterns("__pycache__", "media")
    for package in ("schemas", "storage", "tasks", "flows", "dashboards"):
        shutil.copytree(ROOT / package, code / package, ignore=skip if package == "tasks" else None)
    shutil.copytree(
        ROOT / "tasks" / "media", code / "tasks" / "media"
    )  # the package, not the corpus' pictures
    shutil.copytree(ROOT / "tests" / "tasks" / "filters", code / "tests" / "tasks" / "filters")
    shutil.copy(ROOT / "pyproject.toml", code)
    (code / new.file).write_text(new.code, encoding="utf-8")
    catalog = code / "tasks" / "filters" / "__init__.py"
    catalog.write_text(
        _with_lines(catalog.read_text(), [line[1:] for line in change.code.splitlines() if line[0] == "+"])
    )

    name = re.search(r'name: ClassVar\[str\] = "([\w-]+)"', new.code)[1]
    conforms = [
        sys.executable,
        "-m",
        "pytest",
        "tests/tasks/filters/test_every_filter.py",
        "-vv",
        "-p",
        "no:cacheprovider",
    ]
    found = subprocess.run(conforms, cwd=code, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count(f"[{name}] PASSED") >= 8

    work = tmp_path / "work"
    prepare(work)
    (work / "photos" / "red.txt").write_text("BUY NOW ### CHEAP ###")
    (work / recipe.file).write_text(recipe.code)
    where = environment(work) | {"PYTHONPATH": str(code)}
    for command in (["curate", recipe.file], ["decisions", "list", "--rule", name]):
        found = subprocess.run(
            ["xmodal", *command], cwd=work, env=where, capture_output=True, text=True, check=False
        )
        found = found if found.returncode == 0 else pytest.fail(found.stdout + found.stderr)
    assert "BUY NOW" in found.stdout and "1 of 1" in found.stdout


def _with_lines(text: str, added: list[str]) -> str:
    """Put an import and a catalog line where sorting puts them."""
    imported, listed = (next(line for line in added if word in line) for word in ("import", ","))
    lines = text.splitlines()
    for line, like in ((imported, "from tasks.filters."), (listed, "    ")):
        at = max(n for n, other in enumerate(lines) if other.startswith(like) and other < line)
        lines.insert(at + 1, line)
    return "\n".join(lines) + "\n"


def test_the_recipe_of_a_head_is_one(tmp_path):
    (shown,) = [b for b in blocks(ROOT / "docs" / "recipes.md") if b.file == "head.yaml"]
    file = tmp_path / "head.yaml"
    file.write_text(shown.code)
    assert load(file, TrainRecipe).noisy == "soft"


def test_recipes_of_captions_are_such(tmp_path):
    (shown,) = [b for b in blocks(ROOT / "docs" / "recipes.md") if b.file == "write.yaml"]
    file = tmp_path / "write.yaml"
    file.write_text(shown.code)
    for path in (file, *shipped("captions").values()):
        for ref, family in (
            *((ref, CAPTIONERS) for ref in load(path, CaptionRecipe).captioners),
            *((gate.method, ASSESSORS) for gate in load(path, CaptionRecipe).gates),
            *((ref, REWRITERS) for ref in load(path, CaptionRecipe).rewriters),
        ):
            build(family, ref)
