"""The study of pairs inside a curation: what it writes, what people may say to it, and how it is undone."""

import json

import lance
import numpy as np
import pytest
from PIL import Image

from flows.curate import curate
from flows.review import state_verdict, undo_run
from schemas.errors import DataError, LakeError
from storage import lake as lakes
from tasks.review import Statement
from tests.flows.conftest import content

pytestmark = pytest.mark.usefixtures("prefect_server")

WORDS = ("red", "green", "blue", "yellow", "black", "white", "pink", "orange")
COLOURS = ("#d01010", "#10b010", "#1010d0", "#e0d010", "#101010", "#f0f0f0", "#f090b0", "#f08010")
STUDY = {"noisy_below": 0.4, "clean_above": 0.6, "roles": ["caption"]}


@pytest.fixture
def coloured(tmp_path):
    """96 pictures of two colours, captioned by them; the first twelve say the wrong ones."""
    folder = tmp_path / "coloured"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(96):
        left, right = rng.permutation(len(WORDS))[:2]
        picture = Image.new("RGB", (48, 40), COLOURS[left])
        picture.paste(COLOURS[right], (24, 0, 48, 40))
        pixels = np.asarray(picture).astype(int) + rng.integers(-12, 12, (40, 48, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
        said = [WORDS[left], WORDS[right]]
        if number < 12:
            others = [word for word in WORDS if word not in said]
            said = [str(word) for word in rng.permutation(others)[:2]]
        (folder / f"{number:02d}.txt").write_text(f"{said[0]} beside {said[1]}, number {number}")
    return folder


@pytest.fixture
def recipe(coloured, recipe_of):
    return recipe_of(coloured, filters=[], pair_rules=[], near_duplicates=None, shard_rows=96,
                     encoder={"name": "lite"}, correspondence=STUDY)  # fmt: skip


@pytest.fixture
def studied(recipe, lake_dir):
    curate(recipe.model_copy(update={"correspondence": None}), lake=lake_dir)
    curate(recipe, lake=lake_dir)
    return lakes.open(lake_dir)


def active(lake, table):
    return [row for row in lake.read(table).to_pylist() if row["active"]]


def numbers_of(lake, pair_ids):
    texts = {row["text_id"]: row["text"] for row in lake.read("texts").to_pylist()}
    pairs = {row["pair_id"]: texts[row["text_id"]] for row in lake.read("pairs").to_pylist()}
    return {int(pairs[pair_id].split()[-1]) for pair_id in pair_ids}


def test_a_study_says_how_it_divided_and_why_it_doubts(studied):
    (division,) = active(studied, "divisions")
    pairs = [row for row in studied.read("pairs").to_pylist() if row["role"] == "caption"]
    assert division["pairs"] == len(pairs) == 96
    assert division["clean"] + division["disputed"] + division["noisy"] == 96
    assert division["why"]
    decided = {row["subject_id"]: row for row in active(studied, "decisions")}
    assert len(decided) == division["disputed"] + division["noisy"]
    reasons = active(studied, "reasons")
    assert {row["pair_id"] for row in reasons} == set(decided)
    for kind in ("scorer", "better-text", "better-media"):
        assert any(row["kind"] == kind for row in reasons)
    scores = studied.read("scores").to_pylist()
    assert {row["method"] for row in scores} == {"consensus", "out-of-fold", "geometry"}
    assert sum(row["method"] == "consensus" for row in scores) == 96


def test_a_study_keeps_the_scores_it_divided_by_bin_and_both_kinds(studied):
    (division,) = active(studied, "divisions")
    said = json.loads(division["components"])
    assert (said["of"], said["fitted"]) == ("", [])  # self-injected compares ranks and fits no mixture
    assert len(said["edges"]) == 101 and sum(said["pairs"]) == 96
    true = [row["value"] for row in studied.read("scores").to_pylist() if row["method"] == "consensus"]
    assert sum(said["true"]) == pytest.approx(sum(true), abs=0.1)


def test_a_lake_from_before_a_column_was_there_is_studied_and_compared(studied, recipe, lake_dir, coloured):
    lance.dataset(f"{lake_dir}/divisions.lance").drop_columns(["components"])
    with studied.writer() as writer:
        writer.adopt("divisions")
        older = writer.commit(tag=None, recipe_digest="older", run_id="r")
    curate(recipe, lake=lake_dir)  # the same study: what is known stays as it is
    (coloured / "95.txt").unlink()
    curate(recipe, lake=lake_dir)
    (division,) = active(studied, "divisions")
    assert sum(json.loads(division["components"])["pairs"]) == division["pairs"]
    assert studied.diff("divisions", older.snapshot_id, studied.head().snapshot_id).changed


def test_wrong_captions_score_lowest(studied):
    scored = [row for row in studied.read("scores").to_pylist() if row["method"] == "consensus"]
    lowest = sorted(scored, key=lambda row: row["value"])[:12]
    found = numbers_of(studied, [row["subject_id"] for row in lowest])
    assert len(found & set(range(12))) >= 6  # 1.5 by chance


def test_the_same_study_is_not_made_again(studied, recipe, lake_dir, coloured):
    before = content(lake_dir)
    (coloured / "note.md").write_text("no medium")
    again = curate(recipe, lake=lake_dir)
    assert again.snapshot_id == studied.head().snapshot_id
    (coloured / "95.txt").unlink()  # a pair less: studied anew
    curate(recipe, lake=lake_dir)
    counts = json.loads(studied.runs()[0]["counts"])["study correspondence"]
    assert "known from before" not in counts
    assert content(lake_dir, at="s000002") == before


def doubted(lake):
    return sorted(active(lake, "decisions"), key=lambda row: (row["value"], row["decision_id"]))


def test_a_verdict_wins_and_withdrawing_it_restores_every_row(studied, lake_dir):
    before = content(lake_dir)
    head = studied.head().snapshot_id
    row = doubted(studied)[0]
    dropped = (
        next(p for p in studied.read("pairs").to_pylist() if p["pair_id"] == row["subject_id"])["kept"]
        is False
    )
    state_verdict(
        Statement("keep" if dropped else "drop", (row["decision_id"][:12],), "ada", "looked"), lake_dir
    )
    (said,) = active(studied, "verdicts")
    assert (said["person"], said["comment"], said["about"]) == ("ada", "looked", row["rule"])
    now = next(p for p in studied.read("pairs").to_pylist() if p["pair_id"] == row["subject_id"])
    assert now["kept"] is dropped
    assert now["dropped_by"] == (None if dropped else "person")
    assert len(studied.diff("pairs", head, studied.head().snapshot_id).changed) == 1

    state_verdict(Statement("withdraw", (row["subject_id"],)), lake_dir)
    after = content(lake_dir)
    assert [row["active"] for row in after.pop("verdicts")] == [False]
    assert after == {name: rows for name, rows in before.items() if name != "verdicts"}


def test_a_later_curation_honours_verdicts_and_learns_from_them(studied, recipe, lake_dir):
    row = doubted(studied)[0]
    state_verdict(Statement("drop", (row["subject_id"],), "ada"), lake_dir)
    curate(recipe, lake=lake_dir)
    assert "known from before" not in json.loads(studied.runs()[0]["counts"])["study correspondence"]
    (pair,) = [p for p in studied.read("pairs").to_pylist() if p["pair_id"] == row["subject_id"]]
    assert (pair["kept"], pair["dropped_by"]) == (False, "person")
    (division,) = active(studied, "divisions")
    assert sum(cell["n"] for cell in json.loads(division["reliability"])) == 1
    head = studied.head().snapshot_id
    curate(recipe, lake=lake_dir)
    assert studied.head().snapshot_id == head  # learned once


def test_undoing_a_run_brings_the_rows_before_it_back(studied, lake_dir):
    before = content(lake_dir, at="s000001")
    run = studied.runs()[0]["run_id"]
    undo_run(studied, run)
    assert content(lake_dir) == before
    with pytest.raises(LakeError, match="committed since"):
        undo_run(studied, run)
    with pytest.raises(LakeError, match="no snapshot was written by a run 'nobody'"):
        undo_run(studied, "nobody")


def test_verdicts_need_something_to_be_about(studied, lake_dir):
    with pytest.raises(DataError, match="no medium, text, pair or decision"):
        state_verdict(Statement("keep", ("0123456789zz",)), lake_dir)
    with pytest.raises(DataError, match="at least 6"):
        state_verdict(Statement("keep", ("' OR 1=1 --",)), lake_dir)
    with pytest.raises(DataError, match="nothing to withdraw"):
        state_verdict(Statement("withdraw", (doubted(studied)[0]["subject_id"],)), lake_dir)


def test_a_recipe_without_the_study_takes_its_decisions_back(studied, recipe, lake_dir):
    curate(recipe.model_copy(update={"correspondence": None}), lake=lake_dir)
    for table in ("decisions", "divisions", "reasons", "repairs"):
        assert active(studied, table) == []
        assert len(studied.read(table)) or table == "repairs"
    assert all(row["kept"] for row in studied.read("pairs").to_pylist())


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_pairs_are_all_disputed_and_none_dropped(tmp_path, coloured, recipe_of, lake_dir, count):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(coloured.iterdir())[: 2 * count]:
        path.rename(few / path.name)
    curate(recipe_of(few, filters=[], pair_rules=[], correspondence=STUDY), lake=lake_dir)
    lake = lakes.open(lake_dir)
    (division,) = active(lake, "divisions")
    assert (division["pairs"], division["noisy"], division["separable"]) == (count, 0, False)
    assert division["noise_rate"] is None
    if count:
        assert all(row["kept"] for row in lake.read("pairs").to_pylist())


@pytest.mark.parametrize("noisy", ["repair", "weight", "keep"])
def test_remedies_are_rows_beside_the_raw_text(coloured, recipe_of, lake_dir, noisy):
    study = STUDY | {"noisy": noisy, "repairs": [{"name": "rematch"}] if noisy == "repair" else []}
    curate(
        recipe_of(coloured, filters=[], pair_rules=[], near_duplicates=None, shard_rows=96,
                  encoder={"name": "lite"}, correspondence=study),
        lake=lake_dir,
    )  # fmt: skip
    lake = lakes.open(lake_dir)
    (division,) = active(lake, "divisions")
    repairs = active(lake, "repairs")
    texts = {row["text_id"] for row in lake.read("texts").to_pylist()}
    assert len([row for row in lake.read("texts").to_pylist() if row["origin"] == "raw"]) == 96
    if noisy == "weight" and division["separable"]:
        assert len(repairs) == 96 and all(
            0 <= row["label"] <= 1 and row["text_id"] is None for row in repairs
        )
    if noisy == "repair":
        own = {row["pair_id"]: row["text_id"] for row in lake.read("pairs").to_pylist()}
        assert all(row["text_id"] in texts and row["text_id"] != own[row["pair_id"]] for row in repairs)
    if noisy == "keep":
        assert not repairs
        assert all(row["kept"] for row in lake.read("pairs").to_pylist())
