"""Statements, conditions and queries made by a grammar: each is answered or refused in our words, and reaches nothing else."""

import os

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError, LakeError, SqlError
from storage import sql
from storage.conditions import checked
from storage.gazetteer import gazetteer_of
from storage.sql import Limits
from storage.sql.grammar import parse, written
from tasks.slots import understood
from tests.fuzz.budget import budget
from tests.storage.slot_lakes import filled as with_slots
from tests.storage.slot_lakes import medium
from tests.storage.sql_lakes import filled

LIMITS = Limits(seconds=20, rows=100)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return filled(str(tmp_path_factory.mktemp("sql") / "lake"))


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    media = [
        medium(n, licence="CC0-1.0", texts=[("keywords", "dog, big ben"), ("title", "orange 1999")])
        for n in range(3)
    ]
    return gazetteer_of(*with_slots(str(tmp_path_factory.mktemp("slots")), media))


atoms = st.sampled_from(
    [
        "1",
        "-1",
        "1e999",
        "NULL",
        "true",
        "''",
        "'a'",
        "'%'",
        "'../secret.csv'",
        "digest",
        "width_px",
        "kept",
        "media.digest",
        "text",
        "p",
        '"a"',
        "[1, 2]",
        "{'a': 1}",
        "DATE '2020-01-01'",
        "INTERVAL 1 DAY",
        "'a'::BLOB",
        "$$x$$",
        "x -> x + 1",
        "9" * 400,
        "''''",
        "'\\'",
        "E'\\x00'",
        "?",
        "$1",
        "$a",
        "#1",
        "*",
    ]
)
functions = st.sampled_from(
    [
        "count",
        "lower",
        "coalesce",
        "list_value",
        "regexp_matches",
        "printf",
        "read_csv",
        "glob",
        "getenv",
        "current_setting",
        "pg_read_file",
        "unnest",
        "range",
        "repeat",
        "query",
        "query_table",
        "duckdb_tables",
        "similarity",
        "struct_pack",
        "strftime",
        "json_extract",
        "read_text",
        "load_aws_credentials",
    ]
)
operators = st.sampled_from(
    [
        "+",
        "-",
        "*",
        "/",
        "%",
        "=",
        "<>",
        "<",
        "AND",
        "OR",
        "LIKE",
        "ILIKE",
        "||",
        "IS",
        "::",
        "->",
        "->>",
        ".",
        "^",
        "//",
        "SIMILAR TO",
        "COLLATE",
        "~",
        "@>",
    ]
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, operators, inner).map(" ".join),
        st.tuples(functions, st.lists(inner, max_size=3)).map(
            lambda pair: f"{pair[0]}({', '.join(pair[1])})"
        ),
        inner.map("({})".format),
        inner.map("NOT {}".format),
        inner.map("CASE WHEN {} THEN 1 END".format),
        inner.map("CAST({} AS VARCHAR)".format),
        inner.map("{} IN (1, 2)".format),
        inner.map("(SELECT {})".format),
        inner.map("[x FOR x IN {}]".format),
    ),
    max_leaves=8,
)
relations = st.one_of(
    st.sampled_from(
        [
            "media",
            "texts",
            "pairs p",
            "raw.media",
            "'secret.csv'",
            "read_csv('secret.csv')",
            "duckdb_settings()",
            "information_schema.tables",
            "snapshot('v1')",
            "media AT (TAG => 'v1')",
            "diff('v1', 'v2')",
            "range(3) t(a)",
            "(VALUES (1)) v(a)",
            "nothing",
            '"a.b".c',
            "media, media m",
            "glob('*')",
            "sqlite_master",
            "(FROM media)",
            "pairs NATURAL JOIN texts",
            "media TABLESAMPLE 1%",
            "unnest([1])",
            "search('dog', k => 2)",
        ]
    ),
    expressions.map("(SELECT {} AS a) s".format),
)
queries = st.one_of(
    st.tuples(expressions, relations, expressions).map(lambda parts: "SELECT {} FROM {} WHERE {}".format(*parts)),
    st.tuples(relations, expressions).map(lambda parts: "FROM {} ORDER BY {} LIMIT 3".format(*parts)),
    st.tuples(expressions, relations).map(lambda parts: "WITH q AS (SELECT {} AS a) SELECT * FROM q, {}".format(*parts)),
    st.tuples(expressions, expressions).map(lambda parts: "SELECT {} UNION ALL SELECT {}".format(*parts)),
    expressions.map("VALUES ({})".format), relations.map("DESCRIBE {}".format), relations.map("SUMMARIZE {}".format),
)  # fmt: skip
tails = st.sampled_from(
    [
        "",
        "",
        "",
        ";",
        "; DROP TABLE media",
        " -- x",
        " /* x",
        "\x00",
        " INTO OUTFILE 'x'",
        " FOR UPDATE",
        "; SELECT 1",
        " \u2003",
        " USING SAMPLE 1",
        " QUALIFY true",
    ]
)
heads = st.sampled_from(
    [
        "",
        "",
        "",
        "EXPLAIN ",
        "EXPLAIN ANALYZE ",
        "COPY ",
        "ATTACH ",
        "SET x = ",
        "PRAGMA ",
        "\ufeff",
        "/* */ ",
        "PREPARE a AS ",
    ]
)
noise = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "SELECT",
                "FROM",
                "WHERE",
                "(",
                ")",
                ",",
                "'",
                '"',
                ";",
                "--",
                "/*",
                "*/",
                "$$",
                "::",
                "[",
                "]",
                "{",
                "}",
                "*",
                "media",
                "\\",
                "\n",
                "1",
                "AS",
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=14,
)
statements = st.one_of(st.tuples(heads, queries, tails).map("".join), noise.map(" ".join))


