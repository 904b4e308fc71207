"""Late interaction and Hamming search over tables, against loops over the same rows."""

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DataError, NoSuchTable
from schemas.tables import MEDIA, TEXTS
from storage import rows
from storage.lake import Lake
from storage.tokens import hamming, late, max_sim, pooled, write_codes, write_tokens

DIM = 4


def hexed(number):
    return f"b{number:04x}"


def states(spec, listed):
    full = [{name: None for name in spec.schema.names} | row for row in listed]
    return pds.dataset(rows.with_digest(pa.Table.from_pylist(full, schema=spec.schema), spec))


def medium(number, **columns):
    return {"media_id": hexed(number), "present": True, "modality": "image", "width_px": number} | columns


def filled(lake, write, media, recipe="d"):
    with lake.writer() as writer:
        writer.upsert(MEDIA, states(MEDIA, media))
        write(writer)
        return writer.commit(tag="latest", recipe_digest=recipe, run_id="r")


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def drawn(rng, count):
    return unit(rng.normal(size=(count, DIM)))


def tokens_for(writer, ids, items, digest="e", **changes):
    said = {"side": "media", "modality": "image", "digest": digest, "run_id": "r"} | changes
    return write_tokens(writer, "tokens_test", ids, items, **said)


def codes_for(writer, ids, packed, digest="e", **changes):
    said = {"side": "media", "modality": "image", "digest": digest, "run_id": "r"} | changes
    return write_codes(writer, "codes_test", ids, packed, **said)


def by_loops(query, item):
    """The sum over the query's tokens of the largest product, one product at a time."""
    total = 0.0
    for asked in query.astype(float):
        total += max(sum(a * b for a, b in zip(asked, told, strict=True)) for told in item.astype(float))
    return np.float32(total)


def standing(row):
    return row["present"] and row.get("kept") is not False


def ordered(scores, k, offset=0):
    return sorted(scores.items(), key=lambda one: (-one[1], one[0]))[offset : offset + k]


