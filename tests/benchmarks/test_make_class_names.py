"""Names of classes from a WordNet of four nouns, in the format of wndb(5WN)."""

import json

import pytest

from benchmarks import make_class_names
from benchmarks.make_class_names import ancestors, read_nouns, table

NOUNS = """\
  1 This software and database is being provided to you ...
00000010 03 n 02 animal 0 beast 0 001 ~ 00000020 n 0000 | a living thing | with a bar
00000020 05 n 01 placental 0 002 @ 00000010 n 0000 ~ 00000030 n 0000 | one level more
00000030 05 n 02 guard_dog 0 watchdog 1 003 @ 00000020 n 0000 @i 00000040 n 0000 ;c 00000010 n 0000 | barks
00000040 05 n 01 pet 0 000 | kept at home
"""


@pytest.fixture
def nouns(tmp_path, monkeypatch):
    monkeypatch.setattr(make_class_names, "KEPT", {"00000010": "animal", "00000040": "pet"})
    monkeypatch.setattr(make_class_names, "NAMES", {})
    path = tmp_path / "data.noun"
    path.write_text(NOUNS, encoding="utf-8")
    return path


def test_reads_words_and_hypernyms_but_no_other_pointers(nouns):
    words, parents = read_nouns(nouns)
    assert words["00000030"] == ["guard_dog", "watchdog"]
    assert parents["00000030"] == ["00000020", "00000040"]
    assert ancestors("00000030", parents) == {"00000030", "00000020", "00000010", "00000040"}


def test_keeps_the_hypernyms_that_people_name(nouns):
    made = json.loads(table(["n00000030", "n00000020"], nouns))
    assert made["hypernyms"] == [["n00000040", "pet"], ["n00000010", "animal"]]  # 1 class, then 2
    assert made["classes"] == [["n00000030", "guard dog", [0, 1]], ["n00000020", "placental", [1]]]
    assert "Princeton" in made["licence"]


def test_refuses_classes_and_names_that_are_not_there(nouns, monkeypatch):
    with pytest.raises(ValueError, match="n00000099"):
        table(["n00000030", "n00000099"], nouns)
    monkeypatch.setattr(make_class_names, "NAMES", {"n00000077": "stranger"})
    with pytest.raises(ValueError, match="n00000077"):
        table(["n00000030"], nouns)
