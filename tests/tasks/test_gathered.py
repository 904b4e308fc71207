"""Pairs as arrays: what is read where it lies equals what Python and NumPy make of it in memory."""

import errno
import hashlib
import os
import random

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from schemas.batch import (
    PairBatch,
    empty_on_disk,
    in_chunks,
    index_dtype,
    mapped_array,
    not_finite,
    on_disk,
    written,
)
from schemas.errors import DataError
from storage import lake as lakes
from storage.staging import Staging
from storage.workbench import workbench
from tasks.gathered import Column, _texts, _with_labels, numbers


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def digest(n):
    return hashlib.sha256(str(n).encode()).hexdigest()


def column(strings, draw):
    """An Arrow column in several parts, one of them a slice of a longer one."""
    cut = draw.randrange(len(strings) + 1)
    longer = pa.array(["before", *strings[cut:], "after"], pa.string())
    return pa.chunked_array([pa.array(strings[:cut], pa.string()), longer.slice(1, len(strings) - cut)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "name",
    [
        digest,
        str,
        lambda n: digest(n)[:32],
        lambda n: digest(n)[: 32 + n % 2],
        lambda n: digest(n)[:16],
        lambda n: digest(n).upper(),
        lambda n: "g" + digest(n)[1:],
    ],
)
def test_numbers_are_the_places_of_distinct_strings_in_order(name, seed):
    draw = random.Random(seed)
    strings = [name(draw.randrange(60)) for _ in range(draw.choice([0, 1, 100]))]
    _, wanted = np.unique(np.array(strings, dtype=object), return_inverse=True)
    assert_array_equal(numbers(column(strings, draw)), wanted)


def test_digests_that_share_their_first_half_are_still_two():
    strings = ["a" * 16 + digest(n)[16:] for n in (1, 2, 1)]
    assert numbers(pa.chunked_array([strings])).tolist() in ([0, 1, 0], [1, 0, 1])


def test_texts_of_rows_in_another_order_are_read_where_they_lie(rng):
    texts = [f"text {n}" for n in range(50)]
    first, then = rng.integers(50, size=40), rng.permutation(40)
    vectors = rng.random((40, 3), np.float32)
    lying = Column(pa.chunked_array([texts[:20], texts[20:]]))
    assert list(lying) == texts and lying[3] == "text 3" and list(lying[18:22]) == texts[18:22]
    taken = PairBatch(vectors, vectors, texts=[lying[int(n)] for n in first])
    moved = taken.with_texts_of(then).with_texts_of(then[::-1])
    wanted = [texts[n] for n in first[then][then[::-1]]]
    assert list(moved.texts) == wanted == [moved.texts[n] for n in range(40)]
    assert list(moved.texts[5:9]) == wanted[5:9]


@pytest.fixture
def bench(lake_dir):
    lake = lakes.open(lake_dir)
    with workbench(lake, None, Staging(lake.place, "run")) as found:
        yield found


def test_texts_stand_in_the_order_of_their_ids_once(bench):
    bench.con.register("aligned", pa.table({"its_text": ["c", "a", "c", "b"]}))
    bench.offer("now_texts", lambda: pa.table({"text_id": list("dcba"), "text": ["D", "C", "B", "A"]}))
    assert list(_texts(bench, 3)) == ["A", "B", "C"]


@pytest.mark.parametrize(
    "there", [[("a", "A")], [("a", "A"), ("b", None)], [("a", "A"), ("b", "B"), ("b", "again")]]
)
def test_a_text_that_is_missing_null_or_there_twice_is_told(bench, there):
    bench.con.register("aligned", pa.table({"its_text": ["a", "b"]}))
    ids, texts = zip(*there, strict=True)
    schema = pa.schema([("text_id", pa.string()), ("text", pa.string())])
    bench.offer("now_texts", lambda: pa.table([list(ids), list(texts)], schema=schema))
    with pytest.raises(DataError, match=f"pairs name 2 texts and {len(there)} rows have them"):
        _texts(bench, 2)


@pytest.mark.parametrize("named", [{}, {"m1": ["zebra", "ant"]}])
@pytest.mark.parametrize("judged", [{}, {"p2": "keep", "p3": "drop"}])
def test_pairs_get_their_mediums_class_and_what_a_person_said(bench, named, judged):
    pairs = [("p1", "m1", "t1"), ("p2", "m1", "t2"), ("p3", "m2", "t1")]
    names = [
        (f"n{n}", medium, f"name {name}", name)
        for medium, some in named.items()
        for n, name in enumerate(some)
    ]
    columns = ("pair_id", "media_id", "text_id")
    bench.offer(
        "now_pairs",
        lambda: pa.table(
            [
                [f"of {one[0]}" for one in names] + ["gone"],
                [one[1] for one in names] + ["m2"],
                [one[2] for one in names] + ["t1"],
                ["folder"] * (len(names) + 1),
                [True] * len(names) + [False],
            ],
            names=[*columns, "role", "present"],
        ),
    )
    texts = [(one[2], one[3]) for one in names] + [("t1", "T1"), ("t2", "T2")]
    bench.offer(
        "now_texts", lambda: pa.table({"text_id": [t for t, _ in texts], "text": [t for _, t in texts]})
    )
    verdicts = {
        "subject_id": [*judged, "p1", "m1"],
        "verdict": [*judged.values(), "drop", "drop"],
        "active": [True] * len(judged) + [False, True],  # the last is of a medium
        "subject": ["pair"] * (len(judged) + 1) + ["media"],
    }
    bench.offer("base_verdicts", lambda: pa.table(verdicts))
    of_pairs = dict(zip(columns, map(list, zip(*pairs, strict=True)), strict=True))
    bench.con.register("kept_pairs", pa.table(of_pairs | {"cluster_id": ["m1", "m1", "m2"]}))
    found = bench.table(_with_labels(bench, "folder")).to_pylist()
    said = {"keep": 1, "drop": 0}
    wanted = [
        {
            "pair_id": pair, "media_id": medium, "text_id": text, "cluster_id": medium,
            "label": min(named[medium]) if medium in named else None, "verdict": said.get(judged.get(pair), -1),
        }
        for pair, medium, text in pairs
    ]  # fmt: skip
    assert sorted(found, key=lambda row: row["pair_id"]) == wanted


def test_rows_that_were_promised_and_did_not_come_are_no_zeros():
    with pytest.raises(ValueError, match="1 rows were given, 3 were promised"):
        written([np.ones((1, 1), np.float32)], (3, 1))


@pytest.mark.parametrize("rows", [0, 1, 8192, 20_000])
def test_what_is_made_of_mapped_vectors_is_mapped_and_the_same(tmp_path, rng, rows):
    vectors = rng.random((rows, 4), np.float32)
    mapped = np.memmap(tmp_path / "v", np.float32, "w+", shape=(max(rows, 1), 4))[:rows]
    mapped[:] = vectors
    half = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = in_chunks(lambda some: some @ half, mapped)
    assert isinstance(found, np.memmap) or not rows
    np.testing.assert_allclose(found, vectors @ half, rtol=1e-6)
    assert not isinstance(in_chunks(lambda some: some @ half, vectors), np.memmap)


def test_rows_that_are_not_finite_are_found_in_every_part():
    vectors = np.ones((20_000, 2))
    wrong = [0, 8191, 8192, 19_999]
    vectors[wrong, 1] = [np.nan, np.inf, -np.inf, np.nan]
    assert not_finite(vectors).tolist() == wrong
    assert not_finite(vectors[1:8191]).tolist() == [] == not_finite(vectors[:0]).tolist()


@pytest.mark.parametrize(("rows", "lies"), [(0, False), (131_072, False), (131_073, True), (400_000, True)])
def test_large_arrays_lie_in_files_and_small_ones_do_not(rng, rows, lies):
    values = rng.integers(9, size=rows)
    found = on_disk(values)
    assert_array_equal(found, values)
    assert type(found) is np.ndarray and not np.shares_memory(found, values)
    assert isinstance(found.base, np.memmap) == lies
    found = empty_on_disk((2, rows), np.int32)
    found[1] = values
    assert found.shape == (2, rows) and found.dtype == np.int32 and (found[1] == values).all()


def test_rows_are_numbered_in_as_few_bytes_as_they_take():
    assert [index_dtype(count) for count in (0, 2**31 - 1, 2**31)] == [np.int32, np.int32, np.int64]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot set room aside")
def test_room_for_an_array_is_there_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked, inner = [], os.posix_fallocate

    def allocate(file, start, length):
        inner(file, start, length)
        asked.append((start, length, os.fstat(file).st_blocks * 512 >= length))

    monkeypatch.setattr("os.posix_fallocate", allocate)
    found = mapped_array((3, 100_000), np.float32)
    assert asked == [(0, 1_200_000, True)] and not found.any()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        empty_on_disk(200_000, np.int64)
    assert not list(tmp_path.iterdir())
