"""Checks of single rows, by Great Expectations over batches, against loops over all rows at once."""

import io
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from schemas.quality import Expectation
from tasks.quality.rows import IDS, Tally, check_batches

DIM = 5


def expectation(check, column, **params):
    return Expectation(name=f"media.{check}", table="media", check=check, column=column, params=params)


def in_batches(table, size=7):
    return iter(table.combine_chunks().to_batches(max_chunksize=size))


def tally_of(table, expected):
    return check_batches(in_batches(table), "id", [expected])[expected.name]


def by_loop(table, column, good, *, nulls_count=False):
    """Look at every row in turn: what Great Expectations should have counted."""
    looked, bad = 0, []
    for row in table.to_pylist():
        if row[column] is None and not nulls_count:
            continue
        looked += 1
        if row[column] is None or not good(row[column]):
            bad.append(row["id"])
    return Tally(looked, len(bad), tuple(bad[:IDS]))


def ids(n):
    return pa.array([f"i{k:03d}" for k in range(n)])


@pytest.fixture(params=range(3))
def draw(request):
    return np.random.default_rng(request.param)


def vectors_of(draw, n):
    vectors = draw.standard_normal((n, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[draw.random(n) < 0.2] *= 1.01
    vectors[draw.random(n) < 0.1] = 0
    vectors[draw.random(n) < 0.1, 2] = np.nan
    vectors[draw.random(n) < 0.05, 0] = np.inf
    return vectors


def test_vectors_of_another_length_or_not_finite_are_found(draw):
    vectors = vectors_of(draw, 40)
    table = pa.table(
        {"id": ids(40), "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)}
    )
    found = tally_of(table, expectation("unit-vectors", "vector", tolerance=1e-3))
    expected = by_loop(table, "vector", lambda v: abs(math.sqrt(sum(float(x) ** 2 for x in v)) - 1) <= 1e-3)
    assert found == expected
    assert 0 < found.unexpected < 40


def test_a_vector_that_is_not_there_is_no_vector_of_the_wrong_length(draw):
    vectors = vectors_of(draw, 30)
    there = draw.random(30) < 0.7
    rows = [vector.tolist() if is_there else None for vector, is_there in zip(vectors, there, strict=True)]
    table = pa.table({"id": ids(30), "vector": pa.array(rows, pa.list_(pa.float32(), DIM))})
    checks = [expectation("unit-vectors", "vector"), expectation("not-null", "vector")]
    found = check_batches(in_batches(table.slice(3)), "id", checks)
    expected = by_loop(
        table.slice(3), "vector", lambda v: abs(math.sqrt(sum(float(x) ** 2 for x in v)) - 1) <= 1e-3
    )
    assert found["media.unit-vectors"] == expected
    assert found["media.not-null"] == by_loop(table.slice(3), "vector", lambda v: True, nulls_count=True)


@pytest.mark.parametrize("rows", [1, 6, 7, 8, 20, 1000])
def test_batches_put_together_find_what_each_finds(draw, monkeypatch, rows):
    from tasks.quality import rows as work

    numbers = [int(n) for n in draw.integers(0, 30, 60)]
    table = pa.table({"id": ids(60), "number": numbers})
    monkeypatch.setattr(work, "BATCH_ROWS", rows)
    assert tally_of(table, expectation("between", "number", low=9)) == by_loop(
        table, "number", lambda n: n >= 9
    )


def picture(seed, kind="WEBP"):
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def test_pictures_that_cannot_be_opened_are_found(draw):
    whole = [picture(n) for n in range(20)]
    fate = draw.integers(0, 4, 20)
    bytes_of = {
        0: lambda b: b,
        1: lambda b: b[: len(b) // 2],
        2: lambda b: b"not a picture",
        3: lambda b: None,
    }
    table = pa.table(
        {
            "id": ids(20),
            "thumbnail": pa.array([bytes_of[f](b) for f, b in zip(fate, whole, strict=True)], pa.binary()),
        }
    )
    bad = tuple(f"i{n:03d}" for n, f in enumerate(fate) if f in (1, 2))
    assert tally_of(table, expectation("decodes", "thumbnail")) == Tally(
        int((fate != 3).sum()), len(bad), bad
    )


def test_nulls_ranges_patterns_and_sets_add_up_over_batches(draw):
    n = 60
    numbers = [None if draw.random() < 0.2 else int(draw.integers(-5, 30)) for _ in range(n)]
    words = [None if draw.random() < 0.2 else str(draw.choice(["en", "de", "EN", "x1"])) for _ in range(n)]
    table = pa.table({"id": ids(n), "number": pa.array(numbers, pa.int64()), "word": words})
    checks = [
        (expectation("not-null", "word"), by_loop(table, "word", lambda w: True, nulls_count=True)),
        (
            expectation("between", "number", low=0, high=20),
            by_loop(table, "number", lambda v: 0 <= v <= 20),
        ),
        (
            expectation("matches", "word", regex="^[a-z]{2}$"),
            by_loop(table, "word", lambda w: re.match("^[a-z]{2}$", w)),
        ),
        (
            expectation("in-set", "word", values=["en", "x1"]),
            by_loop(table, "word", lambda w: w in ("en", "x1")),
        ),
    ]
    found = check_batches(in_batches(table), "id", [each for each, _ in checks])
    assert found == {each.name: tally for each, tally in checks}


def test_a_check_of_a_column_that_is_not_there_raised_rather_than_failed():
    found = tally_of(pa.table({"id": ids(3)}), expectation("between", "number", low=0))
    assert found.unexpected == 0
    assert "number" in found.raised


def test_values_do_not_leak_into_results():
    table = pa.table({"id": ids(2), "thumbnail": pa.array([b"secret", b"secret"])})
    assert "secret" not in repr(tally_of(table, expectation("decodes", "thumbnail")))
