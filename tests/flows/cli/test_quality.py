"""`xmodal quality` and `xmodal report`, on a curated lake with a hostile caption."""

import json
import re

import pytest

from storage import lake as lakes
from tests.flows.cli.conftest import HOSTILE, RECIPE

STRICT = """
quality:
  add:
    - {name: pairs.enough, table: pairs, check: count, at_least: 100, severity: critical, about: Enough to learn from.}
    - {name: texts.tame, table: texts, check: none-where, params: {condition: "text LIKE '%script%'"}, severity: warning}
"""


@pytest.fixture
def strict(own):
    (own / "strict.yaml").write_text(RECIPE + STRICT)
    return own


def test_run_says_it_was_checked_before_and_no_tag_moves(xmodal, own):
    found = json.loads(xmodal("quality", "run", "--json", work=own).out)
    assert (found["snapshot"], found["checked_now"], found["blocking"]) == ("s000002", False, [])
    assert found["counts"]["passed"] == sum(row["status"] == "passed" for row in found["results"]) > 30
    again = xmodal("quality", "run", "--again", work=own)
    assert again.code == 0 and "checked before" not in again.out


def test_a_critical_failure_is_exit_code_1(xmodal, strict):
    said = xmodal("quality", "run", "--recipe", "strict.yaml", "--json", work=strict)
    found = json.loads(said.out)
    assert (said.code, found["checked_now"], found["blocking"]) == (1, True, ["pairs.enough"])
    shown = json.loads(xmodal("quality", "show", "--json", work=strict).out)
    assert shown["blocking"] == ["pairs.enough"]
    table = xmodal("quality", "show", work=strict).out
    assert "pairs.enough" in table and "pairs.unique" not in table
    assert "pairs.unique" in xmodal("quality", "show", "--all", work=strict).out


def test_curate_says_why_the_tag_stays(xmodal, strict):
    said = xmodal("curate", "strict.yaml", work=strict)
    assert said.code == 1
    assert "pairs.enough failed" in said.out and "is at s000002 already" in said.out
    run = json.loads(xmodal("curate", "strict.yaml", "--json", work=strict).out)
    assert "pairs.enough failed" in run["message"]
    assert run["counts"]["check quality"]["critical"] == 1


def test_explain_names_the_rows_with_their_texts(xmodal, strict):
    xmodal("quality", "run", "--recipe", "strict.yaml", work=strict)
    (found,) = json.loads(xmodal("quality", "explain", "texts.tame", "--json", work=strict).out)
    lake = lakes.open(str(strict / "lake"))
    ids = [row["text_id"] for row in lake.read("texts").to_pylist() if "script" in row["text"]]
    assert [each["id"] for each in found["offending"]] == sorted(ids)
    assert HOSTILE in [each["about"] for each in found["offending"]]
    assert (found["status"], found["unexpected"], found["threshold"]) == ("failed", len(ids), "at_most 0")
    plain = xmodal("quality", "explain", "texts.tame", work=strict).out
    assert "<script>" in plain and "[bold]square[/bold]" in plain  # shown as it is, not obeyed
    assert "\x1b" not in plain and "\x07" not in plain


def test_explain_says_what_an_expectation_means(xmodal, own):
    said = xmodal("quality", "explain", "pairs.media-exists", work=own)
    assert said.code == 0 and "The medium of every pair is there." in said.out


def test_what_is_not_there_is_said(xmodal, own, tmp_path):
    said = xmodal("quality", "explain", "pairs.nothing", work=own)
    assert said.code == 1 and "no expectation 'pairs.nothing'" in said.err
    said = xmodal("quality", "show", "--lake", str(tmp_path / "none"), work=own)
    assert said.code == 1 and "is empty" in said.err


def test_a_snapshot_that_was_not_checked_says_how(xmodal, own):
    lake = lakes.open(str(own / "lake"))
    lake.restore("s000001")
    said = xmodal("quality", "show", work=own)
    assert said.code == 1 and "xmodal quality run --at s000003" in said.err


def test_docs_writes_the_pages_of_great_expectations(xmodal, strict):
    xmodal("quality", "run", "--recipe", "strict.yaml", work=strict)
    said = json.loads(xmodal("quality", "docs", "pages", "--json", work=strict).out)
    assert said["loads_from_the_network"] is True
    pages = list((strict / "pages").rglob("*.html"))
    assert {"index.html", "s000002-pairs.html", "s000002-texts.html"} <= {page.name for page in pages}
    assert all("<script>alert(1)" not in page.read_text(encoding="utf-8") for page in pages)
    assert xmodal("quality", "docs", "pages", work=strict).code == 1  # never over what is there


def test_the_report_is_one_page_that_loads_nothing(xmodal, own):
    said = json.loads(xmodal("report", "latest", "--out", "page.html", "--json", work=own).out)
    assert (said["snapshot"], said["page"]) == ("s000002", "page.html")
    page = (own / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert re.findall(r"<script|<link|<iframe|\bon\w+=|@import|url\(", page) == []
    assert {match[:5] for match in re.findall(r'src="([^"]+)"', page)} == {"data:"}
    assert re.findall(r'href="', page) == []


def test_hostile_captions_are_escaped_in_the_report(xmodal, own):
    xmodal("report", "latest", "--out", "page.html", work=own)
    page = (own / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in page and "\x1b" not in page and "\x07" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_report_says_what_there_is_to_say(xmodal, own):
    xmodal("report", "s000002", "--out", "page.html", work=own)
    page = (own / "page.html").read_text(encoding="utf-8")
    for part in (
        "Sources", "Licences", "What happened at each step", "What was left out, and why", "Quality", "Sample", "Balance",
        "Bias", "How to make it again", "empty-file", "min-side", "pairs.media-exists", "merged",
    ):  # fmt: skip
        assert part in page, part
    lake = lakes.open(str(own / "lake"))
    assert lake.snapshot("s000002").digest in page
    assert page.count("<img ") == lake.dataset("media", "s000002").count_rows("present AND kept")


def test_a_snapshot_that_is_not_there_is_said(xmodal, own):
    said = xmodal("report", "nowhere", work=own)
    assert said.code == 1 and "nowhere" in said.err
