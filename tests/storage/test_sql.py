"""Statements over a lake: what they give, at which version, and what was read for it."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from schemas.errors import NoSuchSnapshot, NoSuchTable, SqlError, SqlRefused
from storage.lake import Lake
from storage.sql import Functions, Limits, contract, offer
from tests.storage.sql_lakes import VECTORS, Exact, commit, digest, encoded, filled, media, pair, text, unit


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return filled(str(tmp_path_factory.mktemp("sql") / "lake"))


@pytest.fixture
def exact():
    return Exact()


def ids(result, column="digest"):
    return result.arrow()[column].to_pylist()


# The statements the platform promises


def test_search_joined_with_media_and_pairs(lake, exact):
    found = lake.sql(
        "SELECT m.digest, p.text, s.score FROM search('a red bicycle', k => 50, modality => 'image') s "
        "JOIN media m USING (digest) JOIN pairs p USING (digest) "
        "WHERE m.width_px > 512 AND p.clean > 0.55 ORDER BY s.score DESC",
        **exact.options(),
    )
    query = encoded("a red bicycle")
    wanted = [n for n in (6, 7, 8) if n % 5 != 4]  # 9's pair left its source; 4 and 9 are audio; 5 has 500 px
    scores = {n: float(unit(n) @ query) for n in wanted}
    order = sorted(wanted, key=lambda n: -scores[n])
    assert ids(found) == [digest("m", n) for n in order]
    assert found.arrow()["text"].to_pylist() == [text(n)["text"] for n in order]
    np.testing.assert_allclose(found.arrow()["score"].to_pylist(), [scores[n] for n in order], rtol=1e-6)
    assert found.provenance[0] == {
        "table": "media",
        "snapshot": "s000003",
        "version": lake.head().versions["media"],
    }


def test_full_text_similar_items_hybrid_and_neighbours(lake, exact):
    options = exact.options()
    matched = lake.sql(
        "SELECT t.text FROM match('red boat', k => 3) s JOIN texts t USING (digest) ORDER BY s.score DESC, 1",
        **options,
    )
    assert matched.arrow()["text"].to_pylist()[0] == "a red boat 5"
    near = lake.sql("FROM similar_to('m003', k => 2)", **options)
    vectors = np.stack([unit(n) for n in range(10)]) @ unit(3)
    assert ids(near) == [digest("m", n) for n in np.argsort(-vectors) if n != 3][:2]
    assert ids(lake.sql("FROM neighbours('m003', k => 2)", **options)) == ids(near)
    assert len(lake.sql("FROM hybrid('red', k => 4)", **options)) == 4


def test_similarity_is_a_number_per_row_of_ids_or_vectors(lake, exact):
    found = lake.sql(
        f"SELECT m.digest, similarity(m.digest, 'red') AS one, similarity(v.vector, 'red') AS two "
        f"FROM media m JOIN {VECTORS} v USING (digest) ORDER BY 1",
        **exact.options(),
    ).arrow()
    wanted = [float(unit(n) @ encoded("red")) for n in range(10)]
    np.testing.assert_allclose(found["one"].to_pylist(), wanted, rtol=1e-6)
    np.testing.assert_allclose(found["two"].to_pylist(), wanted, rtol=1e-5)


def test_similarity_of_nothing_is_null_and_may_stand_in_where_and_order(lake, exact):
    found = lake.sql(
        "SELECT digest, similarity(digest, $words) AS s FROM (SELECT digest FROM media UNION ALL SELECT NULL UNION ALL "
        "SELECT 'unknown') ORDER BY s DESC NULLS LAST LIMIT 1",
        params={"words": "red"},
        **exact.options(),
    )
    best = max(range(10), key=lambda n: float(unit(n) @ encoded("red")))
    assert ids(found) == [digest("m", best)]
    nulls = lake.sql(
        "SELECT count(*) FILTER (WHERE similarity(d, 'red') IS NULL) AS n FROM (VALUES ('m001'), (NULL), ('x')) v(d)",
        **exact.options(),
    )
    assert nulls.rows() == [{"n": 2}]


@pytest.mark.parametrize(
    "relation",
    [
        "pairs AT (TAG => 'v1')", "pairs AT (SNAPSHOT => 's000001')", "pairs AT (VERSION => 's000001')",
        "pairs FOR VERSION AS OF 's000001'", "pairs AT (VERSION => 1)", "snapshot('pairs', 'v1')", "pairs AT (TAG => $tag)",
        "snapshot('pairs', $tag)", "snapshot('pairs', 'v' || '1')",
    ],
)  # fmt: skip
def test_a_table_as_it_was(lake, relation):
    params = {"tag": "v1"} if "$tag" in relation else ()
    found = lake.sql(
        f"SELECT count(*) AS n, count(*) FILTER (WHERE kept) AS kept FROM {relation}", params=params
    )
    assert found.rows() == [{"n": 10, "kept": 10}]
    assert found.provenance == [
        {"table": "pairs", "snapshot": "s000001", "version": lake.snapshot("v1").versions["pairs"]}
    ]


def test_a_table_as_it_was_at_a_time(lake):
    second = lake.snapshot("v2").created_at
    found = lake.sql(
        "SELECT count(*) FILTER (WHERE kept) AS n FROM pairs AT (TIMESTAMP => $when)", params={"when": second}
    )
    assert found.rows() == [{"n": 7}]
    with pytest.raises(NoSuchSnapshot, match="as old as 1999"):
        lake.sql("FROM pairs AT (TIMESTAMP => '1999-01-01')")


def test_two_versions_of_one_table_in_one_statement(lake):
    found = lake.sql(
        "SELECT old.pair_id FROM pairs AT (TAG => 'v1') old JOIN pairs AT (TAG => 'v2') new USING (pair_id) "
        "WHERE old.kept AND NOT new.kept ORDER BY 1"
    )
    assert ids(found, "pair_id") == ["p000000", "p001001", "p004004"]
    assert {entry["snapshot"] for entry in found.provenance} == {"s000001", "s000002"}


def test_the_whole_statement_as_of_a_version(lake):
    assert lake.sql("SELECT count(*) AS n FROM pairs", at="v1").rows() == [{"n": 10}]
    assert lake.sql("SELECT count(*) AS n FROM pairs WHERE digest IS NOT NULL", at="v3").rows() == [{"n": 10}]
    assert lake.sql("SELECT count(*) AS n FROM raw.pairs", at="v3").rows() == [{"n": 11}]
    with pytest.raises(NoSuchTable, match="scores"):
        lake.sql("FROM scores", at="v1")


def test_a_difference_between_versions_is_a_relation(lake):
    found = lake.sql(
        "SELECT key, change, changed_columns, before, after, why FROM diff('pairs', 'v2', 'v3') ORDER BY key"
    ).rows()
    assert [(row["key"], row["change"], row["changed_columns"]) for row in found] == [
        ("p000000", "changed", ["kept", "dropped_by"]),
        ("p000001", "added", []),
        ("p009009", "removed", []),
    ]
    assert json.loads(found[0]["before"]) == {"kept": False, "dropped_by": "correspondence: noisy"}
    assert json.loads(found[0]["after"]) == {"kept": True, "dropped_by": None}
    assert [row["why"] for row in found] == ["ada says keep: seen it", None, "no longer in its source"]


def test_a_difference_says_which_rule_is_behind_it(lake):
    rows = {row["key"]: row["why"] for row in lake.sql("FROM diff('pairs', 'v1', 'v2')").rows()}
    assert rows == {
        "p000000": "correspondence: noisy (consensus 0.1, P(true) at most 0.2)",
        "p001001": "correspondence: noisy (consensus 0.1, P(true) at most 0.2)",
        "p004004": "media: min-side (min-side 4.0, at_least 32)",
    }


def test_a_difference_of_stored_rows_is_that_of_the_lake(lake):
    said = lake.diff("pairs", "v2", "v3")
    rows = lake.sql("FROM diff('raw.pairs', 'v2', 'v3')").rows()
    assert {row["key"]: row["change"] for row in rows} == (
        dict.fromkeys(said.added, "added")
        | dict.fromkeys(said.removed, "removed")
        | dict.fromkeys(said.changed, "changed")
    )
    assert next(row["changed_columns"] for row in rows if row["key"] == "p009009") == ["present"]


def test_a_difference_can_be_joined(lake):
    found = lake.sql(
        "SELECT t.text FROM diff('texts', 'v1', 'v3') d JOIN texts t USING (digest) WHERE d.change = 'changed'"
    )
    assert found.rows() == [{"text": "a red boat 5"}]


def test_a_table_that_one_version_lacks_is_all_added_or_all_removed(lake):
    assert lake.sql("SELECT change, count(*) AS n FROM diff('scores', 'v1', 'v2') GROUP BY 1").rows() == [
        {"change": "added", "n": 39}
    ]
    assert lake.sql("SELECT DISTINCT change FROM diff('scores', 'v2', 'v1')").rows() == [
        {"change": "removed"}
    ]
    with pytest.raises(SqlRefused, match="'nothing'"):
        lake.sql("FROM diff('nothing', 'v1', 'v2')")


# Views


def test_pairs_show_text_verdict_class_and_the_latest_scores(lake):
    row = lake.sql("SELECT * FROM pairs WHERE pair_id = 'p000000'").rows()[0]
    assert row == {
        "pair_id": "p000000", "digest": "m000", "media_id": "m000", "text_id": "t000", "text": "red bicycle 0",
        "language": "en", "origin": "raw", "role": "title", "present": True, "kept": True, "dropped_by": None, "run_id": "r",
        "verdict": "keep", "clean": 0.0, "division": "noisy", "consensus": 0.0, "cosine": -0.0,
    }  # fmt: skip
    found = lake.sql("SELECT pair_id, verdict, division, cosine FROM pairs ORDER BY 1").rows()
    assert {row["pair_id"]: row["division"] for row in found} == {
        "p000000": "noisy", "p000001": None, "p001001": "noisy", "p002002": "disputed",
        **{f"p{n:03d}{n:03d}": "clean" for n in range(3, 9)},
    }  # fmt: skip
    assert [row["verdict"] for row in found if row["verdict"]] == ["keep"]  # the other was withdrawn
    assert [row["pair_id"] for row in found if row["cosine"] is None] == ["p000001", "p003003"]


def test_a_view_joins_only_what_a_statement_names(lake):
    read = {entry["table"]: entry["columns"] for entry in lake.sql("SELECT role FROM pairs").pushed}
    assert read.keys() == {"pairs"}
    read = {entry["table"] for entry in lake.sql("SELECT role, text FROM pairs").pushed}
    assert read == {"pairs", "texts"}
    read = {entry["table"] for entry in lake.sql("SELECT max(cosine) FROM pairs").pushed}
    assert read == {"pairs", "scores"}


def test_of_several_parameters_those_of_the_study_or_of_a_decision_or_of_the_last_run_are_shown(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    from tests.storage.sql_lakes import decision, score

    commit(
        lake,
        pairs=[pair(0, 0)],
        scores=[
            score("pair", "p000000", "consensus", 0.1, "old", inputs="before", run_id="r9"),
            score("pair", "p000000", "consensus", 0.2, "new", inputs="study", run_id="r1"),
            score("pair", "p000000", "ruled", 0.3, "said", run_id="r1"),
            score("pair", "p000000", "ruled", 0.4, "unsaid", run_id="r9"),
            score("pair", "p000000", "free", 0.5, "a", run_id="r1"),
            score("pair", "p000000", "free", 0.6, "b", run_id="r2"),
        ],
        divisions=[
            {"division_id": "d", "rule_digest": "study", "active": True},
            {"division_id": "e", "rule_digest": "before", "active": False},
        ],
        decisions=[decision("pair", "p000000", "x", "flag", method="ruled", params_digest="said")],
    )
    row = lake.sql("SELECT consensus, clean, ruled, free FROM pairs").rows()[0]
    assert {name: round(value, 3) for name, value in row.items()} == {
        "consensus": 0.2, "clean": 0.2, "ruled": 0.3, "free": 0.6,
    }  # fmt: skip


def test_names_of_scorers_become_columns_told_apart(tmp_path):
    from tests.storage.sql_lakes import score

    lake = Lake(str(tmp_path / "lake"))
    methods = ["caption: flip", "caption-flip", "role", "3d", 'a"; DROP', "ümlaut"]
    commit(
        lake, pairs=[pair(0, 0)], scores=[score("pair", "p000000", m, n / 10) for n, m in enumerate(methods)]
    )
    row = lake.sql("FROM pairs").rows()[0]
    named = {
        "caption_flip": 0.1,
        "caption_flip_2": 0.0,
        "role_score": 0.2,
        "s_3d": 0.3,
        "a_drop": 0.4,
        "mlaut": 0.5,
    }
    assert {name: round(row[name], 3) for name in named} == named
    assert row["role"] == "title"


def test_media_and_texts_have_digests_scores_and_no_pixels_unless_named(lake):
    row = lake.sql("FROM media WHERE digest = 'm004'").rows()[0]
    assert (row["media_id"], row["min_side"], row["verdict"], row["dropped_by"]) == (
        "m004",
        4.0,
        None,
        "min-side",
    )
    assert "thumbnail" not in row and "row_digest" not in row
    assert lake.sql("SELECT thumbnail FROM media LIMIT 1").rows() == [{"thumbnail": b"webp"}]
    assert lake.sql(
        "SELECT digest, length_chars, length_chars_score FROM texts WHERE text_id = 't002'"
    ).rows() == [{"digest": "t002", "length_chars": 12, "length_chars_score": 12.0}]
    assert "row_digest" in lake.sql("FROM raw.media LIMIT 1").arrow().column_names


def test_logs_tags_and_vectors_are_tables(lake):
    assert lake.sql("SELECT tag, snapshot_id FROM tags ORDER BY 1").rows() == [
        {"tag": f"v{n}", "snapshot_id": f"s00000{n}"} for n in (1, 2, 3)
    ]
    assert lake.sql("SELECT count(*) AS n FROM snapshots").rows() == [{"n": 3}]
    assert lake.sql("SELECT count(*) AS n FROM metrics").rows() == [{"n": 0}]
    vector = lake.sql(f"SELECT vector FROM {VECTORS} WHERE digest = 'm002'").rows()[0]["vector"]
    np.testing.assert_allclose(vector, unit(2), rtol=1e-6)
    with pytest.raises(SqlError, match="outside snapshots"):
        lake.sql("FROM tags AT (TAG => 'v1')")


def test_describe_summarize_and_show(lake):
    columns = ids(lake.sql("DESCRIBE pairs"), "column_name")
    assert columns == list(lake.sql("FROM pairs LIMIT 0").arrow().column_names)
    assert ids(lake.sql("SUMMARIZE SELECT width_px FROM media"), "max") == ["900"]
    shown = {row["name"]: row for row in lake.sql("SHOW TABLES").rows()}
    assert shown["pairs"]["columns"] == columns
    assert (
        shown["pairs"]["rows"] == 11
        and shown["tags"]["kind"] == "log"
        and shown["diff"]["kind"] == "function"
    )
    assert "search" in ids(lake.sql("SHOW TABLES", **Exact().options()), "name")


# Names and parameters


def test_names_of_with_hide_tables_where_the_engine_says_so(lake):
    count = lambda statement: lake.sql(statement).arrow()[0][0].as_py()  # noqa: E731
    assert count("WITH media AS (SELECT 1) SELECT count(*) FROM media") == 1
    assert count("WITH media AS (SELECT * FROM media WHERE width_px > 500) SELECT count(*) FROM media") == 4
    assert count("WITH a AS (SELECT * FROM media), media AS (SELECT 1) SELECT count(*) FROM a") == 10
    assert count("WITH media AS (SELECT 1) SELECT count(*) FROM (SELECT * FROM media)") == 1
    assert count("SELECT count(*) FROM (WITH media AS (SELECT 1) SELECT * FROM media), media") == 10
    assert (
        count(
            "WITH RECURSIVE media AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM media WHERE n < 5) SELECT count(*) FROM media"
        )
        == 5
    )
    assert count("SELECT count(*) FROM MEDIA m") == count('SELECT count(*) FROM "Media"') == 10


def test_a_whole_row_and_columns_by_pattern_reach_every_column(lake):
    row = lake.sql("SELECT p FROM pairs p WHERE pair_id = 'p002002'").rows()[0]["p"]
    assert row["division"] == "disputed" and row["text"] == "blue boat 2"
    assert lake.sql("SELECT COLUMNS('c.*an') FROM pairs LIMIT 1").arrow().column_names == ["clean"]
    natural = lake.sql("SELECT count(*) AS n FROM texts NATURAL JOIN (SELECT digest, text FROM texts)").rows()
    assert natural == [{"n": 10}]


def test_parameters_are_bound_in_the_order_they_are_written(lake):
    found = lake.sql(
        "SELECT ? AS a, digest, ? AS b FROM media WHERE width_px > ? LIMIT ?",
        params=["x'; DROP", 2.5, 500, 1],
    )
    assert found.rows()[0]["a"] == "x'; DROP" and found.rows()[0]["b"] == 2.5 and len(found) == 1
    assert lake.sql("SELECT $2 AS a, $1 AS b", params=[1, 2]).rows() == [{"a": 2, "b": 1}]
    assert lake.sql("SELECT $a + $b AS c", params={"a": 1, "b": 2}).rows() == [{"c": 3}]
    assert lake.sql("SELECT list_sum($l) AS s", params={"l": [1, 2, 3]}).rows() == [{"s": 6}]
    assert lake.sql("SELECT ?::INT + 1 AS n", params=["4"]).rows() == [{"n": 5}]


@pytest.mark.parametrize(
    "statement, params, said",
    [
        ("SELECT ?", [], r"asks for \$1"),
        ("SELECT $a", {"b": 1}, r"asks for \$a; given: \$b"),
        ("SELECT 1", [1], r"nothing in the statement asks for \$1"),
        ("SELECT ? + $1", [1], "in one statement"),
    ],
)
def test_parameters_that_do_not_fit_are_an_error(lake, statement, params, said):
    with pytest.raises(SqlError, match=said):
        lake.sql(statement, params=params)


@pytest.mark.parametrize(
    "statement, said",
    [
        ("SELECT nothing FROM media", "media has digest, media_id, modality"),
        ("SELECT * FROM pear", "no table is called 'pear'"),
        ("SELECT * FROM pair", "did you mean pairs"),
        ("SELECT * FROM searching('x')", "no function is called 'searching'"),
        ("SELEC 1", "SELEC"),
        ("SELECT (", "cannot parse"),
        ("", "empty"),
        ("-- nothing", "empty"),
        ("SELECT CAST('x' AS INT)", "Could not convert"),
        ("FROM snapshot('pairs')", "takes a table and a snapshot"),
        ("FROM diff('pairs', 'v1')", "diff\\('pairs', 'v1'\\): takes a table and two"),
        ("SELECT * FROM pairs AT (TAG => NULL)", "found None"),
        ("WITH x AS (SELECT 1) FROM x AT (TAG => 'v1')", "name of WITH"),
        ("PIVOT pairs ON role USING count(*)", "stands behind a table"),
    ],
)
def test_what_is_wrong_is_said(lake, statement, said):
    with pytest.raises(SqlError, match=said):
        lake.sql(statement)


def test_an_unknown_version_is_an_error_of_its_own(lake):
    with pytest.raises(NoSuchSnapshot, match="v9"):
        lake.sql("FROM pairs AT (TAG => 'v9')")


@pytest.mark.parametrize(
    "call, said",
    [
        ("search(m.digest)", "constants or parameters; found m.digest"),
        ("search()", "missing"),
        ("search('x', depth => 3)", "unexpected keyword argument 'depth'"),
        ("search('x', k => 1, k => 2)", "k twice"),
        ("search(k => 1, 'x')", "behind a named one"),
        ("similar_to('nothing')", "no vector of nothing"),
        ("search((SELECT 'x'))", "constants or parameters"),
    ],
)
def test_a_wrong_call_is_an_error_before_anything_runs(lake, exact, call, said):
    with pytest.raises(SqlError, match=said):
        lake.sql(f"SELECT * FROM media m, {call} s", **exact.options())


def test_a_table_function_in_place_of_a_value_is_pointed_out(lake, exact):
    with pytest.raises(SqlError, match="stands behind FROM"):
        lake.sql("SELECT search('x') FROM media", **exact.options())


# Functions


def test_the_same_call_runs_once_in_a_statement(lake, exact):
    lake.sql(
        "SELECT * FROM search('x', k => 3) a JOIN search('x', k => 3) b USING (digest)", **exact.options()
    )
    assert exact.calls == 1
    lake.sql(
        "SELECT * FROM search('x', k => 3) a JOIN search('y', k => 3) b USING (digest)", **exact.options()
    )
    assert exact.calls == 3


def test_a_refused_statement_runs_no_function(lake, exact):
    with pytest.raises(SqlRefused):
        lake.sql("SELECT *, getenv('HOME') FROM search('x')", **exact.options())
    assert exact.calls == 0


def test_another_engine_can_be_plugged_in_for_the_process(lake, exact):
    offer(
        "first",
        Functions(
            tables={"found_by": lambda lake, snapshot, words: pa.table({"digest": ["m001"], "by": [words]})}
        ),
    )
    try:
        assert lake.sql("FROM found_by('one')").rows() == [{"digest": "m001", "by": "one"}]
        offer("second", Functions({"found_by": exact.search}, {"similarity": exact.similarity}))
        assert len(lake.sql("FROM found_by('one', k => 4)")) == 4
        assert (
            len(
                lake.sql(
                    "FROM found_by('one')", functions={"found_by": lambda *_: pa.table({"digest": ["x"]})}
                )
            )
            == 1
        )
    finally:
        contract._OFFERED.clear()
    with pytest.raises(SqlRefused, match="'found_by'"):
        lake.sql("FROM found_by('one')")


def test_functions_see_the_snapshot_of_the_statement(lake):
    seen = []

    def which(lake, snapshot):
        seen.append(snapshot.snapshot_id)
        return pa.table({"digest": ["m001"]})

    lake.sql("FROM which()", functions={"which": which}, at="v2")
    assert seen == ["s000002"]


# What goes down


def test_filters_and_columns_go_down_to_lance(lake):
    lake = Lake(lake.uri)
    found = lake.sql(
        "SELECT size_bytes FROM media AT (TAG => 'v2') WHERE width_px > $w AND modality = 'image'",
        params={"w": 500},
    )
    (read,) = found.pushed
    assert read["source"] == "lance"
    assert set(read["columns"]) <= {"size_bytes", "present", "width_px", "modality"}
    assert "width_px > 500" in read["filters"][0] and '"image"' in read["filters"][0]
    assert read["rows"] == 3 == len(found)


def test_rows_that_a_search_named_are_looked_up_by_id(tmp_path, exact):
    lake = filled(str(tmp_path / "fresh"))
    statement = "SELECT s.digest, m.width_px, m.locators, p.text FROM search('x', k => 2) s JOIN media m USING (digest) LEFT JOIN pairs p ON p.media_id = m.media_id"  # noqa: E501
    found = lake.sql(statement, **exact.options())
    read = {entry["table"]: entry for entry in found.pushed}
    assert read["media"]["source"] == read["pairs"]["source"] == read["texts"]["source"] == "ids"
    assert read["media"]["rows"] == 2 and read["media"]["filters"] == ["media_id IN (2 ids)"]
    explained = lake.sql(f"EXPLAIN {statement}", **exact.options())
    details = [row["detail"] for row in explained.rows() if row["part"] == "read"]
    assert any(
        "media, version" in line and "looked up by id" in line and "media_id IN (2 ids)" in line
        for line in details
    )


def test_explain_says_what_would_be_read_and_reads_nothing(tmp_path):
    lake = filled(str(tmp_path / "fresh"))
    rows = lake.sql(
        "EXPLAIN SELECT p.text FROM pairs p JOIN media m USING (digest) WHERE m.width_px > 500 AND p.role = 'title'"
    ).rows()
    said = "\n".join(row["detail"] for row in rows)
    assert "width_px > 500" in said and 'role == "title"' in said and "scanned by Lance" in said
    assert rows[-1]["part"] == "plan"
    analyzed = lake.sql("EXPLAIN ANALYZE SELECT count(*) FROM media WHERE size_bytes > 1005").rows()
    assert any("4 rows" in row["detail"] for row in analyzed if row["part"] == "read")


def test_counting_reads_no_column(tmp_path):
    lake = filled(str(tmp_path / "fresh"))
    found = lake.sql("SELECT count(*) AS n FROM raw.media")
    assert found.rows() == [{"n": 10}] and found.pushed[0]["columns"] == []
    assert lake.sql("SELECT count(*) AS n FROM raw.media WHERE width_px > 500").rows() == [{"n": 4}]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM raw.media",
        "SELECT COUNT(*) AS N FROM raw.pairs p",
        "FROM raw.texts SELECT count(*)",
        "SELECT count(*) FROM raw.media AT (VERSION => 's000001')",
        "SELECT count(*) FROM snapshot('raw.media', 's000001')",
        # and what is more than that, or less
        "SELECT count(*) FROM media",
        "SELECT count(*) FROM raw.media LIMIT 0",
        "SELECT count(*) FROM raw.media WHERE width_px > 512",
        "SELECT count(*), 1 FROM raw.media",
        "SELECT count(*) FROM raw.media, raw.texts",
        "SELECT count(*) FROM raw.media TABLESAMPLE 0 PERCENT",
        "SELECT count(*) FROM raw.tags",
        "SELECT count(*) FILTER (false) FROM raw.media",
        "SELECT DISTINCT count(*) FROM raw.media HAVING count(*) > 99",
        "WITH media AS (SELECT 1 LIMIT 0) SELECT count(*) FROM media",
    ],
)
def test_a_bare_count_is_what_the_engine_counts(lake, statement):
    found = lake.sql(statement).arrow()
    counted = lake.sql(
        f"WITH x AS MATERIALIZED ({statement}) FROM x"
    ).arrow()  # in WITH nothing is known beforehand
    assert found.equals(counted), (found, counted)
    assert not lake.sql(statement, limits=Limits(rows=1)).truncated


def test_what_is_asked_often_is_kept_and_gives_the_same(tmp_path):
    lake = filled(str(tmp_path / "fresh"))
    statement = "SELECT modality, count(*) AS n, sum(width_px) AS w FROM media WHERE width_px > 100 GROUP BY 1 ORDER BY 1"
    first, second, third = (lake.sql(statement) for _ in range(3))
    assert first.pushed[0]["source"] == "lance"
    assert second.pushed[0]["source"] == third.pushed[0]["source"] == "memory"
    assert first.rows() == second.rows() == third.rows()
    commit(lake, media=[media(9, width_px=10_000)])
    after = lake.sql(statement)
    assert after.pushed[0]["source"] == "lance" and after.rows() != third.rows()


def test_a_new_snapshot_and_a_lake_made_anew_are_seen(tmp_path):
    import shutil

    lake = Lake(str(tmp_path / "lake"))
    commit(lake, media=[media(1)])
    for _ in range(3):
        assert lake.sql("SELECT sum(width_px) AS w FROM media").rows() == [{"w": 100}]
    shutil.rmtree(lake.uri)
    commit(lake, media=[media(1, width_px=7)])
    for _ in range(3):
        assert lake.sql("SELECT sum(width_px) AS w FROM media").rows() == [{"w": 7}]
    lake.restore("s000001")
    commit(lake, media=[media(1, width_px=8)])
    assert lake.sql("SELECT sum(width_px) AS w FROM media").rows() == [{"w": 8}]


def test_an_empty_lake_can_be_asked(tmp_path):
    lake = Lake(str(tmp_path / "none"))
    assert lake.sql("SELECT 1 + 1 AS two").rows() == [{"two": 2}]
    assert lake.sql("SELECT count(*) AS n FROM runs").rows() == [{"n": 0}]
    with pytest.raises(SqlRefused, match="no table is called 'media'"):
        lake.sql("FROM media")
    assert lake.sql("SELECT 1").snapshot_id is None


# Results


def test_results_are_written_as_csv_parquet_json_and_arrow(lake, tmp_path):
    found = lake.sql(
        "SELECT digest, width_px, locators, thumbnail, modality = 'image' AS is_image FROM media ORDER BY 1 LIMIT 3"
    )
    found.to_csv(tmp_path / "r.csv")
    read = pacsv.read_csv(
        tmp_path / "r.csv", convert_options=pacsv.ConvertOptions(column_types={"thumbnail": pa.string()})
    )
    assert read["digest"].to_pylist() == ["m000", "m001", "m002"]
    assert (
        read["locators"].to_pylist()[1] == '["1.png"]' and read["thumbnail"].to_pylist()[0] == b"webp".hex()
    )
    found.to_parquet(tmp_path / "r.parquet")
    again = pq.read_table(tmp_path / "r.parquet")
    assert again.to_pylist() == found.rows()
    assert json.loads(again.schema.metadata[b"xmodal.provenance"]) == found.provenance
    found.to_arrow(tmp_path / "r.arrow")
    assert feather.read_table(tmp_path / "r.arrow").to_pylist() == found.rows()
    held = io.BytesIO()
    found.to_json(held)
    assert [row["width_px"] for row in json.loads(held.getvalue())] == [0, 100, 200]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.arrow", "r.csv", "r.parquet"]


def test_odd_values_survive_every_format(lake, tmp_path):
    found = lake.sql(
        "SELECT 'a,\"b\"\n=1' AS t, 'NaN'::DOUBLE AS nan, NULL AS n, [1, NULL] AS l, {'a': 1} AS s, MAP {'k': 2} AS m, "
        "'\\xff'::BLOB AS b, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS z, INTERVAL 3 DAYS AS i, 1.50::DECIMAL(5,2) AS d, "
        "UUID '00000000-0000-0000-0000-000000000001' AS u, 170141183460469231731687303715884105727 AS h"
    )
    for name in ("csv", "json", "parquet", "arrow"):
        getattr(found, f"to_{name}")(tmp_path / name)
    row = json.loads((tmp_path / "json").read_text())[0]
    assert row["t"] == 'a,"b"\n=1' and row["nan"] is None and row["l"] == [1, None] and row["s"] == {"a": 1}
    empty = lake.sql("SELECT digest FROM media WHERE false")
    assert json.loads(empty.text("json")) == [] and empty.text("csv").strip() == '"digest"'


def test_a_file_that_fails_halfway_is_not_left_behind(lake, tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError):
        lake.sql("SELECT 1").to_csv(target)
    assert list(tmp_path.iterdir()) == [target] and not list(target.iterdir())


def test_rows_beyond_the_limit_are_not_given_and_it_is_said(lake):
    found = lake.sql("SELECT digest FROM media ORDER BY 1", limits=Limits(rows=3))
    assert ids(found) == ["m000", "m001", "m002"] and found.truncated
    assert not lake.sql("SELECT digest FROM media", limits=Limits(rows=10)).truncated
    assert lake.sql("FROM range(1000000000)", limits=Limits(rows=5)).truncated


def test_many_threads_may_ask_at_once(lake, exact):
    from concurrent.futures import ThreadPoolExecutor

    def ask(n):
        found = lake.sql(
            "SELECT m.width_px, similarity(m.digest, 'red') AS s FROM search('x', k => 5) JOIN media m USING (digest) WHERE m.width_px > $w",  # noqa: E501
            params={"w": 100 * n},
            **exact.options(),
        ).arrow()
        return pc.min(found["width_px"]).as_py() if len(found) else None

    with ThreadPoolExecutor(4) as pool:
        alone = [ask(n) for n in range(8)]
        assert list(pool.map(ask, [n % 8 for n in range(40)])) == [alone[n % 8] for n in range(40)]
