"""Reading openclipart's metadata and building its manifest."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from schemas.errors import CorpusError
from tasks.corpora.clipart import TREE, Clipart, Metadata, drawings, read_metadata

SMALL = replace(TREE, expected=(("png/**/*.png", 2), ("svg/**/*.svg", 2)))
CROW = Metadata(
    "Crow & co",
    ("bird", "hash(0x86a3d2c)"),
    "",
    "A. Painter",
    "en",
    "http://web.resource.org/cc/PublicDomain",
)


def test_reads_title_keywords_author_language_and_licence_as_shipped(openclipart: Path) -> None:
    assert read_metadata((openclipart / "svg/animals/crow.svg").read_bytes()) == CROW


def test_broken_xml_gives_the_same_metadata(openclipart: Path) -> None:
    broken = (openclipart / "svg/animals/crow.svg").read_bytes().replace(b"</svg>", b"<path")
    assert read_metadata(broken) == CROW


def test_never_expands_entities(openclipart: Path) -> None:
    plain = (openclipart / "svg/animals/crow.svg").read_bytes()
    entities = b'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    bomb = plain.replace(b"<svg", entities + b"<svg", 1)
    for reference in ("&a;", "&b;"):
        assert read_metadata(bomb.replace(b"Crow &amp; co", reference.encode())).title == reference
    assert read_metadata(bomb) == CROW


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", b"<svg/>", b"<?xml version='1.0' encoding='no-such'?><svg/>"]
)
def test_a_file_without_metadata_is_empty_metadata(data: bytes) -> None:
    assert read_metadata(data) == Metadata()


@pytest.mark.parametrize(
    ("declared", "language"),
    [("EN", "en"), ("English", "en"), ("en_GB en_US", "en"), ("es-ES", "es"), ("All", "")],
)
def test_declared_languages_become_primary_subtags(openclipart: Path, declared: str, language: str) -> None:
    svg = (openclipart / "svg/animals/crow.svg").read_text().replace(">en<", f">{declared}<")
    assert read_metadata(svg.encode()).language == language


def test_a_link_names_its_picture_again_and_does_not_double_it(openclipart: Path) -> None:
    assert [drawing.names for drawing in drawings(openclipart.resolve())] == [
        ("animals/crow", "animals/corvids/krow"),
        ("tools/saw",),
    ]


def test_links_that_lead_out_or_nowhere_are_passed_over(openclipart: Path, tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    (openclipart / "png/out.png").symlink_to(tmp_path / "secret.png")
    (openclipart / "png/nowhere.png").symlink_to("missing.png")
    assert len(drawings(openclipart.resolve())) == 2


def test_the_manifest_holds_each_picture_with_the_texts_of_all_its_names(
    openclipart: Path, tmp_path: Path, reports: list[str]
) -> None:
    manifest = Clipart(tree=SMALL, unpacked=tmp_path / "copy").get(tmp_path / "cache", report=reports.append)
    crow, saw = (json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines())
    assert [(text["role"], text["text"]) for text in crow.pop("texts")] == [
        ("title", "Crow & co"),
        ("keywords", "bird, hash(0x86a3d2c)"),
        ("folder", "animals"),
        ("title", "clip art 12"),
        ("folder", "animals/corvids"),
    ]
    assert crow == {
        "media": "png/animals/crow.png",
        "licence": "CC-PDDC",
        "credit": "A. Painter",
        "category": "animals",
        "folder": "animals",
        "names": ["animals/crow", "animals/corvids/krow"],
    }
    assert saw["licence"] == "GPL-2.0-only"
    assert saw["texts"][0] == {"text": "scie", "language": "fr", "origin": "raw", "role": "title"}
    for row in (crow, saw):
        media = manifest.parent / row["media"]
        assert not media.is_symlink()
        assert media.read_bytes() == (openclipart / row["media"]).read_bytes()


def test_getting_twice_does_nothing_the_second_time(
    openclipart: Path, tmp_path: Path, reports: list[str]
) -> None:
    corpus = Clipart(tree=SMALL, unpacked=openclipart)
    manifest = corpus.get(tmp_path / "cache", report=reports.append)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    reports.clear()
    assert corpus.get(tmp_path / "cache", report=reports.append) == manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == before
    assert reports == [f"clipart: already at {manifest.parent}"]


def test_a_get_that_dies_leaves_no_corpus(openclipart: Path, tmp_path: Path) -> None:

    def die(line: str) -> None:
        if "names of" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Clipart(tree=SMALL, unpacked=openclipart).get(tmp_path / "cache", report=die)
    assert [path.name for path in (tmp_path / "cache/corpora").iterdir()] == [".clipart.lock"]


def test_what_a_killed_get_left_is_swept_away(openclipart: Path, tmp_path: Path, reports: list[str]) -> None:
    stale = tmp_path / "cache/corpora/.clipart.partial/png/half.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half")
    manifest = Clipart(tree=SMALL, unpacked=openclipart).get(tmp_path / "cache", report=reports.append)
    assert not (manifest.parent / "png/half.png").exists()
    assert not stale.exists()


def test_a_folder_that_is_not_ours_is_left_alone(
    openclipart: Path, tmp_path: Path, reports: list[str]
) -> None:
    theirs = tmp_path / "cache/corpora/clipart/keep.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    with pytest.raises(CorpusError, match="move it away"):
        Clipart(tree=SMALL, unpacked=openclipart).get(tmp_path / "cache", report=reports.append)
    assert theirs.read_text() == "mine"
