import hashlib
import json
import os
import shutil
from pathlib import Path

import lancedb
import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from flows.curate import curate
from flows.ingest import ingest_sources
from storage import lake as lakes
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")


def counts_of(lake_dir, step="items"):
    return json.loads(lakes.open(lake_dir).runs()[0]["counts"]).get(step, {})


def reconciles(counts):
    return counts["in"] == sum(counts.get(name, 0) for name in ("kept", "merged", "filtered", "quarantined"))


def test_every_item_is_counted_once(media_folder, recipe_of, lake_dir):
    shutil.copy(media_folder / "00.png", media_folder / "copy.png")  # merged
    write_picture(media_folder / "tiny.png", 99, size=(4, 4))  # filtered
    (media_folder / "broken.png").write_bytes(b"")  # quarantined
    curate(recipe_of(media_folder), lake=lake_dir)
    counts = counts_of(lake_dir)
    assert counts == {
        "in": 15, "kept": 12, "merged": 1, "filtered": 1, "filtered: min-side": 1,
        "quarantined": 1, "quarantined: empty-file": 1,
    }  # fmt: skip
    assert reconciles(counts)
    assert reconciles(counts_of(lake_dir, "pairs") | {"quarantined": 0})


def test_exact_duplicates_become_one_medium_with_all_its_texts_and_places(media_folder, recipe_of, lake_dir):
    shutil.copy(media_folder / "00.png", media_folder / "copy.png")
    (media_folder / "copy.txt").write_text("quite another caption")
    curate(recipe_of(media_folder), lake=lake_dir)
    lake = lakes.open(lake_dir)
    (twice,) = [row for row in lake.read("media").to_pylist() if len(row["locators"]) > 1]
    assert twice["locators"] == ["source/00.png", "source/copy.png"]
    texts = {row["text_id"]: row["text"] for row in lake.read("texts").to_pylist()}
    carried = {
        texts[p["text_id"]] for p in lake.read("pairs").to_pylist() if p["media_id"] == twice["media_id"]
    }
    assert carried == {"picture number 0 of a dozen coloured blocks", "quite another caption"}


def test_running_twice_makes_no_version_of_anything(media_folder, recipe_of, lake_dir):
    first = curate(recipe_of(media_folder), lake=lake_dir)
    versions = {t: lakes.open(lake_dir).latest(t).version for t in first.versions}
    second = curate(recipe_of(media_folder), lake=lake_dir)
    assert second.snapshot_id == first.snapshot_id
    assert {t: lakes.open(lake_dir).latest(t).version for t in first.versions} == versions
    assert [row["status"] for row in lakes.open(lake_dir).runs()] == ["unchanged", "committed"]


def test_a_touched_file_is_read_once_more_and_not_by_every_run(media_folder, recipe_of, lake_dir):
    first = curate(recipe_of(media_folder), lake=lake_dir)
    os.utime(media_folder / "05.png", (1_000_000_000, 1_000_000_000))
    second = curate(recipe_of(media_folder), lake=lake_dir)
    assert counts_of(lake_dir, "plan")["new or changed"] == 1
    assert second.digest == first.digest and second.row_counts == first.row_counts
    third = curate(recipe_of(media_folder), lake=lake_dir)
    assert counts_of(lake_dir, "plan")["new or changed"] == 0
    assert third.snapshot_id == second.snapshot_id
    assert [row["status"] for row in lakes.open(lake_dir).runs()] == ["unchanged", "committed", "committed"]


def test_settings_of_the_inspection_that_change_no_row_are_applied_once(media_folder, recipe_of, lake_dir):
    first = curate(recipe_of(media_folder), lake=lake_dir)
    recipe = recipe_of(media_folder)
    recipe = recipe.model_copy(
        update={
            "inspect": recipe.inspect.model_copy(update={"text_max_chars": recipe.inspect.text_max_chars + 1})
        }
    )
    second = curate(recipe, lake=lake_dir)
    assert counts_of(lake_dir, "plan")["new or changed"] == counts_of(lake_dir, "plan")["listed"]
    curate(recipe, lake=lake_dir)
    assert counts_of(lake_dir, "plan")["new or changed"] == 0
    assert second.digests["sources"] == first.digests["sources"]


def test_a_changed_caption_recomputes_only_its_own_rows(media_folder, recipe_of, lake_dir):
    first = curate(recipe_of(media_folder), lake=lake_dir)
    (media_folder / "03.txt").write_text("something else altogether")
    second = curate(recipe_of(media_folder), lake=lake_dir)
    lake = lakes.open(lake_dir)
    changed = {t: lake.diff(t, first.snapshot_id, second.snapshot_id) for t in second.versions}
    assert [len(changed["texts"].added), len(changed["texts"].changed)] == [
        1,
        1,
    ]  # the old text is marked absent
    assert [len(changed["pairs"].added), len(changed["pairs"].changed)] == [1, 1]
    assert len(changed["embeddings_hashing_" + _suffix(second)].added) == 1
    assert not any(d.removed for d in changed.values())
    assert not changed["media"].changed and not changed["media"].added
    assert counts_of(lake_dir, "inspect")["media"] == 1


