"""Going over to another encoder: search before, on the way and after; stopped and gone on; every state a snapshot."""

import hashlib
import json

import numpy as np
import pytest

from flows.curate import curate
from flows.upgrade import upgrade
from schemas.errors import DataError, InvalidParameter, NoSuchTable, UnknownMethod
from schemas.ranking import Query
from schemas.recipes import CurationRecipe, MethodRef, SourceRef
from schemas.upgrade import UpgradeRecipe
from storage import bridges
from storage import lake as lakes
from storage.search import encoder_table
from tasks.bridges import Crossing
from tasks.encoders import identity
from tasks.encoders.hashing import Hashing
from tasks.retrieval.find import find
from tasks.search import search
from tasks.upgrade import Standing, next_stop, report_standing
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")

MEDIA = 40
NEW = Hashing(dim=48, seed=7)
TABLE = identity(NEW).table
RECIPE = UpgradeRecipe(
    old="hashing", new=MethodRef(name="hashing", params={"dim": 48, "seed": 7}),
    media=8, tested=8, held_out=0.25, shard_rows=16,
)  # fmt: skip
COLOURS = {"red": (200, 20, 20), "green": (20, 160, 20), "blue": (20, 20, 220), "yellow": (230, 220, 20)}


def curation(folder):
    return CurationRecipe(
        name="upgrade",
        sources=(SourceRef(name="media", kind="folder", location=str(folder)),),
        encoder=MethodRef(name="hashing"),
        near_duplicates=None,
    )


