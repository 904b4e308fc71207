"""The gate: a tag moves to a snapshot that is good enough, and to no other; nothing is lost and nothing is done twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as pds
import pytest

from flows.curate import curate
from flows.ingest import ingest_sources
from flows.quality import check_quality
from flows.review import state_verdict
from schemas.quality import QualityRecipe
from schemas.tables import PAIRS, embeddings
from storage import lake as lakes
from storage import quality, rows
from tasks.review import Statement
from tests.storage import sql_lakes

pytestmark = pytest.mark.usefixtures("prefect_server")

ENOUGH = {"name": "pairs.enough", "table": "pairs", "check": "count", "at_least": 100, "severity": "critical"}
STRICT = {"add": [ENOUGH]}


def last_run(lake_dir):
    return lakes.open(lake_dir).runs()[0]


def found_of(lake_dir):
    return json.loads(last_run(lake_dir)["counts"])["check quality"]


def test_the_suite_that_ships_passes_on_an_ordinary_lake(media_folder, recipe_of, lake_dir):
    snapshot = curate(recipe_of(media_folder), lake=lake_dir)
    results = quality.results(lakes.open(lake_dir), snapshot.snapshot_id)
    assert {row["status"] for row in results} == {"passed", "skipped"}
    passed = {
        (row["table"].split("_")[0], row["name"].split(".")[1])
        for row in results
        if row["status"] == "passed"
    }
    assert {
        ("pairs", "media-exists"), ("pairs", "text-exists"), ("scores", "media-exists"), ("embeddings", "unit-vectors"),
        ("media", "thumbnails-decode"), ("media", "unique"), ("texts", "columns"),
    } <= passed  # fmt: skip
    assert found_of(lake_dir)["critical"] == 0


def test_a_snapshot_that_fails_is_kept_and_the_tag_stays(media_folder, recipe_of, lake_dir, content_of):
    first = curate(recipe_of(media_folder), lake=lake_dir)
    (media_folder / "03.txt").write_text("something else altogether")
    second = curate(recipe_of(media_folder, quality=STRICT), lake=lake_dir)
    lake = lakes.open(lake_dir)

    assert second.snapshot_id != first.snapshot_id
    assert lake.tags() == {"latest": first.snapshot_id}
    assert lake.head().snapshot_id == second.snapshot_id
    assert "something else altogether" in lake.read("texts")["text"].to_pylist()
    assert "something else altogether" not in lake.read("texts", at="latest")["text"].to_pylist()

    run = last_run(lake_dir)
    assert (run["status"], run["written_snapshot"]) == ("committed", second.snapshot_id)
    assert "tag 'latest' stays at s000001" in run["message"]
    assert "pairs.enough failed (13, wanted at_least 100)" in run["message"]

    relaxed = {"add": [ENOUGH | {"severity": "warning"}]}
    third = curate(recipe_of(media_folder, quality=relaxed), lake=lake_dir)
    assert third.snapshot_id == second.snapshot_id  # nothing is curated again for it
    assert lake.tags() == {"latest": second.snapshot_id}
    assert last_run(lake_dir)["message"] == ""
    assert found_of(lake_dir) | {"passed": 0, "skipped": 0} == {
        "critical": 0, "warnings": 1, "raised": 0, "passed": 0, "skipped": 0,
    }  # fmt: skip


def test_the_first_snapshot_may_fail_too(media_folder, recipe_of, lake_dir):
    curate(recipe_of(media_folder, quality=STRICT), lake=lake_dir)
    assert lakes.open(lake_dir).tags() == {}
    assert "tag 'latest' is not made" in last_run(lake_dir)["message"]
    curate(recipe_of(media_folder, quality=None), lake=lake_dir)
    assert lakes.open(lake_dir).tags() == {"latest": "s000001"}


def test_what_raised_is_told_from_what_failed_and_blocks_as_well(media_folder, recipe_of, lake_dir):
    odd = {"name": "pairs.odd", "table": "pairs", "check": "none-where", "severity": "critical",
           "params": {"condition": "no_such_column"}}  # fmt: skip
    curate(recipe_of(media_folder, quality={"add": [odd]}), lake=lake_dir)
    (row,) = [r for r in quality.results(lakes.open(lake_dir), "s000001") if r["name"] == "pairs.odd"]
    assert (row["status"], row["observed"]) == ("raised", None)
    assert "no_such_column" in row["reason"]
    assert found_of(lake_dir)["raised"] == 1
    assert lakes.open(lake_dir).tags() == {}


def test_running_twice_checks_nothing_again(media_folder, recipe_of, lake_dir):
    for recipe in (recipe_of(media_folder), recipe_of(media_folder, name="another name")):
        curate(recipe, lake=lake_dir)
    lake = lakes.open(lake_dir)
    results = lake.read("quality").to_pylist()
    assert len({row["checked_at"] for row in results}) == 1
    assert lake.latest("quality").version == 1
    done = check_quality(recipe_of(media_folder).quality, lake=lake_dir)
    assert not done.is_new and lake.latest("quality").version == 1
    again = check_quality(recipe_of(media_folder).quality, lake=lake_dir, again=True)
    assert again.is_new and lake.latest("quality").version == 2
    assert [row["status"] for row in again.rows] == [row["status"] for row in done.rows]


def test_a_run_that_died_before_the_tag_moved_is_finished_by_the_next(media_folder, recipe_of, lake_dir):
    recipe = recipe_of(media_folder)
    curate(recipe, lake=lake_dir)
    lake = lakes.open(lake_dir)
    lake.move_tag("latest", None)
    curate(recipe, lake=lake_dir)
    assert lake.tags() == {"latest": "s000001"}
    assert len({row["checked_at"] for row in lake.read("quality").to_pylist()}) == 1


def test_other_flows_do_not_carry_a_tag_past_what_failed(media_folder, recipe_of, lake_dir):
    curate(recipe_of(media_folder), lake=lake_dir)
    (media_folder / "03.txt").write_text("something else altogether")
    curate(recipe_of(media_folder, quality=STRICT), lake=lake_dir)
    lake = lakes.open(lake_dir)
    pair = lake.read("pairs", where="present")["pair_id"][0].as_py()
    statement = Statement("keep", (pair,), person="ada")
    third = state_verdict(statement, lake_dir)
    assert (third.snapshot_id, lake.tags()["latest"]) == ("s000003", "s000001")
    assert "s000002 before it failed its check" in last_run(lake_dir)["message"]
    with lake.writer() as writer:  # as flows do that only add
        writer.upsert(PAIRS, pds.dataset(rows.with_digest(_pairs(), PAIRS)))
        writer.commit(tag="latest", recipe_digest=third.recipe_digest, run_id="r")
    assert lake.tags()["latest"] == "s000001"
    ingest_sources(recipe_of(media_folder, tag="ingested"), lake=lake_dir)
    assert lake.tags()["ingested"] == lake.head().snapshot_id  # another tag, which nobody guards


def _pairs():
    import pyarrow as pa

    return pa.Table.from_pylist([sql_lakes.pair(1, 1)], schema=PAIRS.schema)


def test_damage_is_found_and_named(media_folder, recipe_of, lake_dir):
    snapshot = curate(recipe_of(media_folder), lake=lake_dir)
    lake = lakes.open(lake_dir)
    (table,) = [name for name in snapshot.versions if name.startswith("embeddings_")]
    spec = embeddings(table, 32)
    vectors = lake.read(table)
    broken, stray = (vectors.slice(n, 1).to_pylist()[0] for n in range(2))
    longer = broken | {"vector": (2 * np.array(broken["vector"], np.float32)).tolist(), "encoder_digest": "e"}
    lost = stray | {"item_id": "nowhere"}
    import pyarrow as pa

    with lake.writer() as writer:
        changed = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "row_digest"} for row in (longer, lost)],
                                       schema=spec.schema)  # fmt: skip
        writer.upsert(spec, pds.dataset(rows.with_digest(changed, spec)))
        writer.upsert(PAIRS, pds.dataset(rows.with_digest(_pairs(), PAIRS)))
        writer.commit(tag=None, recipe_digest=snapshot.recipe_digest, run_id="r")
    done = check_quality(QualityRecipe(), lake=lake_dir)
    at_fault = {row["name"]: row["offending"] for row in done.rows if row["status"] == "failed"}
    assert at_fault == {
        "embeddings.unit-vectors": [broken["item_id"]],
        "embeddings.item-exists": ["nowhere"],
        "pairs.media-exists": ["p001001"],
        "pairs.text-exists": ["p001001"],
    }
    assert {row["name"] for row in done.blocking} == set(at_fault)


def test_shards_on_workers_find_what_one_pass_finds(lake_dir, monkeypatch):
    from tasks import check
    from tasks.quality import rows as work

    texts = [sql_lakes.text(n, language="EN" if n % 7 == 0 else "en") for n in range(100)]
    sql_lakes.commit(lakes.open(lake_dir), tag="v1", texts=texts)
    whole = check_quality(QualityRecipe(), lake=lake_dir)
    monkeypatch.setattr(work, "SHARD_ROWS", 9)
    monkeypatch.setattr(work, "BATCH_ROWS", 4)
    monkeypatch.setattr(check, "FEW_ROWS", 0)
    parts = check_quality(QualityRecipe(), lake=lake_dir, again=True)
    facts = ("name", "status", "observed", "rows", "unexpected", "offending")
    assert [[row[f] for f in facts] for row in parts.rows] == [[row[f] for f in facts] for row in whole.rows]
    (language,) = [row for row in parts.rows if row["name"] == "texts.language"]
    assert language["unexpected"] == len(range(0, 100, 7))


def test_rows_that_cannot_be_read_raised_and_the_others_are_checked(media_folder, recipe_of, lake_dir):
    snapshot = curate(recipe_of(media_folder), lake=lake_dir)
    for file in Path(lake_dir, "texts.lance", "data").iterdir():
        file.write_bytes(file.read_bytes()[:20])
    done = check_quality(QualityRecipe(), lake=lake_dir, at=snapshot.snapshot_id, again=True)
    status = {row["name"]: row["status"] for row in done.rows}
    assert status["texts.text"] == status["texts.unique"] == status["pairs.text-exists"] == "raised"
    assert status["media.unique"] == status["pairs.media-exists"] == "passed"
    assert {"texts.text", "texts.unique"} <= {row["name"] for row in done.blocking}


def test_only_what_checks_imports_great_expectations(media_folder, recipe_of, lake_dir, tmp_path):
    recipe = recipe_of(media_folder)
    curate(recipe, lake=lake_dir)
    file = tmp_path / "recipe.json"
    file.write_text(recipe.model_dump_json())
    program = (
        "import sys; from flows.curate import curate; from schemas.recipes import CurationRecipe\n"
        "import tasks.shards.inspect, tasks.quality.rows, flows.cli.app\n"
        f"curate(CurationRecipe.model_validate_json(open({str(file)!r}).read()), lake={lake_dir!r})\n"
        "print([name for name in sys.modules if name.startswith('great_expectations')])"
    )
    from prefect.settings import get_current_settings

    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]), "PREFECT_API_URL": str(get_current_settings().api.url),
    }  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert found.stdout.strip().splitlines()[-1] == "[]"
    assert last_run(lake_dir)["status"] == "unchanged"
