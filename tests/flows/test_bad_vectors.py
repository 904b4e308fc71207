"""Methods that break their promise inside a curation: an error that names them, and nothing committed."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest

from flows.curate import curate
from schemas.errors import DataError, EncoderError
from schemas.source import Source
from storage import lake as lakes
from tasks.encoders import ENCODERS
from tasks.encoders.hashing import Hashing
from tasks.noise import NOISE_SCORERS
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")

HERE = Source(title="Broken on purpose", authors="This test", year=2026, url="https://example.org")


@dataclass(frozen=True)
class Overconfident:
    """A scorer whose third pair is likelier than certain."""

    name: ClassVar[str] = "overconfident"
    source: ClassVar[Source] = HERE
    scope: ClassVar[Literal["shard", "table"]] = "table"

    def __call__(self, pairs):
        scores = np.linspace(0, 1, len(pairs), dtype=np.float32)
        scores[2] = 1.5
        return scores


@dataclass(frozen=True)
class Short(Overconfident):
    """A scorer that forgets a pair."""

    name: ClassVar[str] = "short"

    def __call__(self, pairs):
        return np.zeros(len(pairs) - 1, np.float32)


@dataclass(frozen=True)
class Lost(Hashing):
    """An encoder that gives a caption with "seven" in it no place."""

    name: ClassVar[str] = "lost"

    def __call__(self, items):
        vectors = super().__call__(items)
        for row, item in enumerate(items):
            if isinstance(item, str) and "seven" in item:
                vectors[row] = np.nan
        return vectors


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "media"
    for number, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight"]):
        write_picture(folder / f"{number}.png", number)
        (folder / f"{number}.txt").write_text(f"picture number {word} of eight")
    return folder


def committed(lake_dir):
    return [] if (lake := lakes.open(lake_dir)).head() is None else lake.snapshots()


@pytest.mark.parametrize(
    ("scorer", "words"),
    [(Overconfident, r"'overconfident' gave 1\.5 to pair [0-9a-f]{16}"), (Short, r"'short' gave \(7,\) values for 8 pairs")],
)  # fmt: skip
def test_a_scorer_out_of_range_is_named_with_its_pair(
    pictures, recipe_of, lake_dir, monkeypatch, scorer, words
):
    monkeypatch.setitem(NOISE_SCORERS, scorer.name, scorer)
    recipe = recipe_of(pictures, filters=[], pair_rules=[{"method": {"name": scorer.name}, "at_least": 0.1}])
    with pytest.raises(DataError, match=words):
        curate(recipe, lake=lake_dir)
    assert committed(lake_dir) == []


def test_a_member_out_of_range_stops_the_study(pictures, recipe_of, lake_dir, monkeypatch):
    monkeypatch.setitem(NOISE_SCORERS, Overconfident.name, Overconfident)
    study = {"scorer": {"name": "overconfident"}}
    with pytest.raises(DataError, match="overconfident"):
        curate(recipe_of(pictures, filters=[], pair_rules=[], correspondence=study), lake=lake_dir)
    assert committed(lake_dir) == []


def test_a_vector_that_is_not_finite_is_named_with_its_item(pictures, recipe_of, lake_dir, monkeypatch):
    monkeypatch.setitem(ENCODERS, Lost.name, Lost)
    recipe = recipe_of(pictures, filters=[], pair_rules=[], encoder={"name": "lost"})
    with pytest.raises(
        EncoderError, match=r"'lost' gave text [0-9a-f]{16}\w* a vector of length nan in column vector"
    ):
        curate(recipe, lake=lake_dir)
    assert committed(lake_dir) == []


def test_texts_that_are_all_equal_are_not_divided(pictures, recipe_of, lake_dir):
    for path in pictures.glob("*.txt"):
        path.write_text("always the same words")
    curate(recipe_of(pictures, filters=[], pair_rules=[], correspondence={"noisy_below": 0.4}), lake=lake_dir)
    lake = lakes.open(lake_dir)
    (division,) = [row for row in lake.read("divisions").to_pylist() if row["active"]]
    assert (division["separable"], division["noisy"], division["noise_rate"]) == (False, 0, None)
    assert all(row["kept"] for row in lake.read("pairs").to_pylist())