def _suffix(snapshot):
    (table,) = [t for t in snapshot.versions if t.startswith("embeddings_")]
    return table.removeprefix("embeddings_hashing_")


def test_a_removed_file_is_marked_and_not_lost(media_folder, recipe_of, lake_dir):
    curate(recipe_of(media_folder), lake=lake_dir)
    (media_folder / "05.png").unlink()
    (media_folder / "05.txt").unlink()
    curate(recipe_of(media_folder), lake=lake_dir)
    media = lakes.open(lake_dir).read("media").to_pylist()
    assert len(media) == 12
    assert [row["locators"] for row in media if not row["present"]] == [["source/05.png"]]
    assert counts_of(lake_dir)["removed"] == 1
    assert counts_of(lake_dir)["in"] == 11


def test_a_text_shared_by_many_pictures_is_dropped_with_its_rule(media_folder, recipe_of, lake_dir):
    for seed in range(6):
        (media_folder / f"{seed:02d}.txt").write_text("clip art")
    curate(recipe_of(media_folder), lake=lake_dir)
    lake = lakes.open(lake_dir)
    (dropped,) = [row for row in lake.read("texts").to_pylist() if not row["kept"]]
    assert (dropped["text"], dropped["dropped_by"]) == ("clip art", "shared-text")
    (decision,) = lake.read("decisions").to_pylist()
    assert (decision["rule"], decision["value"], decision["threshold"]) == ("shared-text", 6.0, "at_most 5")
    fell = [p["dropped_by"] for p in lake.read("pairs").to_pylist() if not p["kept"]]
    assert fell == ["text: shared-text"] * 6


def test_a_looser_recipe_takes_a_drop_back(media_folder, recipe_of, lake_dir):
    write_picture(media_folder / "tiny.png", 99, size=(9, 9))
    strict = [{"method": {"name": "min-side"}, "at_least": 16}]
    loose = [{"method": {"name": "min-side"}, "at_least": 4}]
    curate(recipe_of(media_folder, filters=strict), lake=lake_dir)
    assert counts_of(lake_dir)["filtered: min-side"] == 1
    curate(recipe_of(media_folder, filters=loose), lake=lake_dir)
    lake = lakes.open(lake_dir)
    assert "filtered" not in counts_of(lake_dir)
    assert [row["active"] for row in lake.read("decisions").to_pylist()] == [False]
    assert counts_of(lake_dir, "inspect").get("media") is None  # no file was read again


def test_near_duplicates_share_a_cluster_whose_largest_picture_stands_for_it(
    media_folder, recipe_of, lake_dir
):
    with Image.open(media_folder / "02.png") as image:
        image.resize((96, 80), Image.Resampling.NEAREST).save(media_folder / "large.png")
    curate(recipe_of(media_folder, near_duplicates={"max_distance": 3, "verdict": "drop"}), lake=lake_dir)
    media = {row["locators"][0]: row for row in lakes.open(lake_dir).read("media").to_pylist()}
    large, small = media["source/large.png"], media["source/02.png"]
    assert small["cluster_id"] == large["cluster_id"] == large["media_id"]
    assert (small["kept"], small["dropped_by"], large["kept"]) == (False, "near-duplicate", True)


def test_the_same_input_gives_the_same_digest_elsewhere(media_folder, recipe_of, tmp_path):
    moved = shutil.copytree(media_folder, tmp_path / "moved")
    one = curate(recipe_of(media_folder), lake=str(tmp_path / "one"))
    two = curate(recipe_of(moved, shard_rows=5), lake=str(tmp_path / "two"))
    assert one.digest == two.digest
    assert one.run_id != two.run_id


def test_in_steps_or_at_once_ends_in_the_same_content(media_folder, recipe_of, tmp_path, content_of):
    step, whole = str(tmp_path / "step"), str(tmp_path / "whole")
    part = tmp_path / "part"
    shutil.copytree(media_folder, part)
    for name in ("07.png", "07.txt", "08.png", "08.txt"):
        (part / name).unlink()
    curate(recipe_of(part), lake=step)
    for name in ("07.png", "07.txt", "08.png", "08.txt"):
        shutil.copy(media_folder / name, part / name)
    curate(recipe_of(part), lake=step)
    curate(recipe_of(media_folder), lake=whole)
    assert content_of(step) == content_of(whole)
    assert lakes.open(step).head().digest == lakes.open(whole).head().digest


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_changes_ends_as_a_lake_made_at_once_has_it(
    recipe_of, tmp_path, lake_dir, content_of, seed
):
    """Places get another of a few pictures, another of a few captions, none, or nothing at all."""
    draw = np.random.default_rng(seed)
    folder, recipe = tmp_path / "media", recipe_of(tmp_path / "media", near_duplicates={"max_distance": 3})
    drawn = [write_picture(tmp_path / "drawn" / f"{n}.png", n).read_bytes() for n in range(6)]
    folder.mkdir()
    seen: set[str] = set()
    for round_ in range(5):
        for place in draw.choice(14, 14 if not round_ else 5, replace=False):
            picture, caption = int(draw.integers(-2, len(drawn))), int(draw.integers(-2, 5))
            for path in (folder / f"{place:02d}.png", folder / f"{place:02d}.txt"):
                path.unlink(missing_ok=True)
            if picture >= 0:
                (folder / f"{place:02d}.png").write_bytes(drawn[picture])
                if caption >= 0:
                    (folder / f"{place:02d}.txt").write_text(f"caption number {caption} of a few")
        curate(recipe, lake=lake_dir)
        curate(recipe, lake=str(tmp_path / f"at-once-{round_}"))
        found, expected = content_of(lake_dir), content_of(str(tmp_path / f"at-once-{round_}"))
        for table in ("sources", "media", "texts", "pairs"):
            assert [row for row in found[table] if row["present"]] == [
                row for row in expected[table] if row["present"]
            ], table
        here = {row["media_id"] for row in found["media"]}
        assert seen <= here  # and whatever was there before
        seen = here
        in_the_files = {
            f"source/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.glob("*.png")
        }
        assert in_the_files == {
            place: row["media_id"] for row in found["media"] if row["present"] for place in row["locators"]
        }


