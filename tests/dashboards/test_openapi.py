"""The OpenAPI document promises what the server does, and whatever it is asked, it neither breaks nor lies."""

from collections import Counter

import pytest

from dashboards.server import create

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
hypothesis = pytest.importorskip("hypothesis")

Mode = schemathesis.GenerationMode
WELL_FORMED, ILL_FORMED = 120, 80  # requests to each operation


@pytest.fixture(scope="module")
def schema(seen_lake):
    return schemathesis.openapi.from_asgi("/openapi.json", create(seen_lake))


OPERATIONS = (
    ("GET", "/health"), ("GET", "/tables"), ("GET", "/search"), ("POST", "/search"), ("POST", "/sql"), ("GET", "/decisions"),
    ("GET", "/media/{media_id}"), ("GET", "/media/{media_id}/thumbnail"),
)  # fmt: skip


def test_the_document_has_the_routes_for_programs_and_no_others(schema):
    raw = schema.raw_schema["paths"]
    assert {(method.upper(), path) for path, methods in raw.items() for method in methods} == set(OPERATIONS)
    assert raw["/search"]["get"]["parameters"][0]["schema"]["examples"] == ["a red bicycle"]


def asked(schema, method, path, mode, examples, excluded=()) -> Counter[int]:
    """Ask made-up requests, let every check of schemathesis look at the answers, and return how often which status came."""
    statuses: Counter[int] = Counter()

    @hypothesis.given(case=schema[path][method].as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    def ask(case):
        statuses[case.call_and_validate(timeout=20, excluded_checks=list(excluded)).status_code] += 1

    ask()
    return statuses


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_is_well_formed_is_answered_as_promised(schema, method, path):
    # a statement or a query may be well formed and still ask for what is refused: 400, which is documented
    refuses = path in ("/search", "/sql")
    excluded = [checks.positive_data_acceptance] if refuses else []
    statuses = asked(schema, method, path, Mode.POSITIVE, WELL_FORMED, excluded)
    promised = {int(code) for code in schema.raw_schema["paths"][path][method.lower()]["responses"]}
    assert statuses.keys() <= promised and max(statuses) < 500
    assert statuses.total() >= (1 if path == "/health" else WELL_FORMED // 2)  # of few there are no more
    if "{media_id}" in path:
        assert statuses[404] == statuses.total()  # no made-up digest is one of ours
    elif path != "/sql":  # made-up text is hardly ever SQL
        assert statuses[200] > 0


@pytest.mark.parametrize(("method", "path"), [one for one in OPERATIONS if one != ("GET", "/health")])
def test_what_is_not_well_formed_is_refused_and_breaks_nothing(schema, method, path):
    statuses = asked(schema, method, path, Mode.NEGATIVE, ILL_FORMED)
    assert statuses.total() >= ILL_FORMED // 2
    # schemathesis itself looks that data of a wrong kind is not taken; a query it only adds something to may be answered
    refused = sum(n for status, n in statuses.items() if 400 <= status < 500)
    assert max(statuses) < 500 and refused > statuses.total() / 2, statuses


def test_the_examples_of_the_document_are_answered(schema):
    assert (
        schema["/search"]["GET"].Case(query={"q": "a red bicycle", "k": 3}).call_and_validate().status_code
        == 200
    )
    for path in ("/search", "/sql"):
        body = schema.raw_schema["components"]["schemas"][f"{path[1:].capitalize()}Request"]["examples"][0]
        answer = schema[path]["POST"].Case(body=body, media_type="application/json").call_and_validate()
        assert answer.status_code == 200, answer.text
