"""What is quoted, read back by the engine that statements are for."""

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from storage.quoting import literal, literals, quoted

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(TEXTS)
def test_a_literal_is_the_text(text):
    with duckdb.connect() as con:
        assert con.execute(f"SELECT {literal(text)}").fetchall() == [(text,)]


@given(TEXTS.filter(bool))
def test_an_identifier_is_the_name(name):
    with duckdb.connect() as con:
        assert con.execute(f"SELECT 1 AS {quoted(name)}").description[0][0] == name


@given(st.lists(TEXTS, max_size=5), TEXTS)
def test_what_is_listed_and_nothing_else_is_in_a_list(texts, other):
    sql = f"SELECT coalesce({literal(other)} IN ({literals(texts)}), false)"
    with duckdb.connect() as con:
        assert con.execute(sql).fetchall() == [(other in texts,)]
        for text in texts:
            assert con.execute(f"SELECT {literal(text)} IN ({literals(iter(texts))})").fetchall() == [(True,)]