def test_a_reader_at_a_tag_never_sees_a_later_run(media_folder, recipe_of, lake_dir, content_of):
    first = curate(recipe_of(media_folder), lake=lake_dir)
    before = content_of(lake_dir, first.snapshot_id)
    (media_folder / "04.txt").write_text("changed")
    second = curate(recipe_of(media_folder), lake=lake_dir)
    assert content_of(lake_dir, first.snapshot_id) == before != content_of(lake_dir, "latest")
    assert lakes.open(lake_dir).tags() == {"latest": second.snapshot_id}


def test_plain_lancedb_and_pyarrow_read_the_lake(media_folder, recipe_of, lake_dir):
    curate(recipe_of(media_folder), lake=lake_dir)
    db = lancedb.connect(lake_dir)
    versions = json.loads(db.open_table("snapshots").to_arrow().to_pylist()[-1]["versions"])
    table = db.open_table("media")
    table.checkout(versions["media"])
    media = table.to_arrow()
    assert pc.sum(media["kept"]).as_py() == 12
    (name,) = [n for n in versions if n.startswith("embeddings_")]
    vectors = db.open_table(name)
    query = np.asarray(vectors.to_arrow().slice(0, 1)["vector"].to_pylist()[0], dtype=np.float32)
    (nearest,) = vectors.search(query).limit(1).to_list()
    assert nearest["item_id"] == vectors.to_arrow()["item_id"][0].as_py()
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)


def test_ingest_takes_in_and_leaves_judging_to_a_curation(media_folder, recipe_of, lake_dir):
    write_picture(media_folder / "tiny.png", 99, size=(4, 4))
    ingest_sources(recipe_of(media_folder), lake=lake_dir)
    media = lakes.open(lake_dir).read("media").to_pylist()
    assert {row["kept"] for row in media} == {None}
    curate(recipe_of(media_folder), lake=lake_dir)
    media = lakes.open(lake_dir).read("media").to_pylist()
    assert sorted(row["kept"] for row in media) == [False] + [True] * 12
    assert counts_of(lake_dir, "inspect").get("media") is None


def test_an_empty_folder_gives_an_empty_snapshot(tmp_path: Path, recipe_of, lake_dir):
    (tmp_path / "none").mkdir()
    snapshot = curate(recipe_of(tmp_path / "none"), lake=lake_dir)
    assert set(snapshot.row_counts.values()) == {0}


def test_bytes_go_to_the_media_store_when_asked(media_folder, recipe_of, lake_dir, monkeypatch):
    monkeypatch.setenv("XMODAL_MEDIA", "store")
    curate(recipe_of(media_folder), lake=lake_dir)
    lake = lakes.open(lake_dir)
    for row in lake.read("media").to_pylist():
        name = row["locators"][0].removeprefix("source/")
        assert lake.media.get(row["media_id"]) == (media_folder / name).read_bytes()
        assert Path(row["uri"]).is_relative_to(lake_dir)


def test_the_run_says_what_it_cost_and_what_it_read_and_wrote(media_folder, recipe_of, lake_dir):
    snapshot = curate(recipe_of(media_folder), lake=lake_dir)
    (run,) = lakes.open(lake_dir).runs()
    costs = {row["step"]: row for row in json.loads(run["costs"])}
    assert costs["inspect"]["items"] == 12
    assert costs["inspect"]["read_bytes"] == sum(p.stat().st_size for p in media_folder.glob("*.png"))
    assert json.loads(run["versions_written"]) == snapshot.versions
    assert json.loads(run["encoders"])[0]["name"] == "hashing"
    per_1000 = json.loads(run["cost_per_1000_kept"])
    assert per_1000["cpu_s"] == pytest.approx(sum(c["cpu_s"] for c in costs.values()) * 1000 / 12, rel=0.01)
