"""Which pictures are described, and what a title is worth, on a manifest of five."""

import json

import pytest

from benchmarks.captions import likeness
from benchmarks.captions_clipart import clipart_of
from tests.conftest import write_picture


@pytest.fixture
def manifest(tmp_path):
    def row(n, title, description="", keywords="dog, animal"):
        write_picture(tmp_path / f"{n}.png", n)
        texts = [
            ("keywords", keywords),
            ("folder", "animals"),
            ("title", title),
            ("description", description),
        ]
        said = [{"role": role, "text": text, "language": "en"} for role, text in texts if text]
        return {"media": f"{n}.png", "texts": said}

    rows = [
        row(0, "Dog", "A brown dog that sits on a chair"),
        row(1, "Cat"),
        row(2, "", "A drawing of nothing at all"),  # without a title
        row(3, "Sun", "sun"),  # too short to be a description
        row(4, "Moon"),
        {"media": "missing.png", "texts": [{"role": "title", "text": "Gone", "language": "en"}]},
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "manifest.jsonl"


def test_titles_are_captions_and_long_descriptions_the_reference(manifest, tmp_path):
    clipart, described = clipart_of(manifest, tmp_path / "cache", without=1)
    assert (
        len(clipart.caption) == 2 and "Dog" in clipart.caption
    )  # of those without a description one was asked for
    dog = list(clipart.caption).index("Dog")
    assert described == {dog: "A brown dog that sits on a chair"}
    assert [(one.role, one.text) for one in clipart.foreign[dog]] == [
        ("keywords", "dog, animal"),
        ("folder", "animals"),
    ]
    again, _ = clipart_of(manifest, tmp_path / "cache", without=1)
    assert (again.pooled == clipart.pooled).all()


def test_a_text_is_most_like_itself():
    truth = {0: "A brown dog that sits on a chair", 1: "A red car on the road"}
    assert likeness(dict(truth), truth)["ROUGE-L"] == 1
    title = likeness({0: "Dog"}, truth)
    assert title["ROUGE-L"] == pytest.approx(2 * 1 * (1 / 8) / (1 + 1 / 8))  # one word, and one of eight
