"""The nearest kept items, against plain arithmetic over all of them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pytest

from schemas.errors import NoSuchTable
from schemas.tables import MEDIA, TEXTS, embeddings
from storage import rows
from storage.search import by_ids, encoder_table, encoder_tables, nearest

N, DIM, TABLE = 300, 16, "embeddings_test"
IDS = [f"{n:032x}" for n in range(N)]


@pytest.fixture
def vectors():
    drawn = np.random.default_rng(5).standard_normal((N, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def state(spec, kept):
    listed = [
        {name: None for name in spec.schema.names} | {spec.key: item, "present": True, "kept": keep}
        for item, keep in zip(IDS, kept, strict=True)
    ]
    return pds.dataset(rows.with_digest(pa.Table.from_pylist(listed, schema=spec.schema), spec))


def filled(lake, vectors, kept, side="media"):
    """Commit vectors of one side and whether each item is kept."""
    spec = embeddings(TABLE, DIM)
    table = pa.table(
        {
            "item_id": IDS,
            "side": [side] * N,
            "modality": ["image" if side == "media" else "text"] * N,
            "encoder_digest": ["e"] * N,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
            "run_id": ["r"] * N,
        }
    )
    with lake.writer() as writer:
        for name, state_spec in (("media", MEDIA), ("text", TEXTS)):
            writer.upsert(
                state_spec,
                state(state_spec, kept) if side == name else pds.dataset(state_spec.stored.empty_table()),
            )
        said = {
            "xmodal.encoder": json.dumps({"dim": DIM}),
            "xmodal.encoder_ref": json.dumps({"name": "test"}),
        }
        writer.upsert(spec, pds.dataset(rows.with_digest(table, spec)), metadata=said)
        return writer.commit(tag="latest", recipe_digest="d", run_id="r")


def brute_force(vectors, kept, query, k):
    similarity = vectors @ query
    order = [int(n) for n in np.argsort(-similarity) if kept[n] is not False][:k]
    return [IDS[n] for n in order], similarity[order]


@pytest.mark.parametrize("side", ["media", "text"])
@pytest.mark.parametrize("k", [1, 7, N])
def test_the_nearest_are_those_of_a_full_comparison(lake, vectors, side, k):
    kept = [True] * N
    snapshot = filled(lake, vectors, kept, side)
    query = 2 * vectors[3] + vectors[4]
    query /= np.linalg.norm(query)
    ids, similarity = brute_force(vectors, kept, query, k)
    found = nearest(lake, snapshot, TABLE, query, k, side=side)
    assert [hit.item_id for hit in found] == ids
    np.testing.assert_allclose([hit.similarity for hit in found], similarity, atol=1e-5)


def test_dropped_items_are_passed_over_however_near_they_are(lake, vectors):
    query = vectors[0]
    nearest_first = np.argsort(-(vectors @ query))
    kept: list[bool | None] = [True] * N
    for n in nearest_first[:200]:
        kept[n] = False
    kept[nearest_first[200]] = None  # not judged yet counts as kept
    snapshot = filled(lake, vectors, kept)
    found = nearest(lake, snapshot, TABLE, query, 10)
    assert [hit.item_id for hit in found] == brute_force(vectors, kept, query, 10)[0]
    assert found[0].item_id == IDS[nearest_first[200]]


def test_fewer_kept_than_asked_for_gives_what_there_is(lake, vectors):
    snapshot = filled(lake, vectors, [n < 3 for n in range(N)])
    assert sorted(hit.item_id for hit in nearest(lake, snapshot, TABLE, vectors[9], 10)) == IDS[:3]
    assert nearest(lake, snapshot, TABLE, vectors[9], 10, side="text") == []


def test_refuses_another_width_side_or_no_results(lake, vectors):
    snapshot = filled(lake, vectors, [True] * N)
    with pytest.raises(ValueError, match=r"shape \(4,\).*16 wide"):
        nearest(lake, snapshot, TABLE, vectors[0, :4], 3)
    with pytest.raises(ValueError, match="'sound'"):
        nearest(lake, snapshot, TABLE, vectors[0], 3, side="sound")
    with pytest.raises(ValueError, match="and 0"):
        nearest(lake, snapshot, TABLE, vectors[0], 0)


def test_an_encoder_is_found_by_its_name_its_table_or_by_default(lake, vectors):
    snapshot = filled(lake, vectors, [True] * N)
    (entry,) = encoder_tables(lake, snapshot)
    assert (entry.table, entry.ref, entry.identity, entry.rows) == (TABLE, {"name": "test"}, {"dim": DIM}, N)
    assert encoder_table(lake, snapshot) == encoder_table(lake, snapshot, "test") == entry
    assert encoder_table(lake, snapshot, TABLE) == entry
    with pytest.raises(NoSuchTable, match="no vectors of other.*embeddings_test"):
        encoder_table(lake, snapshot, "other")


def test_rows_by_id_and_nothing_but_ids(lake, vectors):
    snapshot = filled(lake, vectors, [True] * N)
    found = by_ids(lake, snapshot, "media", "media_id", [IDS[2], IDS[7], "f" * 32], ["media_id"])
    assert sorted(found["media_id"].to_pylist()) == [IDS[2], IDS[7]]
    assert by_ids(lake, snapshot, "media", "media_id", [], ["media_id"]).num_rows == 0
    with pytest.raises(ValueError, match="is no id"):
        by_ids(lake, snapshot, "media", "media_id", ["x' OR '1'='1"], ["media_id"])
