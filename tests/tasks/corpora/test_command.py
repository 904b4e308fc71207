"""`xmodal corpora`, as a user types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.corpora import app

PACKAGES = "tuxpaint-stamps-default"


def test_lists_every_corpus_with_count_and_licence(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["list", "--json", "--cache", str(tmp_path)])
    rows = {row["name"]: row for row in json.loads(found.stdout)}
    assert rows["demo"]["manifest"].endswith("manifest.jsonl")
    assert rows["stamps"]["licence"] == "GPL-2.0-or-later"
    assert rows["stamps"]["manifest"] == ""
    assert CliRunner().invoke(app, ["list", "--cache", str(tmp_path)]).stdout.count("\n") == len(rows)


def test_get_prints_nothing_but_the_manifest_on_standard_output(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["get", "demo", "--cache", str(tmp_path)])
    assert found.exit_code == 0
    assert Path(found.stdout.strip()).is_file()
    assert "demo" in found.stderr


def test_a_failure_is_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XMODAL_STAMPS", str(tmp_path))
    found = CliRunner().invoke(app, ["get", "stamps", "--cache", str(tmp_path / "cache")])
    assert found.exit_code == 1
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("error: ") and PACKAGES in found.stderr and "unpack" in found.stderr


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["get", "stmaps", "--cache", str(tmp_path)])
    assert found.exit_code == 1
    assert "Did you mean 'stamps'?" in found.stderr
