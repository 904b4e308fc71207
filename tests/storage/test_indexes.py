"""Indexes are chosen by what was measured, kept beside it, and an alert is raised where one falls short."""

import numpy as np
import pytest

from schemas.recipes import IndexRecipe
from storage import indexes, upkeep
from storage.indexes import Measured, health, index_of, keep_up, measure_again, measured
from storage.search import dense
from tests.storage.vector_lakes import TABLE, committed, drawn, item, numbered

ROWS, DIM = 2000, 32
RECIPE = IndexRecipe(at_least_rows=1000, probes=(1, 5, 20), refine=(1, 10), queries=25, floor=0.8)


@pytest.fixture
def vectors():
    return drawn(ROWS, DIM, seed=1, clusters=16)


def kept_up(lake, recipe):
    """Keep up and commit."""
    with lake.writer() as writer:
        done = keep_up(lake, writer, recipe, run_id="m")
        return done, writer.commit(tag="latest", recipe_digest="d", run_id="m")


def recall_by_hand(lake, snapshot, entry, queries, own):
    """Recall at 10 of the plain setting for queries that are rows themselves, counted one by one."""
    setting = entry.setting("media", 10, filtered=False)
    every = lake.dataset(TABLE, snapshot).to_table(columns=["item_id", "vector"], filter="side = 'media'")
    ids, values = every["item_id"].to_pylist(), np.array(every["vector"].to_pylist(), np.float32)
    shares = []
    for query, self_id in zip(queries, own, strict=True):
        scores = dict(zip(ids, (values.astype(np.float64) @ query.astype(np.float64)).tolist(), strict=True))
        scores.pop(self_id, None)
        truth = set(sorted(scores, key=lambda one: -scores[one])[:10])
        got = (
            lake.dataset(TABLE, snapshot)
            .to_table(
                columns=["item_id", "_distance"],
                filter="side = 'media'",
                nearest={
                    "column": "vector",
                    "q": query,
                    "k": 11 * setting.refine,
                    "minimum_nprobes": setting.nprobes,
                },
            )["item_id"]
            .to_pylist()
        )
        best = sorted((one for one in got if one != self_id), key=lambda one: -scores[one])[:10]
        shares.append(len(truth & set(best)) / 10)
    return float(np.mean(shares))


def test_an_index_is_built_measured_and_named_by_the_next_snapshot(lake, vectors):
    before = committed(lake, "media", numbered(vectors))
    (entry,), after = kept_up(lake, RECIPE)
    assert (entry.action, entry.kind, entry.table, entry.alert) == ("built", "IVF_RQ", TABLE, "")
    assert (entry.rows_covered, entry.rows_trained, entry.snapshot_id) == (ROWS, ROWS, after.snapshot_id)
    assert after.digest == before.digest and after.versions[TABLE] > before.versions[TABLE]
    assert index_of(lake.dataset(TABLE, before)) is None
    index = index_of(lake.dataset(TABLE, after))
    assert (index.parts, index.rows, index.size_bytes) == (entry.parts, ROWS, entry.size_bytes)
    assert measured(lake, index) == entry
    assert {(s.side, s.depth, s.filtered) for s in entry.settings} == {
        ("media", depth, filtered) for depth in (10, 100) for filtered in (False, True)
    }
    row = lake.read("indexes").to_pylist()[0]
    assert row["recall"] == pytest.approx(entry.recall) and row["floor"] == pytest.approx(0.8)
    assert (
        row["p50_index_ms"] > 0 and row["p50_exact_ms"] > 0 and row["build_s"] > 0 and row["size_bytes"] > 0
    )


def test_recall_is_that_of_a_count_by_hand(lake, vectors):
    committed(lake, "media", numbered(vectors))
    (entry,), after = kept_up(lake, RECIPE)
    draw = np.random.default_rng((RECIPE.seed, True))
    order = np.argsort(lake.dataset(TABLE, after).to_table(columns=["item_id"])["item_id"].to_pylist())
    picked = np.sort(draw.choice(ROWS, RECIPE.queries, replace=False))
    own = [item(int(order[n])) for n in picked]
    by_hand = recall_by_hand(lake, after, entry, vectors[[int(one, 16) for one in own]], own)
    assert entry.setting("media", 10, filtered=False).recall == pytest.approx(by_hand, abs=1e-9)


