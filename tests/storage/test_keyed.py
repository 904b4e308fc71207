"""Rows by key are those a loop over the whole table finds, whatever became of the table."""

import shutil

import lance
import pyarrow as pa
import pyarrow.dataset as pds
import pytest

from schemas.tables import PAIRS
from storage import keyed, rows
from storage import lake as lakes

COLUMNS = ["pair_id", "media_id", "kept"]


def pairs(ids, media, kept=True):
    made = {
        "pair_id": ids,
        "media_id": media,
        "text_id": ids,
        "present": [True] * len(ids),
        "kept": [kept] * len(ids),
    }
    table = pa.table(
        [pa.array(made.get(one.name, [None] * len(ids)), one.type) for one in PAIRS.schema],
        schema=PAIRS.schema,
    )
    return pds.dataset(rows.with_digest(table, PAIRS))


def write(lake, *staged):
    with lake.writer() as writer:
        for one in staged:
            writer.upsert(PAIRS, one)
        return writer.commit(tag="latest", recipe_digest=str(len(lake.snapshots())), run_id="r")


def by_loop(lake, at, key, wanted):
    return sorted(
        (row["pair_id"], row["media_id"], row["kept"])
        for row in lake.read("pairs", at=at.snapshot_id).to_pylist()
        if row[key] in wanted
    )


def by_key(lake, at, key, wanted):
    return sorted(
        tuple(row.values()) for row in keyed.fetched(lake, at, "pairs", key, wanted, COLUMNS).to_pylist()
    )


@pytest.fixture
def lake(lake_dir):
    return lakes.open(lake_dir)


# Of one beginning, short, of letters that are no digits, and absent.
IDS = [f"{n:032x}" for n in range(40)] + [f"0000000{n:x}" + "ab" * 12 for n in range(8)] + ["a", "ab", "zz9"]
ASKED = [IDS[3], IDS[41], "a", "zz9", "0000000", "f" * 32]


def test_rows_are_those_of_a_loop_through_appends_changes_and_compaction(lake):
    media = [f"{n // 3:064x}" for n in range(len(IDS))]
    first = write(lake, pairs(IDS, media))
    second = write(lake, pairs(["b" * 32, "c" * 32], media[:2]), pairs(IDS[3:5], media[3:5], kept=False))
    lance.dataset(f"{lake.uri}/pairs.lance").optimize.compact_files()
    with lake.writer() as writer:
        writer.adopt("pairs")
        third = writer.commit(tag=None, recipe_digest="compacted", run_id="r")
    for at in (first, second, third):
        assert by_key(lake, at, "pair_id", ASKED) == by_loop(lake, at, "pair_id", ASKED)
        assert by_key(lake, at, "media_id", media[:4]) == by_loop(lake, at, "media_id", media[:4])
    assert len(by_key(lake, first, "media_id", media[:1])) == 3
    assert by_key(lake, second, "pair_id", [IDS[3]])[0][2] is False
    assert by_key(lake, second, "pair_id", ["d" * 32]) == []


def test_a_lake_made_anew_at_the_same_place_is_another(lake):
    before = write(lake, pairs(["a" * 32], ["1" * 64]))
    assert by_key(lake, before, "pair_id", ["a" * 32]) == [("a" * 32, "1" * 64, True)]
    shutil.rmtree(lake.uri)
    after = write(lake, pairs(["a" * 32], ["2" * 64]))
    assert before.snapshot_id == after.snapshot_id
    assert by_key(lake, after, "pair_id", ["a" * 32]) == [("a" * 32, "2" * 64, True)]


def test_where_too_many_may_match_the_table_is_to_be_read(lake):
    ids = [f"samehead{n:024x}" for n in range(keyed.MOST + 1)]
    at = write(lake, pairs(ids, ["1" * 64] * len(ids)))
    assert keyed.fetched(lake, at, "pairs", "pair_id", ids[:1], COLUMNS) is None