kept = st.fixed_dictionaries({"present": st.booleans(), "kept": st.sampled_from([None, True, False])})
whole_numbers = st.integers(0, 2**32 - 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(whole_numbers, st.lists(kept, max_size=9), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_media_are_those_that_loops_find(tmp_path_factory, seed, seen, k, offset, filtered):
    place, rng = tmp_path_factory.mktemp("lake"), np.random.default_rng(seed)
    few = [drawn(rng, rng.integers(1, 4)) for _ in range(3)]
    items = [few[rng.integers(3)] for _ in seen]  # ties
    media = [medium(n, **state) for n, state in enumerate(seen)]
    ids = [row["media_id"] for row in media]
    lake = Lake(str(place / "lake"))
    if not ids:
        items, ids, media = [few[0]], [hexed(0)], [medium(0, kept=False)]
    snapshot = filled(lake, lambda writer: tokens_for(writer, ids, items), media)
    query = drawn(rng, 3)
    where = "width_px >= 2" if filtered else None
    found = late(
        lake, snapshot, "tokens_test", query, k, where=where, offset=offset, prefetch=None, cache=place / "c"
    )
    scores = {
        row["media_id"]: by_loops(query, item)
        for row, item in zip(media, items, strict=True)
        if standing(row) and (not filtered or row["width_px"] >= 2)
    }
    expected = ordered(scores, k, offset)
    assert found.item_ids == tuple(item for item, _ in expected)
    np.testing.assert_allclose(found.scores, [score for _, score in expected], rtol=1e-6)
    assert found.exact


def test_of_equal_scores_the_smaller_id_is_first_however_rows_lie(lake, tmp_path):
    item, ids = drawn(np.random.default_rng(0), 2), [hexed(n) for n in (3, 9, 1, 7)]

    def write(writer):
        tokens_for(writer, ids, [item] * 4)
        codes_for(writer, ids, np.uint8([[1]] * 4))

    snapshot = filled(lake, write, [medium(n) for n in range(10)])
    for k in (2, 9):
        found = late(lake, snapshot, "tokens_test", item, k, cache=tmp_path)
        (by_code,) = hamming(lake, snapshot, "codes_test", np.uint8([[1]]), k)
        assert found.item_ids == by_code.item_ids == tuple(sorted(ids))[:k]


def many(lake, count=150, seed=3):
    rng = np.random.default_rng(seed)
    items = [drawn(rng, rng.integers(1, 6)) for _ in range(count)]
    ids = [hexed(n) for n in range(count)]
    snapshot = filled(lake, lambda writer: tokens_for(writer, ids, items), [medium(n) for n in range(count)])
    return snapshot, ids, items, drawn(rng, 4)


def test_a_prefetch_is_the_nearest_by_the_mean_and_then_in_order_of_parts(lake, tmp_path):
    snapshot, ids, items, query = many(lake)
    near = sorted(range(150), key=lambda n: -float(pooled(items[n]) @ pooled(query)))[:20]
    expected = ordered({ids[n]: by_loops(query, items[n]) for n in near}, 5)
    found = late(lake, snapshot, "tokens_test", query, 5, prefetch=20, cache=tmp_path)
    assert found.item_ids == tuple(item for item, _ in expected)
    assert (found.exact, found.facts["compared"]) == (False, 20)
    everything = late(lake, snapshot, "tokens_test", query, 5, prefetch=150, cache=tmp_path)
    assert everything.exact


def test_a_prefetch_is_never_less_than_what_is_wanted(lake, tmp_path):
    snapshot, _, _, query = many(lake)
    assert len(late(lake, snapshot, "tokens_test", query, 30, offset=10, prefetch=1, cache=tmp_path)) == 30


def test_lance_orders_by_several_vectors_alike(lake, tmp_path):
    snapshot, ids, items, query = many(lake)
    found = late(lake, snapshot, "tokens_test", query, 20, prefetch=None, cache=tmp_path)
    nearest = {"column": "tokens", "q": query, "k": 20, "metric": "cosine", "use_index": False}
    theirs = lake.dataset("tokens_test", snapshot).scanner(columns=["item_id"], nearest=nearest).to_table()
    assert theirs["item_id"].to_pylist() == list(found.item_ids)
    np.testing.assert_allclose(len(query) - theirs["_distance"].to_numpy(), found.scores, atol=1e-4)


def test_another_score_orders_by_what_it_says(lake, tmp_path):
    snapshot, ids, items, query = many(lake)

    def fewest(query, items, mask):
        return -mask.sum(axis=1).astype(np.float32)

    found = late(lake, snapshot, "tokens_test", query, 9, prefetch=None, score=fewest, cache=tmp_path)
    assert found.item_ids == tuple(sorted(ids, key=lambda one: (len(items[ids.index(one)]), one))[:9])


def test_padding_has_no_say():
    rng = np.random.default_rng(0)
    items, mask = rng.normal(size=(2, 3, DIM)).astype(np.float32), np.array([[1, 1, 1], [1, 0, 0]], bool)
    query = -np.abs(drawn(rng, 2))
    items[1, 0] = 1  # every product is below zero, what zeros in the padding would not be
    before = max_sim(query, items, mask)
    items[1, 1:] = np.nan
    np.testing.assert_array_equal(max_sim(query, items, mask), before)
    assert before[1] == pytest.approx(by_loops(query, items[1, :1]))


def test_rows_come_and_go_with_their_snapshots(lake, tmp_path):
    rng = np.random.default_rng(1)
    a, b = drawn(rng, 2), drawn(rng, 3)
    first = filled(lake, lambda writer: tokens_for(writer, [hexed(1)], [a]), [medium(1)])

    def more(writer):
        assert tokens_for(writer, [hexed(1), hexed(2)], [b, a]).equal == 1  # one digest: left as it is
        assert tokens_for(writer, [hexed(1)], [b], digest="other").replaced == 1

    second = filled(lake, more, [medium(1), medium(2), medium(3)], recipe="e")
    for snapshot, expected in (
        (first, {1: a}),
        (second, {1: b, 2: a}),
        (lake.restore(first.snapshot_id), {1: a}),
    ):
        found = late(lake, snapshot, "tokens_test", a, 9, prefetch=None, cache=tmp_path)
        scores = {hexed(n): by_loops(a, item) for n, item in expected.items()}
        assert found.item_ids == tuple(item for item, _ in ordered(scores, 9))


def test_an_item_without_tokens_is_refused_and_one_that_lost_them_is_not_found(lake, tmp_path):
    rng = np.random.default_rng(1)
    with pytest.raises(DataError, match="m at least 1"), lake.writer() as writer:
        tokens_for(writer, ["b1"], [np.empty((0, DIM), np.float32)])
    from schemas.tables import tokens

    spec = tokens("tokens_test", DIM)
    vector = drawn(rng, 1)[0].tolist()
    said = {"side": "media", "modality": "image", "encoder_digest": "e", "run_id": "r", "vector": vector}
    listed = [
        {"item_id": hexed(1), "tokens": None} | said,
        {"item_id": hexed(2), "tokens": []} | said,
        {"item_id": hexed(3), "tokens": [vector]} | said,
        {"item_id": hexed(4), "tokens": [vector]} | said | {"vector": None},
    ]
    snapshot = filled(
        lake, lambda writer: writer.upsert(spec, states(spec, listed)), [medium(n) for n in range(5)]
    )
    found = late(lake, snapshot, "tokens_test", drawn(rng, 2), 9, cache=tmp_path)
    assert found.item_ids == (hexed(3),)
    assert "2 items have no tokens" in found.notes[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 7), kept), min_size=1, max_size=12),
    st.integers(0, 7),
    st.integers(1, 5),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from([1, 2, 3, 4, 8]),
)
def test_codes_are_those_that_loops_find(tmp_path_factory, seen, asked, k, offset, filtered, width):
    place = tmp_path_factory.mktemp("lake")
    table = np.random.default_rng(width).integers(0, 256, (8, width), dtype=np.uint8)
    media = [medium(n, **state) for n, (_, state) in enumerate(seen)]
    packed = table[[number for number, _ in seen]]
    lake = Lake(str(place / "lake"))
    ids = [row["media_id"] for row in media]
    snapshot = filled(lake, lambda writer: codes_for(writer, ids, packed), media)
    where = "width_px % 2 = 0" if filtered else None
    (found,) = hamming(lake, snapshot, "codes_test", table[asked][None], k, where=where, offset=offset)
    scores = {}
    for row, code in zip(media, packed, strict=True):
        if standing(row) and (not filtered or row["width_px"] % 2 == 0):
            product = 0
            for mine, theirs in zip(np.unpackbits(code), np.unpackbits(table[asked]), strict=True):
                product += 1 if mine == theirs else -1
            scores[row["media_id"]] = np.float32(product / (8 * width))
    expected = ordered(scores, k, offset)
    assert found.item_ids == tuple(item for item, _ in expected)
    np.testing.assert_array_equal(found.scores, np.array([score for _, score in expected], np.float32))