def test_queries_come_from_both_sides(lake, vectors):
    committed(lake, "media", numbered(vectors[:1200]))
    snapshot = committed(lake, "text", numbered(vectors[1200:], 1200))  # too few texts to be asked by index
    trial = indexes._Asked(lake.dataset(TABLE, snapshot), RECIPE, None)
    (from_media, media_ids), (from_texts, text_ids) = trial.directions("media")
    assert from_media.shape == from_texts.shape == (25, DIM)
    assert all(int(one, 16) < 1200 for one in media_ids) and all(int(one, 16) >= 1200 for one in text_ids)
    (entry,), _ = kept_up(lake, RECIPE)
    assert {setting.side for setting in entry.settings} == {
        "media",
        "text",
    }  # 800 texts: half of the threshold is enough
    assert entry.recall == min(entry.setting(side, 10, filtered=False).recall for side in ("media", "text"))


def test_small_tables_get_none_and_shrunken_ones_lose_theirs(lake, vectors):
    committed(lake, "media", numbered(vectors))
    assert kept_up(lake, RECIPE.model_copy(update={"at_least_rows": ROWS + 1}))[0] == []
    kept_up(lake, RECIPE)
    assert (
        kept_up(lake, RECIPE.model_copy(update={"at_least_rows": ROWS + 1}))[0] == []
    )  # nor is it lost at once
    (entry,), after = kept_up(lake, RECIPE.model_copy(update={"at_least_rows": 2 * ROWS + 1}))
    assert (entry.action, entry.active) == ("dropped", False)
    assert index_of(lake.dataset(TABLE, after)) is None and health(lake, after) == []
    (found,) = dense(lake, after, TABLE, vectors[:1], 3)
    assert found.exact and found.item_ids[0] == item(0)


def test_without_a_recipe_no_index_stays(lake, vectors):
    committed(lake, "media", numbered(vectors))
    kept_up(lake, RECIPE)
    (entry,), after = kept_up(lake, None)
    assert entry.action == "dropped" and index_of(lake.dataset(TABLE, after)) is None


def test_nothing_new_means_nothing_done(lake, vectors):
    committed(lake, "media", numbered(vectors))
    _, first = kept_up(lake, RECIPE)
    done, second = kept_up(lake, RECIPE)
    assert done == [] and second == first


def test_rows_added_since_are_counted_then_folded_in_and_many_train_anew(lake, vectors):
    committed(lake, "media", numbered(vectors[:1500]))
    (first,), _ = kept_up(lake, RECIPE)
    behind = committed(lake, "media", numbered(vectors[1500:1600], 1500))
    (state,) = health(lake, behind)
    assert (state.tail, state.measured, state.alert) == (100, first, "")
    assert upkeep.unindexed_rows(lake.dataset(TABLE, behind)) == {indexes.NAME: 100}
    (second,), after = kept_up(lake, RECIPE)
    assert (second.action, second.rows_covered, second.rows_trained) == ("extended", 1600, 1500)
    assert health(lake, after)[0].tail == 0 and health(lake, after)[0].measured == second
    assert (
        health(lake, behind)[0].measured == first
    )  # the older snapshot has the older index, and its measurement
    committed(lake, "media", numbered(drawn(1000, DIM, seed=2), 5000))
    (third,), _ = kept_up(lake, RECIPE)
    assert (third.action, third.rows_trained) == ("built", 2600)


def test_compaction_leaves_an_index_that_is_measured(lake, vectors):
    committed(lake, "media", numbered(vectors[:800]))
    committed(lake, "media", numbered(vectors[800:1500], 800))
    kept_up(lake, RECIPE)
    for start in (1500, 1600):
        committed(lake, "media", numbered(vectors[start - 50 : start + 100], start - 50))
    with lake.writer() as writer:
        assert upkeep.compact(lake, writer)[TABLE] > 0
        keep_up(lake, writer, RECIPE)
        after = writer.commit(tag="latest", recipe_digest="d", run_id="m")
    (state,) = health(lake, after)
    assert (state.tail, state.alert) == (0, "") and state.measured is not None
    for n in (3, 790, 1450, 1499, 1699):
        (found,) = dense(lake, after, TABLE, vectors[n][None], 3, search="index")
        assert found.item_ids[0] == item(n) and not found.exact