@budget(120)
@given(statement=statements)
def test_a_statement_is_answered_or_refused_and_touches_no_file(lake, tmp_path_factory, statement):
    folder = tmp_path_factory.getbasetemp() / "desk"
    folder.mkdir(exist_ok=True)
    (folder / "secret.csv").write_text("a,b\nthe-canary,2\n")
    here = os.getcwd()
    os.chdir(folder)
    try:
        found = sql.sql(lake, statement, limits=LIMITS)
        assert "the-canary" not in repr(found.table.to_pylist())
    except (SqlError, LakeError) as error:
        assert str(error)
    finally:
        os.chdir(here)
    assert (
        os.listdir(folder) == ["secret.csv"] and (folder / "secret.csv").read_text() == "a,b\nthe-canary,2\n"
    )


@budget(150)
@given(statement=statements)
def test_what_is_written_from_a_tree_is_parsed_into_the_same(statement):
    try:
        tree = parse(statement).tree
        text = "" if tree is None else written(tree)
    except SqlError:
        return
    if tree is not None:
        again = parse(text).tree
        assert again is not None and written(again) == text


conditions = st.one_of(
    expressions, st.tuples(expressions, tails).map("".join), noise.map(" ".join), st.text(max_size=30)
)


@budget(200)
@given(where=conditions)
def test_a_condition_is_one_expression_over_known_columns_or_refused(where):
    columns = ("digest", "width_px", "kept", "text")
    try:
        said = checked(where, columns)
    except DataError as error:
        assert str(error)
        return
    (tree,) = sqlglot.parse(said)
    assert {column.name for column in tree.find_all(sqlglot.exp.Column)} <= set(columns)
    assert not list(tree.find_all(sqlglot.exp.Query, sqlglot.exp.Command, sqlglot.exp.DML, sqlglot.exp.DDL))
    assert checked(said, columns) == said


pieces = st.one_of(
    st.sampled_from(
        [
            "dog",
            "licence:",
            "cc0",
            'license:"',
            "'",
            '"',
            ":",
            "size:large",
            "year:1999",
            "in",
            "big ben",
            "\0",
            "\u202e",
            "\ud800",
            "é",
            "keyword:'",
            ",",
            "(",
            "a" * 3000,
        ]
    ),
    st.text(max_size=5),
)


@budget(150)
@given(
    parts=st.lists(pieces, max_size=12),
    glue=st.sampled_from([" ", "", "\n", ", "]),
    kinds=st.sampled_from(["auto", "all", "none"]),
)
def test_a_query_is_read_or_refused(names, parts, glue, kinds):
    text = glue.join(parts)
    try:
        found = understood(names, text, kinds=kinds)
    except DataError as error:
        assert "no medium has" in str(error) and len(str(error)) < 600
        return
    assert all(text[slot.start : slot.end] == slot.words for slot in found.slots)
    assert all(one in names.all_readings for slot in found.slots for one in slot.readings)
    spans = sorted((slot.start, slot.end) for slot in found.slots)
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
