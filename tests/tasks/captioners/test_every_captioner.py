"""What every captioner promises."""

import json
import pkgutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest

import tasks.captioners
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.captioners import CAPTIONERS
from tasks.captioners._reading import admitted
from tasks.captioners.contract import (
    MAX_CHARS,
    Captioner,
    Corpus,
    Draft,
    Failure,
    Known,
    Medium,
)
from tasks.catalog import build
from tests.tasks.captioners.commonest import Commonest
from tests.tasks.captioners.shape import Shape

# Parameters of captioners that cannot do without, from fixtures of conftest.py.
NEEDS: dict[str, Callable[[pytest.FixtureRequest], dict[str, Any]]] = {
    # of four things none is many deviations from the others
    "concepts": lambda request: {"vocabulary": (*THINGS["en"], *COLOURS["en"]), "stands_out": 0.5},
    "hf-vision2seq": lambda request: {"model": request.getfixturevalue("blip")},
    "openai-compatible": lambda request: {
        "base_url": request.getfixturevalue("endpoint").url,
        "model": "tiny",
        "backoff_s": 0.001,
    },
    "prefix": lambda request: {"width": 32, "heads": 2, "vocabulary": 400, "learning_rate": 4e-3, "folds": 2},
}
KINDS = {"object", "colour", "count", "size", "orientation", "style", "writing", "whole"}
THINGS = {"en": ("car", "house", "tree", "dog"), "de": ("Auto", "Haus", "Baum", "Hund")}
COLOURS = {"en": ("red", "green", "blue", "white"), "de": ("rotes", "grünes", "blaues", "weißes")}
DIM = 32


EVERY: dict[str, type[Captioner]] = {**CAPTIONERS, "shape": Shape, "commonest": Commonest}
every_captioner = pytest.mark.parametrize("name", EVERY)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def encode(texts: Sequence[str]) -> np.ndarray:
    """Words of one thing or colour share a direction in every language; other words have hardly any."""
    vectors = np.full((len(texts), DIM), 1e-3)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            for start, tables in ((0, THINGS), (8, COLOURS)):
                for words in tables.values():
                    if word in (lower := [w.lower() for w in words]):
                        vectors[row, start + lower.index(word)] += 1
    return unit(vectors)


