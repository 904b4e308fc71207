"""The nearest kept items, by comparison and by index, against one loop over all of them."""

import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DataError, NoSuchTable
from schemas.recipes import IndexRecipe
from storage import exact, indexes
from storage.indexes import Index, Measured, Setting
from storage.lake import Lake
from storage.matrix import Scope, Vectors, matrix_of
from storage.search import _planned, by_ids, dense, encoder_table, encoder_tables, nearest
from tests.storage.vector_lakes import TABLE, by_loops, committed, drawn, item, numbered, put

N, DIM = 300, 16
EVERYTHING = IndexRecipe(at_least_rows=2, kinds=("IVF_FLAT",), probes=(100,), refine=(100,), queries=5)


@pytest.fixture
def vectors():
    return drawn(N, DIM, seed=5)


def ids_of(found):
    return [candidate.item_ids for candidate in found]


def same(found, expected):
    """Whether candidates are those of the loop: ids, scores to the last bit, order."""
    assert list(zip(found.item_ids, found.scores.tolist(), strict=True)) == expected
    assert found.scores.dtype == np.float32


# Random small tables

WHERES = {
    None: lambda row: True,
    "width_px > 1": lambda row: row["width_px"] is not None and row["width_px"] > 1,
    "NOT width_px > 1": lambda row: row["width_px"] is not None and not row["width_px"] > 1,
    "width_px IS NULL OR licence = 'a'": lambda row: row["width_px"] is None or row["licence"] == "a",
    "licence NOT IN ('a', 'b')": lambda row: row["licence"] is not None and row["licence"] not in ("a", "b"),
    "width_px = 99": lambda row: False,
}
cell = st.tuples(
    st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=8, max_size=8),  # few values: many ties
    st.sampled_from([True, True, None, False]),  # kept
    st.sampled_from([True, True, True, False]),  # present
    st.sampled_from(["image", "audio"]),
    st.sampled_from([None, 1, 2, 3]),  # width_px
    st.sampled_from([None, "a", "b", "c"]),  # licence
)


def rows_of(cells, start):
    names = ("vector", "kept", "present", "modality", "width_px", "licence")
    return {item(start + n): dict(zip(names, one, strict=True)) for n, one in enumerate(cells)}


def write(writer, rows):
    if rows:
        columns = {
            name: [row[name] for row in rows.values()]
            for name in next(iter(rows.values()))
            if name != "vector"
        }
        put(writer, "media", {one: np.array(row["vector"]) for one, row in rows.items()}, **columns)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(cell, min_size=1, max_size=25),
    later=st.lists(cell, max_size=8),
    overlap=st.integers(0, 5),
    deleted=st.integers(0, 6),
    query=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=8, max_size=8),
    where=st.sampled_from(list(WHERES)),
    modality=st.sampled_from([(), ("image",), ("audio", "image"), ("video",)]),
    k=st.sampled_from([1, 3, 10, 50]),
    offset=st.sampled_from([0, 0, 2, 40]),
    restored=st.booleans(),
)
def test_every_option_equals_a_loop_over_all_rows(
    first, later, overlap, deleted, query, where, modality, k, offset, restored, tmp_path_factory
):
    place = tmp_path_factory.mktemp("lake")
    lake, query = Lake(str(place)), np.array(query, np.float32)
    rows, states = rows_of(first, 0), {}
    with lake.writer() as writer:
        write(writer, rows)
        states["s1"] = (writer.commit(tag="latest", recipe_digest="d", run_id="r"), dict(rows))
    with lake.writer() as writer:  # an index over what there is, and rows behind it
        built = indexes.keep_up(lake, writer, EVERYTHING) if len(first) >= 2 else []
        added = rows_of(later, max(len(first) - overlap, 0))
        write(writer, added)
        rows |= added
        doomed = sorted(rows)[:deleted]
        if doomed:
            lake.latest(TABLE).delete(f"item_id IN ({', '.join(repr(one) for one in doomed)})")
            writer.adopt(TABLE)
            rows = {one: row for one, row in rows.items() if one not in doomed}
        states["s2"] = (writer.commit(tag="latest", recipe_digest="e", run_id="r"), dict(rows))
    if restored:
        states["s3"] = (lake.restore(states["s1"][0].snapshot_id), states["s1"][1])
    for snapshot, there in states.values():
        passing = {
            one
            for one, row in there.items()
            if row["present"] and row["kept"] is not False and WHERES[where](row)
            if not modality or row["modality"] in modality
        }
        expected = by_loops({one: row["vector"] for one, row in there.items()}, passing, query, k, offset)
        indexed = bool(built) and indexes.index_of(lake.dataset(TABLE, snapshot)) is not None
        for search in ("auto", "exact", *(["index"] if indexed else [])):
            options = {"where": where, "modality": modality, "offset": offset, "search": search}
            (found,) = dense(lake, snapshot, TABLE, query[None], k, cache=place / "cache", **options)
            same(found, expected)


