"""Captions from the command line: written, listed, shown, drawn, and asked about their bias."""

import json

import pytest

RECIPE = """
name: cli captions
captioners: [{name: labels}]
encoder: {name: hashing}
of: all
gates: [{method: {name: support}, at_least: 0.0}]
"""


@pytest.fixture
def written(xmodal, own):
    (own / "captions.yaml").write_text(RECIPE)
    said = xmodal("caption", "captions.yaml", "--json", work=own)
    assert said.code == 0, said.err
    counts = json.loads(said.out)["counts"]
    assert counts["publish"]["accepted"] == counts["plan"]["to write about"] == 4
    return own


def test_what_was_written_is_counted_listed_and_shown(xmodal, written):
    assert "accepted" in xmodal("captions", "list", work=written).out
    rows = json.loads(xmodal("captions", "list", "--status", "accepted", "--json", work=written).out)
    (red,) = [row for row in rows if "red" in row["text"]]
    assert (
        red["generator"] == "labels"
        and red["scores"]["support"] is not None
        and red["facts"]["colours"] == ["red"]
    )
    shown = xmodal("captions", "show", red["media_id"][:10], work=written)
    assert shown.code == 0, shown.err
    assert red["text"] in shown.out and "labels 1, attempt 1: accepted" in shown.out
    assert (
        "\x1b" not in shown.out and "[bold]square[/bold]" in shown.out
    )  # the raw text is hostile, and plain here
    whole = json.loads(xmodal("captions", "show", red["media_id"], "--json", work=written).out)
    assert {text["origin"] for text in whole["texts"]} == {"raw", "synthetic"}
    assert {row["use"] for row in whole["served"]} == {"search", "training", "display"}
    assert whole["captions"][0]["statements"][0]["support"] is not None


def test_a_second_run_has_nothing_to_write_about(xmodal, written):
    said = xmodal("caption", "captions.yaml", work=written)
    assert said.code == 0 and said.out.startswith("Nothing to write about: the snapshot is still s000003")


def test_the_sheet_is_one_page_without_anything_live(xmodal, written):
    said = xmodal("captions", "sheet", "sheet.html", work=written)
    assert said.out.strip() == "4 media in sheet.html"
    page = (written / "sheet.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 4 and "&lt;script&gt;alert(1)" in page
    assert "<script" not in page and "http:" not in page and "https:" not in page


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ("caption", "nowhere.yaml"),
            "no recipe at nowhere.yaml, and none that ships has this name; those are clipart",
        ),
        (("captions", "list", "--status", "odd"), "there is no status 'odd'"),
        (("captions", "show", "zz"), "'zz' is no id"),
        (("captions", "show", "ffffffff"), "0 media have an id"),
        (("bench", "bias"), "bias needs at least 20"),
    ],
)
def test_questions_that_cannot_be_answered_say_why(xmodal, command, words):
    said = xmodal(*command)
    assert said.code == 1 and words in " ".join(said.err.split())


def test_before_anything_was_written_lists_are_empty(xmodal):
    assert json.loads(xmodal("captions", "list", "--json").out) == []