def paint(row: int, thing: int, colour: int) -> np.ndarray:
    """A coloured block on white, its place and size by the thing."""
    picture = np.full((48, 64, 3), 255, np.uint8)
    shade = [(200, 0, 0), (0, 150, 0), (0, 0, 200), (250, 250, 250)][colour]
    picture[8 : 20 + 6 * thing, 5 + row % 3 : 30 + 8 * thing] = shade
    return picture


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """96 media of 16 kinds, each with an English and a German text."""
    chance = np.random.default_rng(0)
    kinds = [(row % 4, row // 4 % 4) for row in range(96)]
    texts = [
        Known(
            f"t{language}{row:03d}", " ".join((article, COLOURS[language][c], THINGS[language][t])), language
        )
        for row, (t, c) in enumerate(kinds)
        for language, article in (("en", "a"), ("de", "ein"))
    ]
    text_vec = encode([text.text for text in texts])
    return Corpus(
        media_ids=tuple(f"c{row:03d}" for row in range(96)),
        media_vec=unit(text_vec[::2] + 0.02 * chance.normal(size=(96, DIM))),
        texts=tuple(texts),
        text_vec=text_vec,
        pairs=np.array([(row, 2 * row + side) for row in range(96) for side in (0, 1)], np.int64),
        encode=encode,
    )


@pytest.fixture(scope="module")
def shown() -> list[Medium]:
    """Eight new media with vectors and texts of their own, the last one with a picture and no more."""
    media = []
    for row in range(8):
        thing, colour = row % 4, row // 2 % 3
        own = Known(f"own{row}", f"ein {COLOURS['de'][colour]} {THINGS['de'][thing]}", "de")
        terms = Known(f"terms{row}", f"{THINGS['en'][thing]}, clip art", "en", "keywords")
        vector = encode([own.text])[0]
        media.append(Medium(f"n{row}", paint(row, thing, colour), vector, (own, terms)))
    return [*media[:-1], replace(media[-1], vector=None, texts=())]


@pytest.fixture
def captioner(name: str, corpus: Corpus, request: pytest.FixtureRequest) -> Captioner:
    """The captioner with the parameters it needs, having learnt if it learns."""
    made = build(EVERY, MethodRef(name=name, params=NEEDS[name](request) if name in NEEDS else {}))
    return made.learn(corpus) if made.learns else made


def told(result: Draft | Failure) -> tuple[Any, ...]:
    """What is said, for comparing; a network's last bits depend on how many pictures it sees at once."""
    if isinstance(result, Failure):
        return (result.reason,)
    said = [(s.text, s.kind, s.parents, round(s.confidence, 3)) for s in result.statements]
    return result.text, result.language, result.parents, said


@every_captioner
def test_says_something_of_what_it_can_see(name, captioner, shown):
    drafts = captioner(shown)
    assert len(drafts) == len(shown)
    assert sum(isinstance(draft, Draft) for draft in drafts) >= 6


@every_captioner
def test_drafts_are_lines_made_of_statements(name, captioner, shown):
    for draft in captioner(shown):
        if isinstance(draft, Failure):
            assert draft.reason == draft.reason.strip().lower() != ""
            assert len(draft.message) <= 500
            continue
        assert draft.text == unicodedata.normalize("NFC", draft.text).strip() != ""
        assert len(draft.text) <= MAX_CHARS
        assert len(draft.text.splitlines()) == 1
        assert not any(unicodedata.category(character) == "Cc" for character in draft.text)
        assert draft.statements
        for statement in draft.statements:
            assert statement.text in draft.text
            assert statement.text
            assert statement.kind in KINDS
            assert 0 <= statement.confidence <= 1
            assert set(statement.parents) <= set(draft.parents)
        assert list(draft.parents) == sorted(set(draft.parents))
        assert 2 <= len(draft.language) <= 3
        json.dumps(dict(draft.facts), allow_nan=False)
        assert all(np.isfinite(amount) and amount >= 0 for amount in draft.cost.values())


@every_captioner
def test_what_it_says_is_believed_and_taken_as_it_is(name, captioner, shown):
    for draft in captioner(shown):
        assert admitted(draft) == draft
        if isinstance(draft, Draft):  # 0 is for odd texts: it would be refused
            assert min(statement.confidence for statement in draft.statements) > 0


@every_captioner
def test_never_names_the_medium(name, captioner, shown):
    secret = [replace(medium, media_id=f"{medium.media_id}-5ecret") for medium in shown]
    assert not any("5ecret" in draft.text for draft in captioner(secret) if isinstance(draft, Draft))


@every_captioner
def test_says_the_same_again(name, captioner, shown):
    assert captioner(shown) == captioner(shown)


@every_captioner
def test_says_of_a_medium_alone_what_it_says_of_it_among_others(name, captioner, shown):
    together = [told(result) for result in captioner(shown)]
    assert [told(captioner([medium])[0]) for medium in shown] == together
    assert [told(result) for result in captioner(shown[::-1])] == together[::-1]


@every_captioner
def test_has_nothing_to_say_of_nothing(name, captioner):
    assert captioner([]) == []


@every_captioner
@pytest.mark.parametrize("picture", [(1, 1), (320, 320), (1, 320), (320, 2), (0, 0)])
def test_a_strange_picture_fails_neither_the_call_nor_the_rest(name, picture, captioner, shown):
    strange = replace(shown[0], media_id="strange", picture=np.full((*picture, 3), 255, np.uint8))
    results = captioner([shown[1], strange, shown[2]])
    assert isinstance(results[1], Draft | Failure)
    assert [told(results[0]), told(results[2])] == [told(r) for r in captioner([shown[1], shown[2]])]


@every_captioner
def test_learning_gives_another_captioner_or_itself(name, corpus, request):
    fresh = build(EVERY, MethodRef(name=name, params=NEEDS[name](request) if name in NEEDS else {}))
    learnt = fresh.learn(corpus)
    assert type(learnt) is type(fresh)
    if not fresh.learns:
        assert learnt is fresh
        return
    assert learnt is not fresh
    with pytest.raises(DataError, match="learn"):  # what was learnt is not in the one it was learnt from
        fresh([Medium("x", np.zeros((4, 4, 3), np.uint8))])


@every_captioner
def test_says_what_it_is(name):
    source = EVERY[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"
    assert EVERY[name].version
    assert isinstance(EVERY[name].learns, bool)
    assert EVERY[name].modalities
    assert EVERY[name].modalities <= {"image", "audio", "video", "text"}
    assert EVERY[name].__doc__


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.captioners.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in CAPTIONERS}


def test_the_list_is_sorted():
    assert list(CAPTIONERS) == sorted(CAPTIONERS)


def test_naming_the_family_opens_no_network():
    code = "import sys, tasks.captioners; print('torch' in sys.modules or 'onnxruntime' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
