"""The audit set: its rules on hand-made rows, and the file that is committed."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from benchmarks.audit_clipart import agree, audit, evenly, judged, read, words


def a_row(name: str, title: str, keywords: str = "", credit: str = "Jane Roe") -> dict:
    folder = name.rpartition("/")[0]
    texts = [{"text": title, "role": "title"}, {"text": folder, "role": "folder"}]
    texts += [{"text": keywords, "role": "keywords"}] if keywords else []
    category = name.split("/")[0]
    facts = {"credit": credit, "category": category, "folder": folder, "names": [name]}
    return {"media": f"png/{name}.png", "texts": texts, **facts}


def labels(rows: list[dict]) -> dict[str, tuple[str, str]]:
    """File name -> (label, rule) of what a rule speaks about."""
    return {Path(found.media).stem: (found.label, found.rule) for _, found in judged(rows)}


def test_words_are_lower_case_without_digits_accents_and_stamps():
    assert words("Clipart by José - fooBar_01 &amp; ox") == ["clipart", "jose", "foo", "bar"]
    assert words("Part of it (Wed Aug 25 23:29:46 2004)") == ["part"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("horses", "horse", True),
        ("berries", "berry", True),
        ("roadsign", "road", True),
        ("car", "carpet", False),  # three letters begin too much
        ("gramastar", "stars", False),
        ("dog", "dogs", True),
    ],
)
def test_words_agree_as_forms_or_beginnings(one, other, same):
    assert agree(one, other) is agree(other, one) is same


def test_a_title_pasted_over_folders_is_wrong_but_where_it_belongs():
    things = ("tools/antenna", "computer/keyboard", "computer/mouse", "music/drum", "food/lemonade")
    found = labels([a_row(name, "Clipart by Jane Roe - antenna") for name in things])
    assert found == {Path(name).name: ("wrong", "copied") for name in things[1:]}


def test_a_title_that_most_of_its_pictures_bear_out_is_left_alone():
    things = ("a/antenna_1", "b/antenna_2", "c/antenna_3", "d/mouse")
    assert labels([a_row(name, "antenna") for name in things]) == {}


def test_the_name_of_a_series_and_of_nothing_are_wrong():
    series = [a_row(f"shapes/star_{i:02}x", "gramastar", "stars") for i in range(15)]
    process = [a_row(f"misc/thing_{i:02}x", "Various Cliparts") for i in range(15)]
    assert set(labels(series).values()) == {("wrong", "series")}
    assert set(labels(process).values()) == {("wrong", "process")}
    assert labels(series[:14]) == labels(process[:14]) == {}


def test_an_icon_theme_is_no_witness_for_its_name():
    rows = [
        a_row(f"computer/lemon-theme/{folder}/app_{i}", "Lemon SVG theme", "lemon_theme_icon")
        for folder in "abc"
        for i in range(5)
    ]
    assert set(labels(rows).values()) == {("wrong", "series")}


def test_an_author_for_a_title_is_wrong_unless_people_are_drawn():
    assert labels([a_row("animals/bugs/x", "Jane Roe", "insect")]) == {"x": ("wrong", "author")}
    assert labels([a_row("people/x", "Jane Roe", "face")]) == {}
    assert labels([a_row("animals/x", "jane", "insect")]) == {}


def test_addresses_and_file_names_are_wrong():
    assert labels([a_row("a/x", "ec2.py")]) == {"x": ("wrong", "code")}
    assert labels([a_row("a/x", "http://example.org/")]) == {"x": ("wrong", "code")}


def test_a_title_that_keywords_or_folders_bear_out_is_right():
    rows = [
        a_row("animals/mammals/a", "Two black horses", "horse, running"),
        a_row("animals/insects/b", "Flying insect by Jane Roe"),
        a_row("animals/c", "Cavallo", "horse"),  # true, but nothing here says so
        a_row("animals/d", "Animal", "animals"),  # says no more than the top-level folder
        a_row("food/e", "Pasta with a great deal more", "pasta"),  # a third at most is borne out
    ]
    assert labels(rows) == {"b": ("right", "named")}
    assert labels([a_row("animals/a", "Black horses", "horse")]) == {"a": ("right", "named")}


def test_a_picture_with_two_titles_is_left_out():
    row = a_row("animals/a", "Black horses", "horse")
    row["texts"].append({"text": "Another", "role": "title"})
    assert labels([row]) == {}


@pytest.mark.parametrize(
    ("there", "count", "expected"),
    [
        ({"a": 9, "b": 1, "c": 5}, 9, {"a": 4, "b": 1, "c": 4}),
        ({"a": 1, "b": 1}, 9, {"a": 1, "b": 1}),
        ({}, 3, {}),
    ],
)
def test_shares_are_as_even_as_there_are_pairs(there, count, expected):
    assert evenly(there, count) == expected


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", (90, 80), 255)
    pen = ImageDraw.Draw(picture)
    for cell in range(72):
        shade = (seed * 7919 + cell * cell * 31 + seed * cell * 17) % 256
        pen.rectangle((cell % 9 * 10, cell // 9 * 10, cell % 9 * 10 + 9, cell // 9 * 10 + 9), shade)
    picture.save(path)


def test_labels_are_matched_by_folder_like_pictures_once_and_draws_repeat(tmp_path):
    things = ["horse", "whale", "tiger", "mouse", "zebra", "camel", "otter", "eagle"]
    right = [a_row(f"animals/{thing}", thing, f"{thing}, animal") for thing in things]
    wrong = [a_row(f"animals/{'abc'[i % 3]}/w{i}x", "Clipart by Jane Roe - antenna") for i in range(8)]
    elsewhere = [a_row("tools/hammer", "hammer", "hammer")]  # no wrong one beside it
    for number, row in enumerate([*right, *wrong, *elsewhere]):
        draw(tmp_path / row["media"], 0 if row in right[:4] else number + 1)  # four pictures are alike
    rows = [*right, *wrong, *elsewhere]
    found = audit(rows, tmp_path, count=20, seed=3)
    assert Counter(pair.label for pair in found) == {"right": 5, "wrong": 5}
    assert {pair.category for pair in found} == {"animals"}
    assert len({pair.media for pair in found} & {row["media"] for row in right[:4]}) == 1
    assert audit(rows, tmp_path, count=20, seed=3) == found
    assert audit(rows, tmp_path, count=3, seed=4) != audit(rows, tmp_path, count=3, seed=5)


def test_the_set_that_is_committed_is_balanced_and_matched():
    found = read()
    assert Counter(pair.label for pair in found) == {"right": 200, "wrong": 200}
    assert len({pair.media for pair in found}) == 400
    by_folder = {
        label: Counter(pair.category for pair in found if pair.label == label) for label in ("right", "wrong")
    }
    assert by_folder["right"] == by_folder["wrong"]
    assert [pair.media for pair in found] == sorted(pair.media for pair in found)
