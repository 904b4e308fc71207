"""Bodies and addresses of requests as no client would send them: the server says what is wrong and lives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from dashboards.server import create
from tests.fuzz.budget import budget
from tests.storage.sql_lakes import filled


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with TestClient(
        create(filled(str(tmp_path_factory.mktemp("http") / "lake"))), base_url="http://127.0.0.1"
    ) as made:
        yield made


routes = st.sampled_from(
    [
        ("POST", "/sql"),
        ("POST", "/search"),
        ("GET", "/search"),
        ("GET", "/media/x"),
        ("GET", "/decisions"),
        ("PUT", "/sql"),
        ("POST", "/"),
    ]
)
kinds = st.sampled_from(
    [
        "application/json",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "text/plain",
        "",
        "a/b; charset=utf-99",
    ]
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["SELECT 1", "dog", "\ud800", "\0"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "statement",
        "params",
        "at",
        "rows",
        "q",
        "text",
        "k",
        "without",
        "where",
        "by",
        "slots",
        "encoder",
        "upload",
        "x",
    ]
)
parts = st.lists(
    st.sampled_from(
        [
            b"--x\r\n",
            b"--x--\r\n",
            b"\r\n",
            b'Content-Disposition: form-data; name="text"\r\n',
            b'Content-Disposition: form-data; name="upload"; filename="../a"\r\n',
            b"Content-Type: image/png\r\n",
            b"Content-Disposition: form-data\r\n",
            b"Content-Length: 99999999\r\n",
            b"\xff\xfe\0",
            b"dog",
            b"a" * 5000,
            b"Content-Disposition: \xff\r\n",
        ]
    ),
    max_size=10,
).map(b"".join)
bodies = st.one_of(
    st.dictionaries(fields, values, max_size=4).map(lambda body: json.dumps(body).encode()),
    values.map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=80),
    parts,
)


def answered(client, method, path, **sent):
    """Return the status; the server answered, and told nothing of its inside."""
    answer = client.request(method, path, **sent)
    assert answer.status_code < 500, (method, path, sent, answer.text[:500])
    assert "Traceback" not in answer.text
    return answer.status_code


@budget(150)
@given(route=routes, kind=kinds, body=bodies)
def test_a_body_of_anything_is_answered(client, route, kind, body):
    answered(client, *route, content=body, headers={"Content-Type": kind} if kind else {})


@budget(100)
@given(
    route=routes,
    query=st.lists(
        st.tuples(
            fields,
            st.one_of(
                st.text(max_size=8), st.sampled_from(["-1", "1e9", "9" * 5000, "\0", "v1", "%00", "../x"])
            ),
        ),
        max_size=4,
    ),
)
def test_any_query_string_is_answered(client, route, query):
    answered(
        client, *route, params=[(name, value.encode("utf-8", "replace").decode()) for name, value in query]
    )


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"statement": "' + b"(" * 90_000 + b'"}',
        b'{"params": [' + b"9" * 100_000 + b"]}",
        b'{"statement": NaN}',
    ],
)
@pytest.mark.parametrize("path", ["/sql", "/search"])
def test_a_body_made_to_exhaust_a_parser_is_refused(client, path, body):
    assert (
        400
        <= answered(client, "POST", path, content=body, headers={"Content-Type": "application/json"})
        < 500
    )


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/static/..%2f..%2fetc/passwd",
        "/static/%2e%2e/server.py",
        "/media/..%2f..%2fx",
        "/media/%00",
        "/static//etc/passwd",
        "/%ff",
    ],
)
def test_no_path_leads_out(client, path):
    assert 400 <= answered(client, "GET", path) < 500