@settings(max_examples=40, deadline=None)
@given(
    n=st.one_of(st.integers(1, 60), st.integers(500, 3000)),
    dim=st.sampled_from([1, 3, 8]),
    wanted=st.sampled_from([1, 2, 10, 800]),
    share=st.sampled_from([None, 0.0, 0.05, 0.6, 1.0]),
    queries=st.integers(1, 4),
    seed=st.integers(0, 99),
    block=st.sampled_from([64, 1 << 24]),
)
def test_the_best_of_a_matrix_are_those_of_a_full_sort(n, dim, wanted, share, queries, seed, block):
    draw = np.random.default_rng(seed)
    values = draw.integers(-2, 3, (n, dim)).astype(np.float32)  # many equal
    ids = [item(int(number)) for number in draw.permutation(n)]
    vectors = Vectors("key", pa.array(ids), values, np.arange(n, dtype=np.uint64), 2.0 * dim**0.5, 0)
    rows = None if share is None else np.flatnonzero(draw.random(n) < share)
    asked = draw.integers(-1, 2, (queries, dim)).astype(np.float32)
    before, exact.BLOCK = exact.BLOCK, block
    try:
        found = exact.best(Scope(vectors, rows, {0: n}), asked, wanted)
    finally:
        exact.BLOCK = before
    allowed = range(n) if rows is None else rows.tolist()
    for query, (chosen, scores) in zip(asked, found, strict=True):
        order = sorted(allowed, key=lambda row: (-float(values[row] @ query), ids[row]))[:wanted]
        assert chosen.tolist() == order
        assert scores.tolist() == [float(values[row] @ query) for row in order]


