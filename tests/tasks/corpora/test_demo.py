"""The corpus that ships: whole, small, licensed and readable."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tasks.corpora import CORPORA


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CORPORA["demo"]().get(tmp_path_factory.mktemp("cache"), report=lambda line: None)


@pytest.fixture(scope="module")
def rows(manifest: Path) -> list[dict]:
    return [json.loads(line) for line in manifest.read_bytes().decode("utf-8").splitlines()]


def test_has_as_many_pictures_as_it_says(rows: list[dict]) -> None:
    assert len({row["media"] for row in rows}) == len(rows) == CORPORA["demo"].media_count


def test_every_picture_opens_and_is_at_most_256_px(manifest: Path, rows: list[dict]) -> None:
    for row in rows:
        with Image.open(manifest.parent / row["media"]) as image:
            image.load()
            assert 1 <= max(image.size) <= 256


def test_stays_under_twelve_megabytes(manifest: Path) -> None:
    assert sum(path.stat().st_size for path in manifest.parent.rglob("*") if path.is_file()) < 12_000_000


def test_the_folder_holds_what_the_manifest_names_and_no_links(manifest: Path, rows: list[dict]) -> None:
    files = [path for path in manifest.parent.rglob("*") if not path.is_dir()]
    assert not [path for path in manifest.parent.rglob("*") if path.is_symlink()]
    named = {manifest.parent / row["media"] for row in rows}
    assert set(files) == named | {manifest, manifest.parent / "README.md"}


def test_every_row_is_public_domain_and_credited(rows: list[dict]) -> None:
    assert {row["licence"] for row in rows} == {"CC-PDDC"}
    assert all(row["credit"].strip() for row in rows)


def test_every_row_has_texts_and_none_is_blank(rows: list[dict]) -> None:
    for row in rows:
        assert {text["role"] for text in row["texts"]} <= {"title", "keywords", "description", "folder"}
        assert row["texts"]
        assert all(text["text"].strip() and text["origin"] == "raw" for text in row["texts"])


def test_natural_noise_was_left_in(manifest: Path, rows: list[dict]) -> None:
    titles = Counter(text["text"] for row in rows for text in row["texts"] if text["role"] == "title")
    digests = Counter(hashlib.sha256((manifest.parent / row["media"]).read_bytes()).digest() for row in rows)
    assert sum(count for count in titles.values() if count > 1) > 60
    assert sum(count > 1 for count in digests.values()) >= 5


def test_every_top_level_folder_is_there(rows: list[dict]) -> None:
    assert len({row["category"] for row in rows}) >= 20