def write_media(folder, numbers):
    from PIL import Image

    for number in numbers:
        path = write_picture(folder / f"{number}.png", number)
        colour = list(COLOURS)[number % 4]
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).copy()
        pixels[: pixels.shape[0] * 3 // 4] = COLOURS[colour]
        Image.fromarray(pixels).save(path)
        (folder / f"{number}.txt").write_text(f"{colour} flag number {number}")


@pytest.fixture
def lake(tmp_path):
    write_media(tmp_path / "media", range(MEDIA))
    curate(curation(tmp_path / "media"), lake=str(tmp_path / "lake"))
    return lakes.open(str(tmp_path / "lake"))


def vectors(lake, snapshot, table, side):
    if table not in snapshot.versions:
        return {}
    rows = lake.dataset(table, snapshot).to_table(filter=f"side = '{side}'").to_pylist()
    return {row["item_id"]: np.array(row["vector"], np.float32) for row in rows}


def by_hand(lake, snapshot, bridge, query):
    """Every kept medium's score, item by item: new cosine, or the old one with mean and deviation of the background."""
    old, new = (vectors(lake, snapshot, bank.table, "media") for bank in (bridge.old, bridge.new))
    crossed = Crossing.from_state(bridge.crossings["media"])(query[None])[0]
    before = [float(crossed @ vector) for vector in bridge.background["media"][0]]
    after = [float(query @ vector) for vector in bridge.background["media"][1]]
    scores = {}
    for item, vector in old.items():
        if item in new:
            scores[item] = float(query @ new[item])
        else:
            standard = (float(crossed @ vector) - np.mean(before)) / np.std(before)
            scores[item] = standard * np.std(after) + np.mean(after)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def mixed(lake, snapshot, bridge, query, k, side="media"):
    crossed = Crossing.from_state(bridge.crossings[side])(query[None])[0]
    return bridges.mixed(lake, snapshot, bridge, query, crossed, k=k, side=side)


def test_search_goes_on_before_on_the_way_and_after(lake):
    before = lake.head()
    assert len(search(lake, "blue flag", k=5).hits) == 5
    told: list[Standing] = []
    token = report_standing.set(told.append)
    try:
        done = upgrade(RECIPE, lake.uri)
    finally:
        report_standing.reset(token)
    assert told == list(done.standings)
    assert [(state.seen, state.media) for state in done.standings] == [
        (n, MEDIA) for n in (0, 10, 20, 30, 40)
    ]
    since = [snapshot for snapshot in lake.snapshots() if snapshot.snapshot_id > before.snapshot_id]
    assert [state.snapshot_id for state in done.standings] == [snapshot.snapshot_id for snapshot in since]
    assert done.complete and lake.tags()["latest"] == done.snapshot.snapshot_id == since[-1].snapshot_id

    query = NEW(["blue flag number 3"])[0]
    for snapshot, seen in zip(since[:-1], (0, 10, 20, 30), strict=True):
        bridge = bridges.serving(lake, snapshot, TABLE)
        found = mixed(lake, snapshot, bridge, query, 7)
        expected = by_hand(lake, snapshot, bridge, query)
        assert list(found.item_ids) == list(expected)[:7]
        np.testing.assert_allclose(found.scores, list(expected.values())[:7], atol=2e-5)
        assert found.exact and found.facts["unseen"] == MEDIA - seen
        assert f"{MEDIA - seen} media have no vector" in found.notes[-1]
        everything = mixed(lake, snapshot, bridge, query, 1000)
        assert list(everything.item_ids) == list(expected)
    assert bridges.serving(lake, since[-1], TABLE) is None
    assert len(search(lake, "blue flag", k=5, encoder=TABLE).hits) == 5
    assert len(search(lake, "blue flag", k=5, encoder="embeddings_hashing").hits) == 5


def test_who_names_no_encoder_gets_the_one_gone_over_to(lake):
    before = lake.head()
    half = upgrade(RECIPE, lake.uri, steps=2).snapshot
    (meta,) = bridges.bridges(lake).values()
    said = meta["measured"]
    is_good = said["cross"]["text_to_media_r10"] >= said["old"]["text_to_media_r10"]
    after = upgrade(RECIPE, lake.uri).snapshot
    for snapshot, alone, bridged in (
        (before, "embeddings_hashing", "embeddings_hashing"),
        (half, "embeddings_hashing", TABLE if is_good else "embeddings_hashing"),
        (after, TABLE, TABLE),
    ):
        assert encoder_table(lake, snapshot).table == alone  # whole tables only: for maps, fits, neighbours
        assert encoder_table(lake, snapshot, bridged=True).table == bridged
        assert find(lake, Query(text="blue flag", k=5, at=snapshot.snapshot_id)).table == bridged
        assert encoder_table(lake, snapshot, "embeddings_hashing").table == "embeddings_hashing"


@pytest.mark.parametrize(("cross", "table"), [(49.0, "embeddings_hashing"), (50.0, TABLE)])
def test_a_bridge_that_finds_less_is_not_taken_unasked(lake, cross, table):
    half = upgrade(RECIPE, lake.uri, steps=2).snapshot
    (one,) = bridges.bridges(lake)
    stored = bridges.load(lake, one)
    said = {"old": {"text_to_media_r10": 50.0}, "cross": {"text_to_media_r10": cross}}
    bridges.save(  # the same bridge, learnt later, with other numbers to its name
        lake,
        crossings=stored.crossings,
        background=stored.background,
        meta={**stored.meta, "measured": said, "run_id": "99991231T000000-later"},
    )
    assert encoder_table(lake, half, bridged=True).table == table


def test_at_none_it_is_the_crossing_and_at_all_the_new_vectors_alone(lake):
    done = upgrade(RECIPE, lake.uri)
    bridge = bridges.load(lake, done.bridge)
    queries = NEW([f"{colour} flag" for colour in COLOURS])
    first, last = (lake.snapshot(done.standings[n].snapshot_id) for n in (0, -1))
    crossed = Crossing.from_state(bridge.crossings["media"])(queries)
    old, new = (
        vectors(lake, at, bank.table, "media") for at, bank in ((first, bridge.old), (last, bridge.new))
    )
    for query, cross in zip(queries, crossed, strict=True):
        found = mixed(lake, first, bridge, query, MEDIA)
        assert found.item_ids == tuple(sorted(old, key=lambda item: -float(cross @ old[item])))
        found = mixed(lake, last, bridge, query, MEDIA)
        assert found.item_ids == tuple(sorted(new, key=lambda item: -float(query @ new[item])))
        np.testing.assert_allclose(
            found.scores, sorted((query @ v for v in new.values()), reverse=True), atol=1e-5
        )


def test_stopped_and_gone_on_it_ends_as_if_it_had_not_been(lake, tmp_path):
    import shutil

    shutil.copytree(tmp_path / "lake", tmp_path / "other")
    whole = upgrade(RECIPE, str(tmp_path / "other"))
    parts = [upgrade(RECIPE, lake.uri, steps) for steps in (0, 1, 2)]
    assert [[state.seen for state in part.standings] for part in parts] == [[0], [0, 10], [10, 20, 30]]
    assert not any(part.complete for part in parts)
    final = upgrade(RECIPE, lake.uri)
    assert final.complete and final.snapshot.digest == whole.snapshot.digest
    assert {part.bridge for part in (*parts, final, whole)} == {whole.bridge}
    recalls = [state.recall for part in (*parts, final) for state in part.standings]
    assert [recalls[n] for n in (0, 2, 4, 5, 7)] == [state.recall for state in whole.standings]

    again = upgrade(RECIPE, lake.uri)
    assert again.snapshot == final.snapshot and [state.seen for state in again.standings] == [MEDIA]
    assert lake.runs()[0]["status"] == "unchanged"


def test_what_is_held_out_is_not_learnt_from(lake):
    done = upgrade(RECIPE, lake.uri, 0)
    meta = bridges.load(lake, done.bridge).meta
    clusters = {row["media_id"]: row["cluster_id"] for row in lake.read("media").to_pylist()}
    apart = {
        media_id
        for media_id, cluster in clusters.items()
        if int(hashlib.md5(f"held out {cluster}".encode()).hexdigest()[:8], 16) < 0.25 * 2**32
    }
    assert (
        2 <= len(apart) < MEDIA and set(meta["tested"]) <= apart and len(meta["tested"]) == min(8, len(apart))
    )
    assert meta["texts"] == MEDIA - len(apart)


def test_measures_and_mixes_as_metrics_over_the_lake_do(lake):
    """Recall of the half-way state, from `mixed` itself over the tested media."""
    done = upgrade(RECIPE, lake.uri, 2)
    bridge, snapshot = bridges.load(lake, done.bridge), done.snapshot
    tested = set(bridge.meta["tested"])
    texts = {row["text_id"]: row["text"] for row in lake.read("texts").to_pylist()}
    pairs = [row for row in lake.read("pairs").to_pylist() if row["media_id"] in tested]
    assert len(tested) == 8 and len(pairs) == 8
    firsts = []
    for pair in pairs:
        order = mixed(lake, snapshot, bridge, NEW([texts[pair["text_id"]]])[0], MEDIA).item_ids
        firsts.append([item for item in order if item in tested][0] == pair["media_id"])
    assert done.standings[-1].recall["r1"] == pytest.approx(100 * np.mean(firsts), abs=1e-3)
    for kind in ("old", "cross", "new"):
        assert set(done.measured[kind]) == {
            f"{way}_r{k}" for way in ("text_to_media", "media_to_text") for k in (1, 10)
        }


def test_media_that_come_later_are_bridged_again_and_then_caught_up(lake, tmp_path):
    upgrade(RECIPE, lake.uri)
    write_media(tmp_path / "media", range(MEDIA, MEDIA + 4))
    snapshot = curate(curation(tmp_path / "media"), lake=lake.uri)
    bridge = bridges.serving(lake, snapshot, TABLE)
    assert bridges.missing(lake, snapshot, bridge.old, bridge.new) == 4
    assert len(mixed(lake, snapshot, bridge, NEW(["red flag"])[0], 100)) == MEDIA + 4
    done = upgrade(RECIPE, lake.uri)
    assert done.bridge == bridge.id and [state.seen for state in done.standings] == [MEDIA, MEDIA + 4]


def test_dropped_media_are_neither_found_nor_waited_for(lake):
    from flows.review import state_verdict
    from tasks.review import Statement

    upgrade(RECIPE, lake.uri, 0)
    media_id = sorted(row["media_id"] for row in lake.read("media").to_pylist())[0]
    state_verdict(Statement("drop", (media_id,)), lake.uri)
    done = upgrade(RECIPE, lake.uri, 1)
    bridge = bridges.load(lake, done.bridge)
    found = mixed(lake, done.snapshot, bridge, NEW(["red flag"])[0], 100)
    assert len(found) == MEDIA - 1 and media_id not in found.item_ids
    assert done.standings[-1].media == MEDIA - 1


@pytest.mark.parametrize(
    ("seen", "total", "step", "stop"),
    [(0, 40, 0.25, 10), (10, 40, 0.25, 20), (11, 40, 0.25, 20), (30, 40, 0.25, 40), (0, 3, 0.25, 1), (0, 7, 1, 7),
     (3, 3, 0.25, 3), (9, 10, 0.3, 10), (0, 100, 0.07, 7), (0, 10, 0.1, 1), (3, 10, 0.1, 4)],
)  # fmt: skip
def test_the_next_stop_is_the_next_multiple_of_the_step(seen, total, step, stop):
    assert next_stop(seen, total, step) == stop


def test_what_cannot_be_upgraded_says_why(lake, tmp_path):
    def changed(**fields):
        return RECIPE.model_copy(update=fields)

    with pytest.raises(DataError, match="is empty"):
        upgrade(RECIPE, str(tmp_path / "nothing"))
    with pytest.raises(NoSuchTable, match="no vectors of lite"):
        upgrade(changed(old="lite"), lake.uri)
    with pytest.raises(DataError, match="writes to embeddings_hashing itself"):
        upgrade(changed(new=MethodRef(name="hashing")), lake.uri)
    with pytest.raises(DataError, match="'minilm' encodes text"):
        upgrade(changed(new=MethodRef(name="minilm")), lake.uri)
    with pytest.raises(UnknownMethod):
        upgrade(changed(bridge=MethodRef(name="rope")), lake.uri)
    with pytest.raises(InvalidParameter):
        upgrade(changed(bridge=MethodRef(name="ridge", params={"noise": -1})), lake.uri)
    with pytest.raises(DataError, match="0 to test on"):
        upgrade(changed(held_out=1e-9), lake.uri)
    with pytest.raises(DataError, match="0 media are left to learn from"):
        upgrade(changed(held_out=1 - 1e-9), lake.uri)


def test_the_command_line_prints_every_state(lake, capsys):
    from flows.cli.encoders import list_
    from flows.cli.encoders import upgrade as command

    how = {"lake": lake.uri, "param": ["dim=48", "seed=7"], "bridge": "ridge", "step": 0.5, "seed": 0}
    command("hashing", "hashing", **how, steps=1, as_json=False)
    said = capsys.readouterr().out
    assert (
        "0 of 40 media (0 %)" in said and "20 of 40 media (50 %)" in said and "run the same command" in said
    )
    list_(lake=lake.uri, at=None, as_json=False)
    assert "serving" in capsys.readouterr().out
    command("hashing", "hashing", **how, steps=None, as_json=True)
    done = json.loads(capsys.readouterr().out)
    assert done["complete"] and [state["seen"] for state in done["standings"]] == [20, 40]
    list_(lake=lake.uri, at=None, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in found["bridges"]] == ["retired"]
    assert sorted(row["media"] for row in found["tables"]) == [40, 40]
