"""The command line end to end, on a real lake."""

import io
import json
import re
import shutil
import tarfile

import pytest
from filelock import FileLock
from PIL import Image

from flows.cli.output import printable
from flows.recipes import source_of
from schemas.errors import SourceError
from storage import lake as lakes

FAMILIES = {
    "assessors", "bridges", "captioners", "codes", "diagnostics", "dividers", "encoders", "exports",
    "filters", "fusion", "heads", "injectors", "late", "losses", "metrics", "miners", "negatives", "noise",
    "repairs", "rerankers", "similarities", "soft-labels", "sources",
}  # fmt: skip
JSON = [
    ("status",),
    ("tables",),
    ("tables", "texts"),
    ("tables", "runs"),
    ("versions", "list"),
    ("versions", "show", "s000002"),
    ("versions", "diff", "s000001", "s000002"),
    ("versions", "gc"),
    ("methods",),
    ("methods", "filters"),
    ("methods", "--recipes"),
    ("quarantine", "list"),
    ("decisions", "list"),
    ("search", "a red square"),
    ("doctor",),
    ("corpora", "list"),
]


@pytest.mark.parametrize("command", JSON, ids=" ".join)
def test_json_is_one_document_and_nothing_else(xmodal, command):
    said = xmodal(*command, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out) is not None


@pytest.mark.parametrize("command", [c for c in JSON if c != ("doctor",)], ids=" ".join)
def test_tables_for_people_hold_no_control_characters(xmodal, command):
    said = xmodal(*command)
    assert said.code == 0, said.err
    assert [char for char in said.out if not char.isprintable() and char != "\n"] == []


def test_status_says_what_ran(xmodal):
    said = json.loads(xmodal("status", "--json").out)
    assert said["head"]["snapshot_id"] == "s000002"
    assert said["tags"] == {"latest": "s000002"}
    assert [run["status"] for run in said["runs"]] == ["committed", "committed"]
    items = said["runs"][1]["counts"]["items"]
    assert {name: items[name] for name in ("in", "kept", "merged", "filtered", "quarantined")} == {
        "in": 6, "kept": 3, "merged": 1, "filtered": 1, "quarantined": 1,
    }  # fmt: skip
    text = xmodal("status").out
    assert "s000002 (latest)" in text and "Where time went" in text


def test_status_of_an_empty_lake_says_what_to_do(xmodal, tmp_path):
    said = xmodal("status", "--lake", str(tmp_path / "none"))
    assert said.code == 0
    assert "is empty" in said.out and "xmodal curate" in said.out
    assert not (tmp_path / "none").exists()


def test_tables_counts_rows_and_shows_columns(xmodal):
    assert json.loads(xmodal("tables", "--json").out)["media"] == 5  # red, blue, green, yellow, tiny
    assert json.loads(xmodal("tables", "--json", "--at", "s000001").out)["media"] == 4
    rows = json.loads(xmodal("tables", "media", "--json", "--rows", "2").out)
    assert len(rows) == 2 and "media_id" in rows[0] and "thumbnail" not in rows[0]


def test_every_method_cites_its_source(xmodal):
    rows = json.loads(xmodal("methods", "--json").out)
    assert {row["family"] for row in rows} == FAMILIES
    for row in rows:
        assert re.fullmatch(r".+ \(\d{4}\), .+\. https://\S+", row["source"]), row
        assert row["about"], row


def test_codes_are_written_and_searched_by(xmodal, own):
    assert "xmodal represent codes" in xmodal("search", "red", "--first", "codes", work=own).err
    said = xmodal("represent", "codes", "--bits", "8", "--json", work=own)
    assert said.code == 0, said.err
    made = json.loads(said.out)
    counts = json.loads(xmodal("tables", "--json", work=own).out)
    assert counts[made["table"]] == sum(made["written"].values()) > 0
    assert json.loads(xmodal("search", "red", "--first", "codes", "--json", work=own).out)["hits"]
    assert "learnt before" in xmodal("represent", "codes", "--bits", "8", work=own).out


def test_quarantine_is_listed_shown_and_replayed(xmodal, own):
    assert "empty-file" in xmodal("quarantine", "list", work=own).out
    (row,) = json.loads(xmodal("quarantine", "list", "--reason", "empty-file", "--json", work=own).out)
    assert row["locator"] == "broken.png"
    shown = xmodal("quarantine", "show", row["quarantine_id"][:12], work=own)
    assert "broken.png" in shown.out and "The file" not in shown.err

    lake = lakes.open(str(own / "lake"))
    said = xmodal("quarantine", "replay", "--reason", "empty-file", "--json", work=own)
    assert said.code == 0, said.err
    assert json.loads(said.out)["counts"]["inspect"] == {
        "media": 0,
        "quarantined": 1,
        "texts": 0,
    }
    assert lake.runs()[0]["recipe"] == "cli"