def test_rows_closer_than_float32_can_tell_are_in_the_order_of_float64():
    draw = np.random.default_rng(2)
    base = draw.standard_normal(384)
    base /= np.linalg.norm(base)
    values = (base + 2e-7 * draw.standard_normal((4000, 384))).astype(np.float32)
    query = base.astype(np.float32)
    ids = [item(n) for n in range(4000)]
    vectors = Vectors("key", pa.array(ids), values, np.arange(4000, dtype=np.uint64), 1.001, 0)
    true = (values.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = sorted(range(4000), key=lambda n: (-true[n], ids[n]))
    quick = np.argsort(-(values @ query), kind="stable")
    assert quick[:10].tolist() != order[:10]  # float32 alone gets them wrong
    for rows in (None, np.arange(4000), np.arange(0, 4000, 5)):
        ((chosen, scores),) = exact.best(Scope(vectors, rows, {0: 4000}), query[None], 10)
        expected = [n for n in order if rows is None or n in set(rows.tolist())][:10]
        assert chosen.tolist() == expected and scores.tolist() == true[expected].tolist()


def test_a_score_does_not_depend_on_what_else_is_asked(lake, vectors, tmp_path):
    snapshot = committed(lake, "media", numbered(vectors))
    queries = drawn(7, DIM, seed=9)
    together = dense(lake, snapshot, TABLE, queries, 20, cache=tmp_path)
    for query, found in zip(queries, together, strict=True):
        (alone,) = dense(lake, snapshot, TABLE, query[None], 20, cache=tmp_path)
        assert alone.item_ids == found.item_ids and alone.scores.tobytes() == found.scores.tobytes()
        same(found, by_loops(numbered(vectors), set(numbered(vectors)), query, 20))


# Worked cases


@pytest.mark.parametrize("side", ["media", "text"])
@pytest.mark.parametrize("k", [1, 7, N, 2 * N])
def test_the_nearest_are_those_of_a_full_comparison(lake, vectors, side, k):
    snapshot = committed(lake, side, numbered(vectors))
    query = 2 * vectors[3] + vectors[4]
    query /= np.linalg.norm(query)
    expected = by_loops(numbered(vectors), set(numbered(vectors)), query, k)
    found = nearest(lake, snapshot, TABLE, query, k, side=side)
    assert [(hit.item_id, hit.similarity) for hit in found] == expected


def test_dropped_items_are_passed_over_however_near_they_are(lake, vectors):
    query = vectors[0]
    nearest_first = np.argsort(-(vectors @ query))
    kept: list[bool | None] = [True] * N
    for n in nearest_first[:200]:
        kept[n] = False
    kept[nearest_first[200]] = None  # not judged yet counts as kept
    snapshot = committed(lake, "media", numbered(vectors), kept=kept)
    found = nearest(lake, snapshot, TABLE, query, 10)
    assert [hit.item_id for hit in found] == [item(n) for n in nearest_first[200:210]]


def test_fewer_kept_than_asked_for_gives_what_there_is(lake, vectors):
    snapshot = committed(lake, "media", numbered(vectors), kept=[n < 3 for n in range(N)])
    assert sorted(hit.item_id for hit in nearest(lake, snapshot, TABLE, vectors[9], 10)) == [
        item(n) for n in range(3)
    ]
    assert nearest(lake, snapshot, TABLE, vectors[9], 10, side="text") == []
    (none,) = dense(lake, snapshot, TABLE, vectors[9:10], 10, offset=3)
    assert len(none) == 0 and none.exact
    assert dense(lake, snapshot, TABLE, vectors[:0], 10) == []


def test_refuses_another_width_side_or_no_results(lake, vectors):
    snapshot = committed(lake, "media", numbered(vectors))
    with pytest.raises(ValueError, match=r"shape \(4,\).*16 wide"):
        nearest(lake, snapshot, TABLE, vectors[0, :4], 3)
    with pytest.raises(ValueError, match="'sound'"):
        nearest(lake, snapshot, TABLE, vectors[0], 3, side="sound")
    with pytest.raises(ValueError, match="found 'media', 0 and 0"):
        nearest(lake, snapshot, TABLE, vectors[0], 0)
    with pytest.raises(ValueError, match="5 and -1"):
        dense(lake, snapshot, TABLE, vectors[:1], 5, offset=-1)
    with pytest.raises(ValueError, match="found 'quick'"):
        dense(lake, snapshot, TABLE, vectors[:1], 5, search="quick")
    with pytest.raises(DataError, match="has no index.*xmodal maintain"):
        dense(lake, snapshot, TABLE, vectors[:1], 5, search="index")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_a_query_that_is_not_finite_by_its_number(lake, vectors, bad):
    snapshot = committed(lake, "media", numbered(vectors))
    queries = vectors[:3].copy()
    queries[1, 2] = bad
    with pytest.raises(ValueError, match="query 1 is not finite"):
        dense(lake, snapshot, TABLE, queries, 3)


def test_conditions_are_of_the_table_of_the_side(lake, vectors):
    committed(lake, "media", numbered(vectors[:50]), width_px=list(range(50)))
    snapshot = committed(lake, "text", numbered(vectors[50:], 50), language=["en", "de"] * 125)
    (media,) = dense(lake, snapshot, TABLE, vectors[:1], 99, where="width_px < 7")
    assert sorted(media.item_ids) == [item(n) for n in range(7)]
    assert media.facts["passing"] == 7
    (texts,) = dense(lake, snapshot, TABLE, vectors[:1], 999, side="text", where="language = 'de'")
    assert sorted(texts.item_ids) == [item(n) for n in range(51, 300, 2)]
    with pytest.raises(DataError, match="no column language.*width_px"):
        dense(lake, snapshot, TABLE, vectors[:1], 5, where="language = 'de'")


def test_many_threads_find_what_one_finds(lake, vectors, tmp_path):
    snapshot = committed(lake, "media", numbered(vectors), width_px=[n % 5 for n in range(N)])
    wheres = [None, "width_px = 1", "width_px > 2"]
    expected = [
        ids_of(dense(lake, snapshot, TABLE, vectors[:9], 5, where=where, cache=tmp_path / "one"))
        for where in wheres
    ]
    found: dict[int, list] = {}

    def ask(n):
        where = wheres[n % 3]
        found[n] = ids_of(dense(lake, snapshot, TABLE, vectors[:9], 5, where=where, cache=tmp_path / "many"))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(12)] == [expected[n % 3] for n in range(12)]


# With an index

