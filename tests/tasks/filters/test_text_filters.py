"""Values of the text filters, worked by hand."""

import time

import duckdb
import numpy as np
import pytest

from tasks.filters import Boilerplate, FileNameLike, Language, LengthChars, LengthWords, RareToken, SharedText
from tasks.filters._words import words


def test_length_leaves_out_blanks_at_the_ends_only(make_texts):
    np.testing.assert_array_equal(LengthChars()(make_texts(text=["  a b\n", "", "猫"])), [3, 0, 1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red house", ["a", "red", "house"]),
        ("don't - stop", ["don't", "stop"]),
        ("red_house-2.png", ["red", "house", "2", "png"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),  # combining marks do not cut a word
        ("شجرة خضراء، كبيرة", ["شجرة", "خضراء", "كبيرة"]),
        ("猫です。", ["猫", "で", "す"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("Straße ÉTÉ", ["strasse", "été"]),
        ("... ❤ -- !", []),
        ("", []),
    ],
)
def test_words_are_found_in_any_script(text, expected, make_texts):
    assert words(text) == expected
    assert LengthWords()(make_texts(text=[text])) == [len(expected)]


def test_language_compares_primary_subtags(make_texts):
    rows = make_texts(language=["en", "en-GB", "EN_us", "de", "und", None])
    np.testing.assert_array_equal(Language()(rows), [1, 1, 1, 0, 1, np.nan])
    np.testing.assert_array_equal(
        Language(allowed=("de-AT",), und_passes=False)(rows), [0, 0, 0, 1, 0, np.nan]
    )


def test_language_refuses_to_allow_none():
    with pytest.raises(ValueError, match="empty"):
        Language(allowed=())


def test_shared_text_is_the_count_over_pairs(make_texts):
    rows = make_texts(text_id=["a", "b"], text=["x", "y"], media_count=[1, 11])
    np.testing.assert_array_equal(SharedText()(rows), [1, 11])


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("A red house by the sea", 0),
        ("Portrait of a titled lady", 0),
        ("The part of the river", 0),
        ("A house made from wood", 0),
        ("icon of a house", 0),
        ("Ângela e João NÃO dançam", 0),
        ("", 0),
        ("   ", 0),
        ("Untitled", 1),
        ("untitled document 3", 1),
        ("image", 1),
        ("Logo.", 1),
        ("part of the flat icon collection", 1),
        ("Created with Inkscape", 1),
        ("HASH(0x8a3f10c)", 1),
        ("<b>", 1),
        ("https://example.org/a?b=c", 1),
        ("someone@example.org", 1),
        ("Copyright 2010 Somebody", 1),
        ("eps converted from wmf", 1),
        ("abcd www.x.y", 7 / 11),
        ("cafÃ©", 2 / 5),
    ],
)
def test_boilerplate_is_the_share_of_characters_in_template_phrases(text, share, make_texts):
    assert Boilerplate()(make_texts(text=[text])) == pytest.approx([share])


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("A red house by the sea", 0),
        ("An iPhone on McDonald's well-known table, 1984", 0),
        ("defaced facade", 0),
        ("YouTube", 0),
        ("", 0),
        ("DSC_0001", 1),
        ("IMG20240102", 1),
        ("red_house_icon", 1),
        ("houseIcon", 1),
        ("RedHouseIcon", 1),
        ("photo.JPG", 1),
        ("(photo.png)", 1),
        ("3f2a9b7c11", 1),
        ("123e4567-e89b-12d3-a456-426614174000", 1),
        ("20100405", 1),
        ("see DSC_0001", 8 / 11),
    ],
)
def test_file_name_like_is_the_share_of_characters_in_names_and_codes(text, share, make_texts):
    assert FileNameLike()(make_texts(text=[text])) == pytest.approx([share])


@pytest.mark.parametrize("method", [Boilerplate, FileNameLike, LengthWords])
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "a-",
        "a_",
        "aB",
        "<a",
        "&a",
        "@",
        "a@a.",
        "http",
        "part of the ",
        "created with ",
        "(c",
        "0a",
        "Ã",
        " ",
        "[url ",
        "converted from ",
        "{{",
        "%a",
        "a1-",
    ],
)
def test_long_hostile_texts_take_linear_time(method, piece, make_texts):
    def seconds(length: int) -> float:
        rows = make_texts(text=[(piece * length)[:length] + "!"])
        return min(_timed(method(), rows) for _ in range(2))

    # Quadratic would be 16 times the time of a quarter, and minutes at this length.
    assert seconds(40_000) < 10 * seconds(10_000) + 0.05


def _timed(method, rows) -> float:
    start = time.process_time()
    method(rows)
    return time.process_time() - start


def test_rare_token_is_the_document_frequency_that_sql_counts(make_texts):
    captions = ["red house", "red car", "Red house red", "xk42 house", "...", None]
    docs = [(i, w) for i, text in enumerate(captions) if text for w in text.lower().split() if w.isalnum()]
    db = duckdb.connect()
    db.execute("create table docs (i int, w text)")
    db.executemany("insert into docs values (?, ?)", docs)
    expected = dict(
        db.execute(
            "with df as (select w, count(distinct i) n from docs group by w) "
            "select i, min(n) from docs join df using (w) group by i"
        ).fetchall()
    )
    scores = RareToken()(make_texts(text=captions))
    np.testing.assert_array_equal(scores, [expected[0], expected[1], expected[2], expected[3], 0, np.nan])
    assert expected == {0: 3, 1: 1, 2: 3, 3: 1}


def test_rare_token_counts_pairs_of_words_when_asked(make_texts):
    rows = make_texts(text=["red house", "red house", "house red", "red"])
    np.testing.assert_array_equal(RareToken(max_n=2)(rows), [2, 2, 1, 4])


def test_rare_token_refuses_longer_runs():
    with pytest.raises(ValueError, match="max_n"):
        RareToken(max_n=3)
