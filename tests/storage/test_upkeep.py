"""Upkeep changes how tables lie on disk and never what they say."""

import json
import logging
from datetime import timedelta
from pathlib import Path

import lance
import pytest

from flows.cli.status import status
from flows.curate import curate
from flows.maintain import maintain
from schemas.recipes import IndexRecipe
from storage import indexes, upkeep
from storage import lake as lakes
from tests.storage.conftest import commit, texts_of, upsert
from tests.storage.vector_lakes import TABLE, committed, drawn, numbered


def many(lake, commits=6):
    """Commit often: a fragment and a snapshot each."""
    for n in range(commits):
        commit(lake, {"changes": f"text {n}", f"row{n}": "stays"})
    return texts_of(lake)


def data_files(lake, table="texts"):
    return [path for path in (Path(lake.uri) / f"{table}.lance").rglob("*.lance") if path.is_file()]


def test_compaction_keeps_content_and_digest(lake):
    rows, before = many(lake), lake.head()
    with lake.writer() as writer:
        merged = upkeep.compact(lake, writer)
        after = writer.commit(tag=None, recipe_digest=before.recipe_digest, run_id="r")
    fragments = [len(lake.dataset("texts", s).get_fragments()) for s in (before, after)]
    assert merged == {"texts": fragments[0] - fragments[1]} and fragments[1] == 1
    assert (after.snapshot_id, after.digest) == ("s000007", before.digest)
    assert texts_of(lake) == texts_of(lake, before.snapshot_id) == rows


def test_compaction_of_an_empty_lake_or_a_compact_one_does_nothing(lake):
    with lake.writer() as writer:
        assert upkeep.compact(lake, writer) == {}
    commit(lake, {"a": "x"})
    with lake.writer() as writer:
        assert upkeep.compact(lake, writer) == {}
    assert lake.latest("texts").version == lake.head().versions["texts"]


def test_compaction_leaves_out_what_an_aborted_writer_wrote(lake):
    rows = many(lake)
    with lake.writer() as writer:
        upsert(writer, {"stray": "never committed"})
    with lake.writer() as writer:
        upkeep.compact(lake, writer)
        writer.commit(tag=None, recipe_digest="d", run_id="r")
    assert texts_of(lake) == rows


def test_expired_snapshots_go_and_tagged_and_recent_ones_stay_readable(lake):
    states = {}
    for n in range(6):
        snapshot = commit(lake, {"changes": f"text {n}"}, tag="good" if n == 1 else None)
        states[snapshot.snapshot_id] = texts_of(lake)
    assert upkeep.expire(lake, keep=2) == ["s000001", "s000003", "s000004"]
    upkeep.clean(lake)
    for kept in ("s000002", "s000005", "s000006"):
        assert texts_of(lake, kept) == states[kept]
    for gone in ("s000001", "s000003", "s000004"):
        with pytest.raises(Exception, match="(?i)not found|does not exist"):
            texts_of(lake, gone)
    assert [s.snapshot_id for s in lake.snapshots()] == sorted(states)  # what was there stays on record


def test_refuses_to_keep_no_snapshot(lake):
    with pytest.raises(ValueError, match="keep=0"):
        upkeep.expire(lake, keep=0)


def test_clean_frees_files_no_version_names(lake):
    commit(lake, {"a": "x"})
    (used,) = data_files(lake)
    orphan = used.with_name("0" * 32 + ".lance")
    orphan.write_bytes(used.read_bytes())
    with lake.writer():
        freed = upkeep.clean(lake)
    assert data_files(lake) == [used]
    assert freed >= used.stat().st_size
    assert texts_of(lake) == {"a": "x"}


def test_clean_leaves_young_versions_alone(lake):
    states = {commit(lake, {"a": text}, tag=None).snapshot_id: {"a": text} for text in ("x", "y")}
    assert upkeep.expire(lake, keep=1) == ["s000001"]
    upkeep.clean(lake, older_than=timedelta(hours=1))
    assert {name: texts_of(lake, name) for name in states} == states


def test_an_index_is_extended_to_rows_added_since(lake):
    commit(lake, {f"{n:03d}": "x" for n in range(100)})
    with lake.writer() as writer:
        lake.latest("texts").create_scalar_index("text_id", "BTREE")
        writer.adopt("texts")
        writer.commit(tag=None, recipe_digest="d", run_id="r")
    commit(lake, {"new": "x"})
    assert list(upkeep.unindexed_rows(lake.dataset("texts")).values()) == [1]
    with lake.writer() as writer:
        assert upkeep.refresh_indexes(lake, writer) == ["texts"]
        writer.commit(tag=None, recipe_digest="d", run_id="r")
    assert list(upkeep.unindexed_rows(lake.dataset("texts")).values()) == [0]