DIMS, ROWS = 32, 3000
REACHED = IndexRecipe(at_least_rows=1000, kinds=("IVF_RQ",), probes=(2, 5, 20), queries=30, floor=0.9)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A lake with an index over 3,000 media, and two snapshots more: 40 rows behind the index, then one dropped."""
    lake = Lake(str(tmp_path_factory.mktemp("indexed") / "lake"))
    made = drawn(ROWS + 40, DIMS, seed=3, clusters=20)
    widths = {"width_px": [n % 10 for n in range(ROWS + 40)]}
    committed(lake, "media", numbered(made[:ROWS]), width_px=widths["width_px"][:ROWS])
    with lake.writer() as writer:
        (measured,) = indexes.keep_up(lake, writer, REACHED)
        snapshot = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    behind = committed(lake, "media", numbered(made[ROWS:], ROWS), width_px=widths["width_px"][ROWS:])
    return lake, made, measured, snapshot, behind


def test_the_index_finds_what_its_measurement_promises(indexed):
    lake, made, measured, snapshot, _ = indexed
    assert measured.recall >= 0.9 and measured.recall_filtered >= 0.9 and not measured.alert
    queries = drawn(50, DIMS, seed=3, clusters=20)
    for where in (None, "width_px = 3"):
        by_index = dense(lake, snapshot, TABLE, queries, 10, search="index", where=where)
        by_comparison = dense(lake, snapshot, TABLE, queries, 10, search="exact", where=where)
        shares = [
            len(set(one.item_ids) & set(other.item_ids)) / 10
            for one, other in zip(by_index, by_comparison, strict=True)
        ]
        assert np.mean(shares) >= 0.85
        assert (
            not by_index[0].exact
            and by_index[0].facts["search"] == "index"
            and by_index[0].facts["not_in_index"] == 0
        )
        assert all(len(one) == 10 for one in by_index)
        for one in by_index:  # scores are the true ones, in order
            assert list(one.scores) == sorted(one.scores, reverse=True)
    if where:
        assert all(int(found, 16) % 10 == 3 for one in by_index for found in one.item_ids)


def test_rows_behind_the_index_are_found_and_counted(indexed):
    lake, made, _, _, behind = indexed
    for n in (ROWS, ROWS + 39):
        (found,) = dense(lake, behind, TABLE, made[n][None], 5, search="index")
        assert found.item_ids[0] == item(n) and found.facts["not_in_index"] == 40
        assert "40 rows are not in the index yet" in " ".join(found.notes)
    (filtered,) = dense(lake, behind, TABLE, made[-1][None], 5, search="index", where="width_px = 9")
    assert filtered.item_ids[0] == item(ROWS + 39) and filtered.facts["not_in_index"] == 4


def test_a_filter_that_few_rows_pass_still_gives_every_one(indexed):
    lake, made, _, _, behind = indexed
    where = "width_px = 3 AND media_id < '" + item(200) + "'"
    for search in ("auto", "index", "exact"):
        (found,) = dense(lake, behind, TABLE, made[:1], 50, search=search, where=where)
        assert sorted(found.item_ids) == [item(n) for n in range(3, 200, 10)]
    (found,) = dense(lake, behind, TABLE, made[:1], 5, where=where)
    assert found.exact and "only 0.7% of the rows pass" in found.facts["why"]


def test_more_results_than_were_measured_are_compared_one_by_one_unless_the_index_is_asked_for(indexed):
    lake, made, _, snapshot, _ = indexed
    (found,) = dense(lake, snapshot, TABLE, made[:1], 150)
    assert found.exact and "not measured for 150 media" in found.facts["why"]
    (asked,) = dense(lake, snapshot, TABLE, made[:1], 150, search="index")
    assert len(asked) == 150 and "measured down to 100 results" in asked.notes[0]
    (deep,) = dense(lake, snapshot, TABLE, made[:1], 1, offset=ROWS - 1, search="index")
    (truth,) = dense(lake, snapshot, TABLE, made[:1], 1, offset=ROWS - 1, search="exact")
    assert deep.item_ids == truth.item_ids


def test_a_query_of_zeros_ties_everything(indexed):
    lake, _, _, snapshot, _ = indexed
    for search in ("exact", "index", "auto"):
        (found,) = dense(lake, snapshot, TABLE, np.zeros((1, DIMS), np.float32), 3, search=search)
        assert (found.item_ids, found.scores.tolist()) == (tuple(item(n) for n in range(3)), [0.0] * 3)


def test_the_snapshot_before_the_index_is_searched_by_comparison(indexed):
    lake, made, _, _, _ = indexed
    (found,) = dense(lake, lake.snapshot("s000001"), TABLE, made[:1], 5)
    assert found.exact and found.facts["why"] == "the table has no index"


def plan(
    *, rows=1000, passing=None, recall=0.99, index_ms=1.0, exact_ms=10.0, queries=1, wanted=10, search="auto"
):
    """What is planned for a table whose index was measured so at 1,000 rows."""
    values = np.ones((rows, 2), np.float32)
    vectors = Vectors(
        "key", pa.array([item(n) for n in range(rows)]), values, np.arange(rows, dtype=np.uint64), 2.0, 0
    )
    scope = Scope(vectors, None if passing is None else np.arange(passing), {0: rows})
    both = [
        Setting(
            "media", depth, filtered, 5, 3, recall, index_ms, exact_ms * (0.3 if filtered else 1), 1.0, 1000
        )
        for depth in (10, 100)
        for filtered in (False, True)
    ]
    known = Measured("t", "p", "IVF_RQ", "built", tuple(both), 0.95, 1000, 1000, 1.0, 1, alert="low")

    class Open:
        table, side = "t", "media"

        def __len__(self):
            return rows

    return _planned(
        Index("IVF_RQ", "p", frozenset({0}), rows, 1), known, Open(), scope, wanted, queries, search
    )


def test_the_faster_of_the_two_is_chosen_from_what_was_measured():
    assert plan().setting is not None  # 1 ms beside 10
    assert plan(index_ms=20.0).setting is None
    assert plan(rows=100).setting is None  # a tenth of the rows: 1 ms beside 1
    assert plan(rows=100, index_ms=1.5).setting is None
    assert plan(queries=100, index_ms=2.0).setting is None  # compared together: 10 + 99 ms beside 200
    assert plan(passing=500).setting.filtered  # 10 ms beside 1
    assert plan(passing=500, index_ms=12.0).setting is None
    assert plan(passing=200, index_ms=5.0).setting is not None  # 2 x 3 ms beside 5
    assert plan(passing=150, index_ms=5.0).setting is None  # 1.5 x 3 ms beside 5
    assert plan(passing=950).setting.filtered is False
    assert plan(passing=76, index_ms=0.1).setting is not None
    assert plan(passing=74, index_ms=0.1).setting is None  # far fewer than a tenth
    assert plan(wanted=101).setting is None
    assert plan(search="exact").setting is None


def test_an_index_under_its_floor_is_not_chosen_and_says_so():
    low = plan(recall=0.94)
    assert low.setting is None and low.notes == ("low",)
    asked = plan(recall=0.94, search="index")
    assert asked.setting is not None and asked.notes == ("low",)


# What the table says of itself


def test_an_encoder_is_found_by_its_name_its_table_or_by_default(lake, vectors):
    snapshot = committed(lake, "media", numbered(vectors))
    (entry,) = encoder_tables(lake, snapshot)
    assert (entry.table, entry.ref, entry.identity, entry.rows) == (TABLE, {"name": "test"}, {"dim": DIM}, N)
    assert encoder_table(lake, snapshot) == encoder_table(lake, snapshot, "test") == entry
    assert encoder_table(lake, snapshot, TABLE) == entry
    with pytest.raises(NoSuchTable, match="no vectors of other.*embeddings_test"):
        encoder_table(lake, snapshot, "other")


def test_rows_by_id_and_nothing_but_ids(lake, vectors):
    snapshot = committed(lake, "media", numbered(vectors))
    found = by_ids(lake, snapshot, "media", "media_id", [item(2), item(7), "f" * 32], ["media_id"])
    assert sorted(found["media_id"].to_pylist()) == [item(2), item(7)]
    assert by_ids(lake, snapshot, "media", "media_id", [], ["media_id"]).num_rows == 0
    with pytest.raises(ValueError, match="is no id"):
        by_ids(lake, snapshot, "media", "media_id", ["x' OR '1'='1"], ["media_id"])


def test_a_query_opens_nothing_anew(lake, vectors, tmp_path):
    snapshot = committed(lake, "media", numbered(vectors))
    first = matrix_of(lake, snapshot, TABLE, "media", cache=tmp_path)
    dense(lake, snapshot, TABLE, vectors[:1], 5, cache=tmp_path)
    assert matrix_of(lake, snapshot, TABLE, "media", cache=tmp_path) is first
    assert first.scope() is first.scope() and first.scope("width_px = 1") is first.scope("width_px  =  1")