@pytest.mark.parametrize(
    "command", [("quarantine", "list", "--reason", "bad-luck"), ("quarantine", "show", "zzz")], ids=" ".join
)
def test_a_wrong_question_about_quarantine_is_answered_in_one_line(xmodal, command):
    said = xmodal(*command)
    assert said.code == 1 and said.out == "" and said.err.count("\n") == 1


def test_decisions_are_counted_and_listed_with_scores(xmodal):
    (row,) = [r for r in json.loads(xmodal("decisions", "list", "--json").out) if r["rule"] == "min-side"]
    assert (row["verdict"], row["value"], row["threshold"]) == ("drop", 8.0, "at_least 16")
    assert "min-side" in xmodal("decisions", "list").out
    assert "8.000" in xmodal("decisions", "list", "--rule", "min-side").out


def test_search_finds_by_words_and_by_picture(xmodal, curated):
    hits = json.loads(xmodal("search", "a red square", "--by", "media", "--json", "-k", "2").out)["hits"]
    assert len(hits) == 2 and hits[0]["uri"].endswith("red.png")
    assert Image.open(hits[0]["thumbnail"]).size == (64, 48)
    hits = json.loads(xmodal("search", "--image", str(curated / "photos" / "green.png"), "--json").out)[
        "hits"
    ]
    assert hits[0]["uri"].endswith("green.png") and hits[0]["similarity"] > 0.95
    assert not [hit for hit in hits if hit["uri"].endswith("tiny.png")]  # dropped


def test_search_reads_an_older_snapshot(xmodal):
    assert len(json.loads(xmodal("search", "square", "--json", "--at", "s000001").out)["hits"]) == 3
    assert len(json.loads(xmodal("search", "square", "--json").out)["hits"]) == 4


def test_a_hostile_caption_stays_text(xmodal, tmp_path):
    said = xmodal("search", "a red square", "--sheet", str(tmp_path / "sheet.html"))
    assert "<script>alert(1)</script>" in said.out and "[bold]square[/bold]" in said.out
    assert "\x1b" not in said.out and "\x07" not in said.out
    page = (tmp_path / "sheet.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "&amp; more" in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)


def test_a_hostile_query_stays_text_too(xmodal, tmp_path):
    assert xmodal("search", "<b>{query}</b>", "--sheet", str(tmp_path / "s.html")).code == 0
    page = (tmp_path / "s.html").read_text()
    assert "<h1>&lt;b&gt;{query}&lt;/b&gt;</h1>" in page


def test_printable_keeps_letters_of_all_scripts_and_drops_what_drives_a_terminal():
    assert printable("猫 é \x1b]0;x\x07\x9b31m\u202e\n") == "猫 é  ]0;x  31m  "


ERRORS = {
    "no such recipe": ("curate", "nope"),
    "no such snapshot": ("tables", "--at", "s999999"),
    "no such table": ("tables", "films"),
    "no such family": ("methods", "spells"),
    "an empty lake": ("search", "x", "--lake", "nowhere"),
    "neither words nor picture": ("search",),
    "no such encoder": ("search", "x", "--encoder", "clip"),
    "a picture that is none": ("search", "--image", "photos/broken.png"),
    "a source of no kind": ("ingest", "nothing.xyz"),
}


@pytest.mark.parametrize("command", ERRORS.values(), ids=ERRORS.keys())
def test_our_errors_are_one_line_and_exit_code_one(xmodal, command):
    said = xmodal(*command)
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch(r"xmodal: [A-Z]\w+: .+\n", said.err)


@pytest.mark.parametrize(
    "command", [("frobnicate",), ("search", "x", "-k", "0"), ("curate",), ("versions", "tag")], ids=" ".join
)
def test_wrong_usage_is_exit_code_two(xmodal, command):
    assert xmodal(*command).code == 2


def test_an_unknown_recipe_is_answered_with_those_that_ship(xmodal):
    assert "demo" in xmodal("curate", "demmo").err


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("captions.csv", "manifest"),
        ("rows.jsonl", "manifest"),
        ("rows.parquet", "manifest"),
        ("shard.tar", "webdataset"),
        ("shard-{000..012}.tar", "webdataset"),
        ("urls.txt", "urls"),
        ("demo", "corpus"),
        ("s3://bucket/prefix", "folder"),
        ("s3://bucket/rows.parquet", "manifest"),
    ],
)
def test_the_kind_of_a_source_is_guessed_from_its_form(location, kind):
    assert source_of(location).kind == kind


def test_a_folder_is_a_folder_and_anything_else_must_be_said(tmp_path):
    assert source_of(str(tmp_path)).kind == "folder"
    with pytest.raises(SourceError, match="--kind"):
        source_of(str(tmp_path / "missing"))