HOPELESS = RECIPE.model_copy(
    update={"floor": 1.0, "probes": (1,), "refine": (1,), "margin": 0.0, "kinds": ("IVF_RQ",)}
)


def test_a_recall_under_the_floor_is_an_alert(lake):
    committed(lake, "media", numbered(drawn(ROWS, DIM, seed=4)))
    (entry,), after = kept_up(lake, HOPELESS)
    assert entry.recall < 1 and "under the floor of 1" in entry.alert
    assert [state.alert for state in health(lake, after)] == [entry.alert]
    (found,) = dense(lake, after, TABLE, drawn(1, DIM, seed=9), 10)
    assert found.exact and found.facts["why"] == "the index's recall is under the floor"
    assert found.notes == (entry.alert,)
    assert kept_up(lake, HOPELESS)[0] == []  # it is not built again and again


def test_where_one_kind_does_not_reach_the_floor_the_next_is_built(lake):
    committed(lake, "media", numbered(drawn(ROWS, DIM, seed=4)))
    (entry,), _ = kept_up(
        lake, HOPELESS.model_copy(update={"kinds": ("IVF_RQ", "IVF_FLAT"), "probes": (100,)})
    )
    assert (entry.kind, entry.recall, entry.alert) == ("IVF_FLAT", 1.0, "")


def test_the_floor_of_the_day_counts(lake, vectors):
    committed(lake, "media", numbered(vectors))
    kept_up(lake, RECIPE)
    (entry,), after = kept_up(lake, RECIPE.model_copy(update={"floor": 0.85}))
    assert entry.action == "measured" and entry.floor == 0.85
    assert health(lake, after)[0].measured == entry


def test_health_is_measured_again_on_demand(lake, vectors):
    snapshot = committed(lake, "media", numbered(vectors))
    assert measure_again(lake, snapshot, RECIPE) == []
    (built,), after = kept_up(lake, RECIPE)
    (again,) = measure_again(lake, after, RECIPE, run_id="check")
    assert (again.action, again.alert, again.run_id) == ("measured", "", "check")
    assert [s.recall for s in again.settings] == [
        s.recall for s in built.settings
    ]  # same queries, same index
    (strict,) = measure_again(lake, after, RECIPE.model_copy(update={"floor": 1.0}))
    assert ("under the floor" in strict.alert) == (min(s.recall for s in built.settings) < 1)
    assert health(lake, after)[0].measured == strict


def test_an_index_nobody_measured_is_not_used_and_says_so(lake, vectors):
    committed(lake, "media", numbered(vectors))
    with lake.writer() as writer:
        lake.latest(TABLE).create_index("vector", "IVF_FLAT", metric="cosine", name=indexes.NAME)
        writer.adopt(TABLE)
        snapshot = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    (found,) = dense(lake, snapshot, TABLE, vectors[:1], 3)
    assert found.exact and "never measured" in found.notes[0]
    assert "never measured" in health(lake, snapshot)[0].alert
    (entry,), after = kept_up(lake, RECIPE)
    assert entry.action == "extended" and health(lake, after)[0].alert == ""


def test_a_killed_build_leaves_nothing_behind(lake, vectors):
    committed(lake, "media", numbered(vectors))
    with lake.writer() as writer:
        keep_up(lake, writer, RECIPE)  # never committed
    assert health(lake, lake.head()) == []
    (entry,), after = kept_up(lake, RECIPE)
    assert entry.action == "built" and len(health(lake, after)) == 1


def test_what_was_measured_survives_the_log():
    setting = indexes.Setting("media", 10, False, 5, 3, 0.9, 1.0, 2.0, 0.5, 100)
    entry = Measured("t", "p", "IVF_RQ", "built", (setting,), 0.5, 100, 100, 1.5, 7)
    assert Measured.from_row(entry.as_row()) == entry
    assert (
        entry.setting("media", 11, filtered=False) is None
        and entry.setting("text", 5, filtered=False) is None
    )
    assert (
        Measured.from_row(Measured("t", "", "IVF_RQ", "dropped", (), 0.0, 0, 0, 0.0, 0).as_row()).recall
        is None
    )
