"""The made lakes are what an ingest of their manifest leaves, and growth is measured as arithmetic says."""

import json

import pytest

from benchmarks import make_lake, scale
from schemas.recipes import CurationRecipe
from storage import lake as lakes
from tasks.ingest import listed
from tasks.run import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return folder, make_lake.make(folder, 400, dim=8)


def fingerprints(folder) -> dict[str, str]:
    lake = lakes.open(str(folder / "lake"))
    run = Run("x", CurationRecipe.model_validate(make_lake.recipe(folder, dim=8)), lake.place, None, None)
    rows = [row for batch in listed(run) for row in batch.to_pylist()]
    assert not [row["problem_message"] for row in rows if row["problem"]]
    return {row["source_id"]: row["fingerprint"] for row in rows}


def test_a_made_lake_holds_what_its_manifest_lists(made):
    folder, counts = made
    lake = lakes.open(str(folder / "lake"))
    sources = lake.read("sources").to_pylist()
    assert {row["source_id"]: row["fingerprint"] for row in sources} == fingerprints(folder)
    wanted = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    pairs = {(number, text["text"]) for number, row in enumerate(wanted) for text in row["texts"]}
    assert counts["media"] == counts["sources"] == 400
    assert counts["pairs"] == len(pairs)
    assert counts["texts"] == len({text for _, text in pairs})
    assert counts["embeddings_hashing_" + embeddings_suffix(counts)] == 400 + counts["texts"]


def embeddings_suffix(counts: dict[str, int]) -> str:
    return next(name.removeprefix("embeddings_hashing_") for name in counts if name.startswith("embeddings"))


def test_a_pair_of_a_made_lake_joins_a_medium_and_a_text(made):
    lake = lakes.open(str(made[0] / "lake"))
    media = set(lake.read("media", columns=["media_id"])["media_id"].to_pylist())
    texts = set(lake.read("texts", columns=["text_id"])["text_id"].to_pylist())
    pairs = lake.read("pairs").to_pylist()
    assert {row["media_id"] for row in pairs} == media
    assert {row["text_id"] for row in pairs} == texts


def test_changing_a_hundredth_changes_half_of_it_adds_half_and_lets_a_quarter_go(tmp_path):
    make_lake.make(tmp_path, 400, dim=8)
    before = fingerprints(tmp_path)
    make_lake.change(tmp_path, share=0.01)
    after = fingerprints(tmp_path)
    changed = [one for one in before.keys() & after.keys() if before[one] != after[one]]
    assert len(after.keys() - before.keys()) == 2  # 1 % of 400 is 4: two new, two changed, one gone
    assert len(before.keys() - after.keys()) == 1
    assert 1 <= len(changed) <= 2  # what went may have been what was changed


def test_the_exponent_is_that_of_the_power_law_behind_the_numbers():
    of_size = {n: {"cpu_s": 3e-5 * n**1.25} for n in (10_000, 100_000, 1_000_000)}
    assert scale.exponent(of_size) == pytest.approx(1.25)
