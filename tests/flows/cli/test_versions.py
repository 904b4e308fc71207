"""`xmodal versions`, on a curated lake: in this process, as the command line runs it."""

import html
import io
import json
import os
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import versions
from flows.cli.versions import diff_page
from flows.curate import curate
from schemas.errors import DataError, LakeBusy, LakeError, NoSuchSnapshot
from schemas.recipes import load_recipe
from storage import lake as lakes
from storage.difference import difference, thumbnails
from tests.flows.cli.conftest import HOSTILE, Said


@pytest.fixture
def said(own):
    """Run a command of the noun on the own lake."""

    def run(*arguments: str) -> Said:
        found = CliRunner().invoke(versions.app, [*arguments, "--lake", str(own / "lake")])
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Said(found.exit_code, found.stdout, found.stderr)

    return run


@pytest.fixture
def stricter(own) -> Path:
    """The workspace curated once more: sides of 48 pixels no longer pass."""
    recipe = (own / "mine.yaml").read_text().replace("at_least: 16", "at_least: 56")
    (own / "strict.yaml").write_text(recipe)
    here = Path.cwd()
    os.chdir(own)
    try:
        with redirect_stdout(io.StringIO()):
            curate(load_recipe(own / "strict.yaml"), lake=str(own / "lake"))
    finally:
        os.chdir(here)
    return own


def printed(text: str) -> str:
    return " ".join(text.split())


def test_the_list_says_what_changed_and_what_is_tagged(said, own):
    found = json.loads(said("list", "--json").out)
    assert [v["snapshot"]["snapshot_id"] for v in found] == ["s000001", "s000002"]
    assert [(v["tags"], v["flow"], v["data"]) for v in found] == [
        ([], "curate", "kept"),
        (["latest"], "curate", "kept"),
    ]
    assert "media +1" in found[1]["changed"] and "sources +1" in found[1]["changed"]
    text = said("list").out
    assert "the first" in text and "media +1" in text
    assert [char for char in text if not char.isprintable() and char != "\n"] == []


def test_a_version_is_shown_with_recipe_run_and_costs(said):
    found = json.loads(said("show", "latest", "--json").out)
    assert found["recipes"]["curate"]["filters"][0]["at_least"] == 16.0
    assert {t["table"]: t["kept"] for t in found["tables"] if t["kept"] is not None}["media"] == 4
    assert found["run"]["flow"] == "curate" and found["run"]["costs"]
    text = printed(said("show", "latest").out)
    assert "Recipe in force: curate" in text and "Costs" in text and "s000002" in text


def test_a_difference_names_the_rule_and_both_thresholds(said, stricter):
    found = json.loads(said("diff", "s000002", "latest", "--json").out)
    by_rule = [c for c in found["tables"]["media"]["causes"] if c["kind"] == "rule"]
    assert [(c["said"], c["rows"]) for c in by_rule] == [
        ("min-side at_least 16 -> 56: dropped", 4)
    ]  # not the tiny one
    assert [(s["name"], s["before"], s["after"]) for s in found["settings"]] == [
        ("curate: filters[min-side].at_least", "16.0", "56.0")
    ]
    text = printed(said("diff", "s000002", "latest").out)
    assert "4 min-side at_least 16 -> 56: dropped" in text
    assert "kept true -> false" in text


def test_a_difference_of_one_table_is_of_that_alone(said):
    assert json.loads(said("diff", "s000001", "s000002", "media", "--json").out)["tables"].keys() == {"media"}
    found = json.loads(
        said("diff", "s000001", "s000002", "--table", "media", "--table", "texts", "--json").out
    )
    assert found["tables"].keys() == {"media", "texts"}
    assert found["tables"]["media"]["added"] == 1
    assert said("diff", "s000002", "s000002").out.strip().endswith("no row differs")


def test_text_from_outside_reaches_neither_the_terminal_nor_the_page_as_more_than_text(
    said, stricter, tmp_path
):
    page = tmp_path / "page.html"
    shown = said("diff", "s000002", "latest", "pairs", "--limit", "20", "--html", str(page)).out
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []
    text = page.read_text()
    assert "<script" not in text and "\x1b" not in text and "\x07" not in text
    assert html.escape("<script>alert(1)</script>") in text and "alert(1)" in HOSTILE
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert "min-side at_least 16 -&gt; 56: dropped with its medium" in text
    assert set(re.findall(r'(?:src|href)="([^":]*:)', text)) == {"data:"}


def test_the_page_shows_a_thumbnail_per_medium(stricter):
    lake = lakes.open(str(stricter / "lake"))
    found = difference(lake, "s000002", "latest", tables=["media"], limit=20)
    pictures = thumbnails(lake, found)
    assert len(pictures) == 4 and all(picture[8:12] == b"WEBP" for picture in pictures.values())
    page = diff_page(found, pictures)
    assert page.count("data:image/webp;base64,") == 4
    assert diff_page(found, {}).count("<img") == 0


def test_a_tag_is_put_on_asked_for_and_removed(said):
    assert said("tag", "good", "s000001").out.strip() == "good -> s000001"
    assert said("tag", "good").out.strip() == "good -> s000001"
    assert said("tag", "good", "--remove").out.strip() == "good is removed"
    with pytest.raises(NoSuchSnapshot, match="there are latest"):
        said("tag", "good")
    with pytest.raises(DataError, match="leave one"):
        said("tag", "good", "s000001", "--remove")


def test_restoring_makes_a_new_version(said, own):
    assert said("restore", "s000001").out.startswith("s000003 now holds what s000001 held")
    assert said("restore", "s000001").out.strip() == "s000003 already holds what s000001 holds"
    lake = lakes.open(str(own / "lake"))
    assert lake.tables() == lake.tables("s000001")
    assert lake.tags() == {"latest": "s000002"}


def test_gc_says_what_would_go_and_does_it_when_told(said, stricter):
    lake = lakes.open(str(stricter / "lake"))
    said("tag", "good", "s000001")

    def size() -> int:
        return sum(path.stat().st_size for path in Path(lake.uri).rglob("*") if path.is_file())

    before = size()
    for arguments in (("gc", "--keep", "1"), ("gc", "--keep", "1", "--dry-run")):
        text = printed(said(*arguments).out)
        assert "1 versions would go" in text and "tag good" in text and "nothing was done" in text
    planned = json.loads(said("gc", "--keep", "1", "--json").out)["plan"]
    assert [g["snapshot_id"] for g in planned["let_go"]] == ["s000002"]
    assert size() == before
    with lake.writer(), pytest.raises(LakeBusy):
        said("gc", "--keep", "1", "--yes")
    with pytest.raises(DataError, match="one of them"):
        said("gc", "--yes", "--dry-run")
    done = json.loads(said("gc", "--keep", "1", "--yes", "--json").out)["done"]
    assert done["let_go"] == ["s000002"]
    assert done["freed_bytes"] == planned["freed_bytes"] == before - size()
    assert lake.read("media", at="good").num_rows == 4
    with pytest.raises(LakeError, match="let go"):
        said("restore", "s000002")
    assert "gone" in said("list").out
    assert "0 versions let go, 0 bytes freed" in said("gc", "--keep", "1", "--yes").out


def test_an_empty_lake_has_no_versions(tmp_path):
    found = CliRunner().invoke(versions.app, ["list", "--lake", str(tmp_path / "none")])
    assert found.exit_code == 0 and "is empty" in found.stdout
    assert not (tmp_path / "none").exists()
