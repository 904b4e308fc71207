"""Captions from classes and statistics: drawn pictures, logits made by hand, a real reader of writing."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import load_file

from benchmarks import make_class_names
from schemas.errors import InvalidParameter
from schemas.recipes import MethodRef
from tasks.captioners._classes import NAMES, NOTHING, class_probabilities, hedge, terms
from tasks.captioners._writing import MOST_CHARS, PACKAGE, clean, read_writing
from tasks.captioners.contract import Draft, Failure, Medium
from tasks.captioners.labels import Labels
from tasks.catalog import build, method_digest
from tasks.encoders.lite import HEAD

reads = pytest.mark.skipif(
    importlib.util.find_spec("rapidocr_onnxruntime") is None, reason="the extra 'ocr' is not installed"
)
TABLE = json.loads(NAMES.read_text(encoding="utf-8"))


def draw(size: tuple[int, int] = (200, 160), paper: str = "white") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", size, paper)
    return image, ImageDraw.Draw(image)


def caption(image: Image.Image, media_id: str = "m", **parameters) -> Draft | Failure:
    return Labels(**parameters)([Medium(media_id, np.asarray(image))])[0]


def logits_of(wanted: dict[str, float]) -> np.ndarray:
    """Logits under which the classes of some synsets have given logits over what is expected, others none."""
    prior = load_file(HEAD)["class_prior"]
    row = np.full(1000, -50.0)
    for index, (synset, _, _) in enumerate(TABLE["classes"]):
        row[index] = wanted.get(synset, -50.0)
    return (row + prior)[None].astype(np.float32)


# --- what is said of drawn pictures ---------------------------------------------------------------


def test_says_the_colour_of_a_disc():
    image, pen = draw()
    pen.ellipse((50, 30, 150, 130), fill=(210, 20, 20), outline="black", width=4)
    draft = caption(image)
    assert re.search(r"\bred\b", draft.text)
    assert draft.facts["colours"][0] == "red"
    assert draft.facts["background"] == "white"
    assert draft.facts["style"] == "icon"
    assert "count" not in draft.facts
    assert [s.text for s in draft.statements if s.kind == "colour"] == ["red"]


def test_counts_alike_parts_and_no_others():
    image, pen = draw((300, 120))
    for left in (10, 110, 210):
        pen.ellipse((left, 20, left + 70, 90), fill=(0, 140, 0))
    draft = caption(image)
    assert re.search(r"\bthree green \w+s\b", draft.text)
    assert draft.facts["count"] == 3
    assert [(s.text, s.kind) for s in draft.statements if s.kind == "count"] == [("three", "count")]

    pen.ellipse((210, 20, 280, 90), fill="white")
    pen.ellipse((230, 40, 245, 55), fill=(0, 140, 0))  # much smaller than the other two
    unlike = caption(image)
    assert unlike.facts["parts"] == 3
    assert "count" not in unlike.facts
    assert not [s for s in unlike.statements if s.kind == "count"]


def test_names_a_background_that_is_not_white():
    image, pen = draw(paper="#0020c0")
    pen.ellipse((50, 30, 150, 130), fill=(250, 220, 0))
    for media_id in "abcdef":
        draft = caption(image, media_id)
        words = next(s.text for s in draft.statements if "background" in s.text)
        assert words in ("blue background", "background blue")
        assert words in draft.text
        assert draft.facts["colours"] == ["yellow"]


def test_says_line_drawing_and_then_no_black_or_white():
    image, pen = draw()
    pen.rectangle((30, 30, 170, 130), outline="black", width=3)
    pen.line((30, 30, 170, 130), fill="black", width=3)
    draft = caption(image, sure=1.0)
    assert draft.text == "a black-and-white line drawing"
    assert [s.kind for s in draft.statements] == ["style"]


def test_says_plain_of_one_colour_and_nothing_of_white():
    assert caption(draw(paper="#c00000")[0]).text in ("a plain red picture", "a picture in plain red")
    assert caption(draw()[0]) == Failure("nothing-to-say", "the picture is white all over")


def test_knows_no_thing_in_noise():
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    result = Labels()([Medium("m", noise)])[0]
    assert isinstance(result, Failure) or not [s for s in result.statements if s.kind == "object"]


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((5, 5, 4), np.uint8),
        None,
    ],
)
def test_what_is_no_picture_fails_alone(picture):
    image, pen = draw()
    pen.ellipse((50, 30, 150, 130), fill=(210, 20, 20))
    good = Medium("good", np.asarray(image))
    bad, fine = Labels()([Medium("bad", picture), good])
    assert bad.reason == "no-picture"
    assert bad.message.startswith("a picture must be")
    assert fine == Labels()([good])[0]


def test_forms_vary_over_media_and_seeds_and_keep_to_a_medium():
    image, pen = draw()
    pen.ellipse((50, 30, 150, 130), fill=(210, 20, 20), outline="black", width=4)
    texts = {caption(image, f"m{n}").text for n in range(12)}
    assert len(texts) >= 2
    assert len({caption(image, "m", seed=n).text for n in range(12)}) >= 2
    assert caption(image, "m7") == caption(image, "m7")


def test_says_fewer_colours_where_asked_to():
    image, pen = draw()
    pen.rectangle((20, 20, 100, 140), fill=(200, 0, 0))
    pen.rectangle((100, 20, 180, 140), fill=(0, 0, 200))
    both, one, none = (caption(image, colours=n, sure=1.0) for n in (2, 1, 0))
    assert {s.text for s in both.statements if s.kind == "colour"} == {"red", "blue"}
    assert len([s for s in one.statements if s.kind == "colour"]) == 1
    assert none.reason == "nothing-to-say"
    assert set(one.facts["colours"]) == {"red", "blue"}


def test_classes_are_facts_with_falling_probabilities(demo_apple):
    classes = Labels()([demo_apple])[0].facts["classes"]
    chances = [chance for _, chance in classes]
    assert len(classes) == 5
    assert chances == sorted(chances, reverse=True)
    assert 0 <= sum(chances) <= 1


def test_a_higher_temperature_is_less_sure_of_everything(demo_apple):
    cool, hot = (Labels(temperature=t)([demo_apple])[0].facts["classes"][0][1] for t in (0.7, 1.4))
    assert cool > hot + 0.01


@pytest.fixture
def demo_apple() -> Medium:
    image, pen = draw()
    pen.ellipse((50, 30, 150, 130), fill=(210, 20, 20), outline="black", width=4)
    return Medium("apple", np.asarray(image))


# --- hedging --------------------------------------------------------------------------------------


def hedge_by_loops(chance: np.ndarray, sure: float) -> tuple[str, float] | None:
    """Every word, its classes and their sum, from the file itself."""
    hypernyms = [name for _, name in TABLE["hypernyms"]]
    holds: dict[str, set[int]] = {}
    for row, (_, name, above) in enumerate(TABLE["classes"]):
        for word in {name, *(hypernyms[j] for j in above)}:
            holds.setdefault(word, set()).add(row)
    found = [(len(rows), -sum(chance[row] for row in rows), word) for word, rows in holds.items()]
    likely = [entry for entry in found if -entry[1] >= sure]
    return (min(likely)[2], -min(likely)[1]) if likely else None


@pytest.mark.parametrize("sure", [0.2, 0.5, 0.8])
def test_hedges_as_a_loop_over_every_word_does(sure):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(40, 1000)).astype(np.float32)
    for row in range(40):  # some sure of one class, some of a few neighbours, some of nothing
        first = rng.integers(980)
        logits[row, first : first + rng.integers(1, 20)] += rng.uniform(3, 16)
    chances = class_probabilities(logits, 1.1)
    said = hedge(chances, sure)
    assert None in said
    assert len([word for word in said if word]) > 5
    for chance, word in zip(chances, said, strict=True):
        expected = hedge_by_loops(chance, sure)
        assert (word is None) == (expected is None)
        if word:
            assert word.name == expected[0]
            assert word.probability == pytest.approx(expected[1])


def test_probabilities_are_a_softmax_with_one_more_outcome():
    logits = np.random.default_rng(2).normal(scale=5, size=(3, 1000)).astype(np.float32)
    weight = np.exp((logits.astype(float) - load_file(HEAD)["class_prior"]) / 1.7)
    expected = weight / (weight.sum(axis=1, keepdims=True) + np.exp(NOTHING / 1.7))
    np.testing.assert_allclose(class_probabilities(logits, 1.7), expected)


def test_says_dog_where_it_cannot_tell_the_breed():
    breeds = ("n02099712", "n02106662", "n02110958", "n02088364")  # Labrador, German shepherd, pug, beagle
    unsure = class_probabilities(logits_of(dict.fromkeys(breeds, 12.0)), 1.0)
    assert hedge(unsure, 0.6)[0].name == "dog"
    clear = class_probabilities(logits_of({breeds[2]: 14.0}), 1.0)
    assert hedge(clear, 0.6)[0].name == "pug"


def test_says_nothing_where_it_knows_neither_animal_nor_thing():
    half = class_probabilities(logits_of({"n02110958": 10.0, "n04285008": 10.0}), 1.0)  # pug, sports car
    assert hedge(half, 0.6) == [None]
    assert hedge(class_probabilities(logits_of({}), 1.0), 0.01) == [None]


def test_the_file_of_names_is_whole_small_and_carries_its_licence():
    assert Path(NAMES).stat().st_size < 150_000
    assert "Princeton University" in TABLE["licence"]
    assert "ALL copies of the software, database and documentation" in TABLE["licence"]
    synsets = [synset for synset, _, _ in TABLE["classes"]]
    assert len(synsets) == 1000
    assert synsets == sorted(set(synsets))  # the order of the network's outputs
    size = [sum(row in above for _, _, above in TABLE["classes"]) for row in range(len(TABLE["hypernyms"]))]
    for _, name, above in TABLE["classes"]:
        assert name == name.strip() != ""
        assert [size[row] for row in above] == sorted(size[row] for row in above)  # the most specific first
    known = {
        synset: (name, {TABLE["hypernyms"][row][1] for row in above})
        for synset, name, above in TABLE["classes"]
    }
    assert known["n02110958"] == ("pug", {"dog", "mammal", "animal"})
    assert known["n07742313"] == ("apple", {"fruit", "fruit or vegetable", "food"})
    assert {"car", "motor vehicle", "vehicle"} <= known["n04285008"][1]
    assert {name for _, name in TABLE["hypernyms"]} == set(make_class_names.KEPT.values())
    assert make_class_names.NAMES.items() <= {synset: name for synset, (name, _) in known.items()}.items()
    assert terms().holds.sum(axis=0).max() == size[-1]  # animal


# --- writing --------------------------------------------------------------------------------------


def poster(words: str, size: int = 44) -> np.ndarray:
    image, pen = draw((320, 160))
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    pen.text((20, 50), words, fill="black", font=ImageFont.truetype(str(font), size))
    return np.asarray(image)


@reads
def test_reads_and_quotes_writing():
    draft = Labels(ocr=True)([Medium("m", poster("OPEN DAILY"))])[0]
    written = [s for s in draft.statements if s.kind == "writing"]
    assert [s.text for s in written] == ["OPEN DAILY"]
    assert written[0].confidence > 0.8
    assert '"OPEN DAILY"' in draft.text
    assert draft.facts["writing"] == ["OPEN DAILY"]


@reads
def test_reads_nothing_where_nothing_is_written_and_in_the_tiniest_pictures(demo_apple):
    assert read_writing(demo_apple.picture) == []
    assert read_writing(np.zeros((1, 1, 3), np.uint8)) == []
    assert read_writing(np.zeros((2, 300, 3), np.uint8)) == []


@reads
def test_does_not_read_unless_asked():
    draft = Labels()([Medium("m", poster("OPEN DAILY"))])[0]
    assert "writing" not in draft.facts
    assert "OPEN" not in draft.text


@pytest.mark.parametrize(
    ("found", "quoted"),
    [
        ("  two\n lines\t", "two lines"),
        ('say "no"', "say 'no'"),
        ("a\u0000b\u202ec\ud800", "a b c"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u200b", ""),
    ],
)
def test_writing_is_made_fit_to_quote(found, quoted):
    assert clean(found) == quoted


def test_long_writing_is_cut_at_a_word():
    cut = clean("word " * 100)
    assert len(cut) <= MOST_CHARS
    assert cut.endswith("word")
    assert len(clean("w" * 500)) == MOST_CHARS


def test_says_which_extra_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)  # as if it were not installed
    with pytest.raises(InvalidParameter, match=r"rapidocr_onnxruntime is not installed.*\[ocr\]"):
        Labels(ocr=True)
    Labels()


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"sure": 0.0},
        {"sure": 1.1},
        {"sure": float("nan")},
        {"temperature": 0.0},
        {"temperature": float("inf")},
        {"colours": -1},
        {"seed": -1},
    ],
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Labels(**wrong)
    with pytest.raises(InvalidParameter):
        build({"labels": Labels}, MethodRef(name="labels", params=wrong))


def test_its_parameters_have_a_digest():
    assert method_digest(Labels()) != method_digest(Labels(sure=0.7))