def test_ingest_takes_tar_shards_without_judging(xmodal, curated, tmp_path):
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for member, path in (
            ("a.png", curated / "photos" / "red.png"),
            ("b.png", curated / "photos" / "tiny.png"),
        ):
            data = path.read_bytes()
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    said = xmodal("ingest", "shard.tar", "--name", "tars", "--json", work=tmp_path)
    assert said.code == 0, said.err
    assert json.loads(said.out)["counts"]["items"]["in"] == 2
    media = lakes.open(str(tmp_path / "lake")).read("media").to_pylist()
    assert [row["kept"] for row in media] == [None, None]
    assert sorted(row["locators"][0] for row in media) == ["tars/shard.tar!a.png", "tars/shard.tar!b.png"]


def test_curate_says_when_nothing_changed(xmodal, own):
    xmodal("curate", "mine.yaml", work=own)  # the copy's pictures have other times
    said = xmodal("curate", "mine.yaml", work=own)
    assert said.code == 0 and said.out.startswith("Nothing changed: 7 items")


def test_maintain_frees_old_versions_and_keeps_tagged_ones(xmodal, own):
    xmodal("versions", "tag", "good", "s000001", work=own)
    said = xmodal("maintain", "--keep", "1", "--json", work=own)
    assert said.code == 0, said.err
    assert json.loads(said.out)["expired"] == ["s000002"] or json.loads(said.out)["expired"] == []
    assert json.loads(xmodal("tables", "--json", "--at", "good", work=own).out)["media"] == 4


@pytest.mark.slow
def test_an_error_inside_a_run_is_one_line_too(shell, tmp_path):
    (tmp_path / "bad.yaml").write_text("name: bad\nsources: [{name: a, kind: folder, location: missing}]\n")
    said = shell("curate", "bad.yaml", work=tmp_path)
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch(r"xmodal: SourceError: [^\n]+missing[^\n]+\n", said.err), said.err


@pytest.mark.slow
def test_a_busy_lake_is_exit_code_three(shell, own):
    with FileLock(own / "lake" / "_lock"):
        said = shell("curate", "mine.yaml", work=own)
    assert (said.code, said.out) == (3, "")
    assert re.fullmatch(r"xmodal: another run is writing to [^\n]+\n", said.err), said.err


@pytest.mark.slow
def test_a_run_prints_json_alone_on_standard_output(shell, own):
    said = shell("curate", "mine.yaml", "--json", work=own)
    assert said.code == 0, said.err
    assert json.loads(said.out)["status"] in ("committed", "unchanged")


@pytest.mark.slow
def test_progress_goes_to_standard_error(shell, own):
    Image.new("RGB", (50, 50), (9, 200, 200)).save(own / "photos" / "new.png")
    said = shell("curate", "mine.yaml", work=own)
    assert said.code == 0, said.err
    assert "inspect: 1 of 1 shards" in said.err
    assert "shards" not in said.out and said.out.startswith("Snapshot s000003")


def test_a_decision_is_explained_overruled_and_given_back(xmodal, curated, tmp_path):
    lake = str(shutil.copytree(curated / "lake", tmp_path / "lake"))

    def said(*command):
        answer = xmodal("decisions", *command, "--lake", lake)
        assert answer.code == 0, answer.err
        return answer.out

    (row,) = [r for r in json.loads(said("list", "--json")) if r["rule"] == "min-side"]
    assert row["medium"].endswith("tiny.png")
    explained = json.loads(said("explain", row["decision_id"][:12], "--json"))
    assert explained["subject"] == "media" and explained["row"]["dropped_by"] == "min-side"
    assert "min-side" in said("explain", row["subject_id"][:12])

    assert "kept by verdict" in said(
        "reject", row["decision_id"], "--by", "ada", "--comment", "small but fine"
    )
    kept = json.loads(said("explain", row["subject_id"], "--json"))
    assert (kept["row"]["kept"], kept["row"]["dropped_by"]) == (True, None)
    assert [(v["person"], v["verdict"], v["about"]) for v in kept["verdicts"]] == [
        ("ada", "keep", "min-side")
    ]
    assert "withdrawn" in said("undo", row["decision_id"])
    assert json.loads(said("explain", row["subject_id"], "--json"))["row"]["dropped_by"] == "min-side"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("undo",), "name what to undo"),
        (("undo", "--run", "nobody"), "no snapshot was written by a run 'nobody'"),
        (("list", "--class", "odd"), "there is no class 'odd'"),
        (("explain", "ffffffffffff"), "no medium, text, pair or decision"),
    ],
)
def test_decisions_say_what_was_wrong_with_the_question(xmodal, command, words):
    answer = xmodal("decisions", *command)
    assert answer.code == 1 and words in answer.err


def test_the_bench_refuses_what_it_does_not_know(xmodal):
    answer = xmodal("bench", "correspondence", "--corpus", "nowhere")
    assert answer.code == 1 and "the bench knows no corpus 'nowhere'" in answer.err
    answer = xmodal("bench", "correspondence", "--rate", "1.5")
    assert answer.code == 1 and "a rate is a share" in answer.err