@pytest.mark.usefixtures("prefect_server")
def test_maintaining_a_curated_lake_changes_no_content(media_folder, recipe_of, lake_dir):
    lake = lakes.open(lake_dir)
    for n in range(3):
        (media_folder / f"{n:02d}.txt").write_text(f"caption {n}, told anew")
        curate(recipe_of(media_folder), lake=lake_dir)
    before = lake.head()
    rows = {table: lake.read(table).sort_by(lakes.key_of(table)) for table in before.versions}
    done = maintain(lake=lake_dir, keep=1)
    after = lake.head()
    assert done.compacted["pairs"] > 0 and done.freed_bytes > 0
    assert done.expired == ["s000001", "s000002", "s000003"]
    assert (after.digest, lake.tags()) == (before.digest, {"latest": after.snapshot_id})
    for table, content in rows.items():
        assert lake.read(table).sort_by(lakes.key_of(table)) == content
        assert len(lance.dataset(f"{lake_dir}/{table}.lance").versions()) <= 2
    assert curate(recipe_of(media_folder), lake=lake_dir).snapshot_id == after.snapshot_id


def test_indexes_of_several_kinds_are_counted_and_those_over_vectors_left_to_their_recipe(lake):
    committed(lake, "media", numbered(drawn(400, 8)))
    with lake.writer() as writer:
        lake.latest(TABLE).create_index("vector", "IVF_FLAT", metric="cosine", name=indexes.NAME)
        lake.latest(TABLE).create_scalar_index("side", "BITMAP")
        writer.adopt(TABLE)
        writer.commit(tag=None, recipe_digest="d", run_id="r")
    behind = committed(lake, "media", numbered(drawn(30, 8, seed=1), 400))
    assert upkeep.unindexed_rows(lake.dataset(TABLE, behind)) == {"side_idx": 30, indexes.NAME: 30}
    with lake.writer() as writer:
        assert upkeep.refresh_indexes(lake, writer) == [TABLE]
    assert upkeep.unindexed_rows(lake.latest(TABLE)) == {"side_idx": 0, indexes.NAME: 30}


@pytest.mark.usefixtures("prefect_server")
def test_maintenance_builds_what_the_recipe_asks_for_and_raises_an_alert(lake, caplog, capsys):
    before = committed(lake, "media", numbered(drawn(1500, 32)))
    recipe = IndexRecipe(at_least_rows=1000, queries=20, kinds=("IVF_RQ",))
    done = maintain(lake=lake.uri, index=recipe)
    after = lake.head()
    assert (done.indexes, done.alerts) == ({TABLE: "built"}, [])
    assert (after.digest, lake.tags()) == (before.digest, {"latest": after.snapshot_id})
    assert lake.read(TABLE, at=before.snapshot_id).num_rows == 1500
    status(lake=lake.uri, as_json=True)
    (said,) = json.loads(capsys.readouterr().out)["indexes"]
    assert (said["table"], said["rows"], said["not_in_index"], said["alert"]) == (TABLE, 1500, 0, "")
    assert said["recall"] >= said["floor"] == 0.95 and said["p50_index_ms"] > 0 and said["p50_exact_ms"] > 0

    committed(lake, "media", numbered(drawn(100, 32, seed=1), 1500))
    status(lake=lake.uri)
    shown = capsys.readouterr().out
    assert "Indexes" in shown and "IVF_RQ" in shown and "ALERT" not in shown
    strict = recipe.model_copy(update={"floor": 1.0, "probes": (1,), "refine": (1,)})
    of_tasks = logging.getLogger("prefect.task_runs")
    of_tasks.addHandler(caplog.handler)
    with caplog.at_level("WARNING", logger="prefect.task_runs"):
        done = maintain(lake=lake.uri, index=strict)
    of_tasks.removeHandler(caplog.handler)
    (alert,) = done.alerts
    assert "under the floor of 1" in alert
    assert (logging.WARNING, alert) in [(record.levelno, record.getMessage()) for record in caplog.records]
    status(lake=lake.uri)
    assert f"ALERT: {alert}" in " ".join(capsys.readouterr().out.split())

    done = maintain(lake=lake.uri, index=None)
    assert (done.indexes, done.alerts) == ({TABLE: "dropped"}, [])
