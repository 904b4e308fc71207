"""Reading Tux Paint's caption files and file names."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.corpora.stamps import TREE, Stamps, parse_sound, primary_subtag, read_captions

SMALL = replace(TREE, expected=(("**/*.txt", 1),))


def test_the_first_line_is_english_and_the_others_name_their_locale() -> None:
    data = "A crow. 6x7=42\nca.utf8=Un corb. \nzh_TW.utf8=烏鴉。\r\nfr.utf8=\nno caption\n".encode()
    assert read_captions(data) == {"en": "A crow. 6x7=42", "ca": "Un corb.", "zh_TW": "烏鴉。"}


def test_an_empty_caption_file_has_no_captions() -> None:
    assert read_captions(b"") == {}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("crow", ("crow", False, "en")),
        ("crow_desc", ("crow", True, "en")),
        ("crow_desc_be", ("crow", True, "be")),
        ("crow_desc_pt_BR", ("crow", True, "pt_BR")),
        ("crow_desc_da.ogg", ("crow", True, "da")),
        ("crow_zh_tw", ("crow", False, "zh_tw")),
        ("hat_it", ("hat_it", False, "en")),
        ("magpie_desc_fr", ("", False, "")),
    ],
)
def test_a_sounds_name_says_concept_kind_and_locale(name: str, found: tuple[str, bool, str]) -> None:
    assert parse_sound(name, {"crow": {}, "hat": {}, "hat_it": {}}) == found


@pytest.mark.parametrize(
    ("locale", "subtag"),
    [("en", "en"), ("zh_TW", "zh"), ("ca@valencia", "ca"), ("sr@latin", "sr"), ("kab", "kab")],
)
def test_locales_become_primary_subtags(locale: str, subtag: str) -> None:
    assert primary_subtag(locale) == subtag


def test_the_manifest_ties_picture_sounds_and_captions_by_concept(
    stamps_tree: Path, tmp_path: Path, reports: list[str]
) -> None:
    manifest = Stamps(tree=SMALL, unpacked=tmp_path / "copy").get(tmp_path / "cache", report=reports.append)
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    assert {row["concept"] for row in rows} == {"animals/birds/crow", "gift"}
    assert {row["licence"] for row in rows} == {"GPL-2.0-or-later"}

    picture, *sounds, gift = rows
    assert picture["media"] == "animals/birds/crow.png"
    assert [(text["language"], text["text"], text["role"]) for text in picture["texts"]] == [
        ("en", "A crow. 6x7=42", "caption"),
        ("ca", "Un corb.", "caption"),
        ("zh", "烏鴉。", "caption"),
    ]
    assert picture["locales"] == ["en", "ca ca@valencia", "zh_TW"]
    assert (picture["category"], picture["folder"]) == ("animals", "animals/birds")

    heard = {row["media"].split("/")[-1]: (row["texts"][0], row["locales"]) for row in sounds}
    assert {name: (t["language"], t["text"], t["role"], loc) for name, (t, loc) in heard.items()} == {
        "crow.ogg": ("en", "A crow. 6x7=42", "sound", ["en"]),
        "crow_desc_ca.ogg": ("ca", "Un corb.", "spoken", ["ca"]),
        "crow_desc_ca.ogg.ogg": ("ca", "Un corb.", "spoken", ["ca"]),
        "crow_desc_lt.ogg": ("en", "A crow. 6x7=42", "caption", ["lt"]),
        "crow_zh_tw.ogg": ("zh", "烏鴉。", "sound", ["zh_tw"]),
    }
    assert "media" not in gift
    assert gift["texts"][0]["text"] == "A gift."
    assert "stamps: 2 concepts; 1 sounds without a caption left out" in reports
    assert all((manifest.parent / row["media"]).is_file() for row in rows if "media" in row)