def test_codes_of_texts_are_of_texts(lake):
    said = {"side": "text", "modality": "text"}
    with lake.writer() as writer:
        writer.upsert(TEXTS, states(TEXTS, [{"text_id": "a1", "present": True, "language": "en"}]))
        writer.upsert(MEDIA, states(MEDIA, [medium(1)]))
        codes_for(writer, ["a1"], np.uint8([[1]]), **said)
        codes_for(writer, [hexed(1)], np.uint8([[1]]))
        snapshot = writer.commit(tag=None, recipe_digest="d", run_id="r")
    (found,) = hamming(lake, snapshot, "codes_test", np.uint8([[3]]), 5, side="text", where="language = 'en'")
    assert found.item_ids == ("a1",)
    assert found.scores[0] == np.float32(0.75)


def test_a_table_there_is_not_is_named(lake):
    snapshot, *_ = many(lake, 3)
    with pytest.raises(NoSuchTable, match="codes_none"):
        hamming(lake, snapshot, "codes_none", np.uint8([[1]]), 5)
    with pytest.raises(NoSuchTable, match="tokens_none"):
        late(lake, snapshot, "tokens_none", np.ones((1, DIM), np.float32), 5)


@pytest.mark.parametrize(
    "query",
    [np.empty((0, DIM)), np.ones((2, DIM + 1)), np.ones(DIM), np.full((1, DIM), np.nan)],
    ids=["no token", "too wide", "one vector", "not finite"],
)
def test_a_query_that_cannot_be_compared_is_refused(lake, tmp_path, query):
    snapshot, *_ = many(lake, 3)
    with pytest.raises(ValueError, match="query"):
        late(lake, snapshot, "tokens_test", query.astype(np.float32), 5, cache=tmp_path)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"offset": -1}, {"side": "both"}])
def test_refuses_numbers_out_of_range(lake, tmp_path, wrong):
    snapshot, _, _, query = many(lake, 3)
    given = {"k": 1} | wrong
    with pytest.raises(ValueError, match="side is media or text"):
        late(lake, snapshot, "tokens_test", query, **given, cache=tmp_path)
    with pytest.raises(ValueError, match="side is media or text"):
        hamming(lake, snapshot, "codes_test", np.uint8([[1]]), **given)


def test_refuses_conditions_that_are_none(lake, tmp_path):
    snapshot, _, _, query = many(lake, 3)
    with pytest.raises(DataError, match="no column"):
        late(lake, snapshot, "tokens_test", query, 1, where="nothing = 1", cache=tmp_path)
    with pytest.raises(DataError, match="no column"):
        hamming(lake, snapshot, "codes_test", np.uint8([[1]]), 1, where="nothing = 1")


@pytest.mark.parametrize("packed", [np.zeros((1, 2)), np.zeros((2, 1), np.uint8), np.zeros((1, 0), np.uint8)])
def test_refuses_codes_that_are_not_packed(lake, packed):
    with lake.writer() as writer, pytest.raises(ValueError, match="codes are"):
        codes_for(writer, ["b1"], packed)


def test_refuses_tokens_that_do_not_fit(lake):
    fits = np.ones((2, DIM), np.float32)
    with lake.writer() as writer:
        with pytest.raises(DataError, match="finite"):
            tokens_for(writer, ["b1"], [np.full((1, DIM), np.inf, np.float32)])
        with pytest.raises(DataError, match="b2"):
            tokens_for(writer, ["b1", "b2"], [fits, fits[:, 1:]])
        with pytest.raises(ValueError, match="list of tokens"):
            tokens_for(writer, ["b1", "b2"], [fits])
        with pytest.raises(DataError, match="of the whole"):
            tokens_for(writer, ["b1"], [fits], vectors=fits)
        with pytest.raises(DataError, match="width is not known"):
            tokens_for(writer, [], [])
