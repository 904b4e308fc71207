"""Bridges in the lake: kept by content, serving as long as a snapshot needs them, and two spaces put on one scale."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import LakeError
from schemas.ranking import Candidates
from schemas.tables import MEDIA, TEXTS, embeddings
from storage import bridges, checkpoints, rows
from storage.bridges import Bank, Bridge
from storage.lake import Lake

OLD, NEW = Bank("embeddings_old", "a" * 32, {"name": "old"}), Bank("embeddings_new", "b" * 32)
WIDTH = {OLD.table: 3, NEW.table: 5}


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made(seed=0):
    rng = np.random.default_rng(seed)
    crossing = {"matrix": rng.normal(size=(5, 3)).astype(np.float32), "centre": np.zeros(5, np.float32)}
    return {
        "crossings": {"media": crossing, "text": {"matrix": np.ones((5, 3), np.float32)}},
        "background": {
            side: (unit(rng.normal(size=(4, 3))), unit(rng.normal(size=(4, 5)))) for side in ("media", "text")
        },
        "further": {"test.medium": np.arange(3)},
    }


def meta(run="run-1", **changes):
    facts = {
        "recipe": {"name": "upgrade"}, "snapshot_id": "s000001", "snapshot_digest": "ab" * 16, "seed": 0, "run_id": run,
        "old": {"table": OLD.table, "digest": OLD.digest, "ref": dict(OLD.ref)},
        "new": {"table": NEW.table, "digest": NEW.digest, "ref": {}},
        "measured": {"old": {"r1": 1.0}},
    }  # fmt: skip
    return facts | changes


def upsert(writer, spec, table, folder):
    path = Path(folder) / f"{spec.name}-{len(list(Path(folder).iterdir()))}.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, spec.stored) as out:
        out.write_table(rows.with_digest(table, spec))
    writer.upsert(spec, pds.dataset(str(path), format="ipc"))


def states(spec, ids, dropped=(), gone=()):
    return pa.Table.from_pylist(
        [
            dict.fromkeys(spec.schema.names)
            | {spec.key: item, "kept": item not in dropped, "present": item not in gone}
            for item in ids
        ],
        schema=spec.schema,
    )


def vectors(bank, items, side="media", digest=None):
    spec = embeddings(bank.table, WIDTH[bank.table])
    listed = [
        {"item_id": item, "side": side, "modality": "image", "encoder_digest": digest or bank.digest,
         "vector": vector.tolist(), "run_id": ""}
        for item, vector in items.items()
    ]  # fmt: skip
    return spec, pa.Table.from_pylist(listed, schema=spec.schema)


@pytest.fixture
def corpus(tmp_path):
    """Thirty media with old vectors and twelve with new ones; two dropped, one gone. And a text of each kind."""
    rng = np.random.default_rng(0)
    ids = [f"m{number:02d}" for number in range(30)]
    old = dict(zip(ids, unit(rng.normal(size=(30, 3))), strict=True))
    new = dict(zip(ids[::-1][:12], unit(rng.normal(size=(12, 5))), strict=True))
    staged = tmp_path / "staged"
    staged.mkdir()
    lake = Lake(str(tmp_path / "lake"))
    with lake.writer() as writer:
        upsert(writer, MEDIA, states(MEDIA, ids, dropped=("m00", "m29"), gone=("m01",)), staged)
        upsert(writer, TEXTS, states(TEXTS, ["t0", "t1"]), staged)
        for bank, items in ((OLD, old), (NEW, new)):
            upsert(writer, *vectors(bank, items), staged)
        upsert(writer, *vectors(OLD, {"t0": unit(np.ones((1, 3)))[0]}, "text"), staged)
        upsert(writer, *vectors(NEW, {"m05": unit(np.ones((1, 5)))[0]}, digest="of other weights"), staged)
        snapshot = writer.commit(tag="latest", recipe_digest="", run_id="by hand")
    return lake, snapshot, old, new


def stored(lake, **changes):
    return bridges.load(lake, bridges.save(lake, meta=meta(), **(made() | changes)))


def test_a_bridge_comes_back_as_it_was_saved(tmp_path):
    lake, given_ = Lake(str(tmp_path)), made()
    found = bridges.load(lake, bridges.save(lake, meta=meta(), **given_))
    assert (found.old, found.new) == (OLD, NEW) and found.old.ref == OLD.ref
    assert found.meta["measured"] == {"old": {"r1": 1.0}}
    for side in ("media", "text"):
        assert found.crossings[side].keys() == given_["crossings"][side].keys()
        for name, array in given_["crossings"][side].items():
            np.testing.assert_array_equal(found.crossings[side][name], array)
        for ours, theirs in zip(given_["background"][side], found.background[side], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found.further["test.medium"], np.arange(3))


def test_the_same_bridge_is_kept_once_and_the_last_comes_first(tmp_path):
    lake = Lake(str(tmp_path))
    first = bridges.save(lake, meta=meta("run-1"), **made())
    assert bridges.save(lake, meta=meta("run-2"), **made()) == first
    other = bridges.save(lake, meta=meta("run-2"), **made(1))
    assert list(bridges.bridges(lake)) == [other, first]


def test_a_head_is_no_bridge(tmp_path):
    lake = Lake(str(tmp_path))
    facts = {fact: "" for fact in checkpoints.FACTS}
    head = checkpoints.save(lake, {"media.mean": np.zeros(2)}, facts)
    assert bridges.bridges(lake) == {}
    with pytest.raises(LakeError, match="is no bridge"):
        bridges.load(lake, head)
    with pytest.raises(LakeError, match="has no checkpoint"):
        bridges.load(lake, "0" * 32)


def test_refuses_a_bridge_that_does_not_say_all(tmp_path):
    lake = Lake(str(tmp_path))
    for fact in ("old", "new", "measured", "snapshot_id"):
        with pytest.raises(ValueError, match=f"lacks {fact}"):
            bridges.save(lake, meta={k: v for k, v in meta().items() if k != fact}, **made())
    with pytest.raises(ValueError, match="both sides"):
        bridges.save(lake, meta=meta(), **(made() | {"crossings": {"media": {}}}))


def test_counts_kept_items_that_only_the_old_encoder_has_seen(corpus):
    lake, snapshot, *_ = corpus
    # Of 30: 12 have new vectors, one of them (m29) is dropped; m00 and m01 are out; vectors of other weights are none.
    assert bridges.missing(lake, snapshot, OLD, NEW) == 30 - 12 - 2
    assert bridges.missing(lake, snapshot, NEW, OLD) == 0
    assert bridges.missing(lake, snapshot, OLD, NEW, side="text") == 1
    assert bridges.missing(lake, snapshot, OLD, Bank("embeddings_none", "")) == 0


def test_serves_while_something_is_missing(corpus, tmp_path):
    lake, snapshot, old, _ = corpus
    assert bridges.serving(lake, snapshot, NEW.table) is None  # nothing was trained yet
    one = bridges.save(lake, meta=meta(), **made())
    assert bridges.serving(lake, snapshot, NEW.table).id == one
    assert bridges.serving(lake, snapshot, OLD.table) is None
    rest = {item: unit(np.ones((1, 5)))[0] for item in old}
    with lake.writer() as writer:
        upsert(writer, *vectors(NEW, rest), tmp_path / "staged")
        later = writer.commit(tag="latest", recipe_digest="", run_id="by hand")
    assert bridges.serving(lake, later, NEW.table) is None
    assert bridges.serving(lake, later, NEW.table, side="text").id == one
    assert bridges.serving(lake, snapshot, NEW.table).id == one  # the past still needs it


@pytest.mark.parametrize("k", [1, 3, 7, 100])
def test_mixed_is_every_score_by_hand(corpus, k):
    lake, snapshot, old, new = corpus
    bridge = stored(lake)
    rng = np.random.default_rng(5)
    query, crossed = unit(rng.normal(size=(1, 5)))[0], unit(rng.normal(size=(1, 3)))[0]
    before = [float(crossed @ one) for one in bridge.background["media"][0]]
    after = [float(query @ one) for one in bridge.background["media"][1]]
    scores = {}
    for item in old:
        if item in ("m00", "m01", "m29"):
            continue
        if item in new:
            scores[item] = float(query @ new[item])
        else:
            z = (float(crossed @ old[item]) - np.mean(before)) / np.std(before)
            scores[item] = np.mean(after) + z * np.std(after)
    expected = sorted(scores.items(), key=lambda item: -item[1])[:k]
    found = bridges.mixed(lake, snapshot, bridge, query, crossed, k=k)
    assert found.item_ids == tuple(item for item, _ in expected)
    np.testing.assert_allclose(found.scores, [score for _, score in expected], atol=1e-5)
    assert found.exact and found.facts["bridge"] == bridge.id and found.facts["unseen"] == 16
    assert found.notes == (
        f"16 media have no vector of embeddings_new yet and are compared by embeddings_old, over bridge {bridge.id[:12]}",
    )


def test_mixed_searches_with_what_it_is_given(corpus):
    """A search that is asked for more only when too many of what it found have new vectors."""
    lake, snapshot, old, new = corpus
    asked = []

    def nearest(table, query, k):
        asked.append((table, k))
        ids = tuple(sorted(new) if table == NEW.table else [*sorted(new), *sorted(set(old) - set(new))])
        return Candidates(
            ids[:k],
            np.linspace(1, 0, len(ids))[:k].astype(np.float32),
            exact=table == OLD.table,
            notes=("said",),
        )

    query, crossed = np.float32([1, 0, 0, 0, 0]), np.float32([1, 0, 0])
    found = bridges.mixed(lake, snapshot, stored(lake), query, crossed, k=4, nearest=nearest)
    assert asked == [(NEW.table, 4), (OLD.table, 4), (OLD.table, 16)]  # 12 of the first 16 have new vectors
    assert not found.exact and found.notes[0] == "said" and len(found) == 4


def test_equal_scores_are_ordered_by_id(corpus):
    lake, snapshot, *_ = corpus

    def nearest(table, query, k):
        ids = ("m20", "m21") if table == NEW.table else ("m04", "m03")
        return Candidates(ids[:k], np.zeros(len(ids[:k]), np.float32))

    background = {side: (np.float32([[1, 0, 0], [-1, 0, 0]]), np.float32([[1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]]))
                  for side in ("media", "text")}  # fmt: skip
    bridge = stored(lake, background=background)
    query, crossed = np.float32([1, 0, 0, 0, 0]), np.float32([1, 0, 0])
    found = bridges.mixed(lake, snapshot, bridge, query, crossed, k=3, nearest=nearest)
    assert found.item_ids == ("m03", "m04", "m20")


def test_refuses_no_results_and_queries_of_another_width(corpus):
    lake, snapshot, *_ = corpus
    bridge = stored(lake)
    query, crossed = np.float32([1, 0, 0, 0, 0]), np.float32([1, 0, 0])
    with pytest.raises(ValueError, match="k must be"):
        bridges.mixed(lake, snapshot, bridge, query, crossed, k=0)
    with pytest.raises(ValueError, match="3 wide"):
        bridges.mixed(lake, snapshot, bridge, query, query, k=1)


@given(seed=st.integers(0, 10_000), items=st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_on_one_scale_the_background_has_one_mean_and_deviation(seed, items):
    rng = np.random.default_rng(seed)
    old, new = rng.normal(size=(2, 4, items)) * rng.uniform(0.1, 3, size=(2, 4, 1))
    slope, shift = bridges.scale(old, new)
    moved = slope[:, None] * old + shift[:, None]
    np.testing.assert_allclose(moved.mean(axis=1), new.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(moved.std(axis=1), new.std(axis=1), atol=1e-9)
    assert (slope > 0).all()  # so the order within the old space stays


def test_a_background_that_does_not_vary_is_only_shifted():
    slope, shift = bridges.scale(np.array([[0.2, 0.2], [0.1, 0.3]]), np.array([[0.1, 0.5], [0.4, 0.4]]))
    assert slope.tolist() == [1, 1]
    np.testing.assert_allclose(shift, [0.1, 0.2])


def test_a_bridge_without_the_tables_serves_nothing(tmp_path):
    from storage.versions import Snapshot

    lake = Lake(str(tmp_path))
    bridges.save(lake, meta=meta(), **made())
    empty = Snapshot("s000001", "", "", {}, {}, {}, "", "", datetime.now(UTC))
    assert bridges.serving(lake, empty, NEW.table) is None
    assert isinstance(bridges.load(lake, next(iter(bridges.bridges(lake)))), Bridge)
