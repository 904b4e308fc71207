"""The matrix never disagrees with the table, whatever becomes of the files it is kept in."""

import shutil
import threading

import lance
import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import DataError, NoSuchTable
from storage import matrix as matrices
from storage import upkeep
from storage.addresses import allow_list, roaring
from storage.lake import Lake
from storage.matrix import Recent, content_key, matrix_of, vectors_of
from tests.storage.vector_lakes import TABLE, committed, drawn, item, numbered, put


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def as_dict(matrix):
    return dict(zip(matrix.ids.to_pylist(), np.asarray(matrix.vectors.values).tolist(), strict=True))


def said_by_table(lake, snapshot, side):
    rows = lake.dataset(TABLE, snapshot).to_table(filter=f"side = '{side}'").to_pylist()
    return {row["item_id"]: row["vector"] for row in rows}


def test_it_holds_each_side_of_the_table_and_who_is_kept(lake, cache):
    vectors = drawn(30, 8)
    kept = [(True, False, None)[n % 3] for n in range(20)]
    committed(lake, "media", numbered(vectors[:20]), kept=kept, present=[n != 4 for n in range(20)])
    snapshot = committed(lake, "text", numbered(vectors[20:], 20))
    for side, count in (("media", 20), ("text", 10)):
        found = matrix_of(lake, snapshot, TABLE, side, cache=cache)
        assert len(found) == count and as_dict(found) == said_by_table(lake, snapshot, side)
        assert found.vectors.values.dtype == np.float32 and not found.vectors.values.flags.writeable
    media = matrix_of(lake, snapshot, TABLE, "media", cache=cache)
    chosen = {one for one, yes in zip(media.ids.to_pylist(), media.kept, strict=True) if yes}
    assert chosen == {item(n) for n in range(20) if n % 3 != 1 and n != 4}


def test_every_snapshot_has_its_own_through_changes_deletes_compaction_and_restoring(lake, cache):
    first = committed(lake, "media", numbered(drawn(30, 8, seed=1)))
    second = committed(lake, "media", numbered(drawn(10, 8, seed=2), 25))  # five replaced, five added
    with lake.writer() as writer:
        lake.latest(TABLE).delete(f"item_id < '{item(7)}'")
        writer.adopt(TABLE)
        third = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    with lake.writer() as writer:
        assert upkeep.compact(lake, writer)[TABLE] > 0
        fourth = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    fifth = lake.restore(first.snapshot_id)
    counts = [30, 35, 28, 28, 30]
    for snapshot, count in zip((first, second, third, fourth, fifth), counts, strict=True):
        found = matrix_of(lake, snapshot, TABLE, "media", cache=cache)
        assert len(found) == count and as_dict(found) == said_by_table(lake, snapshot, "media")
        assert found.kept.all() and (np.diff(found.vectors.addresses.astype(np.int64)) > 0).all()


def test_a_lake_made_anew_at_the_same_place_is_another(tmp_path, cache):
    place = tmp_path / "lake"
    for seed in (1, 2):
        lake = Lake(str(place))
        snapshot = committed(lake, "media", numbered(drawn(12, 8, seed=seed)))
        assert (snapshot.snapshot_id, snapshot.versions[TABLE]) == ("s000001", 2)
        found = matrix_of(lake, snapshot, TABLE, "media", cache=cache)
        assert as_dict(found) == said_by_table(lake, snapshot, "media")
        shutil.rmtree(place)
    assert len(list(cache.iterdir())) == 2


def test_an_index_changes_nothing_about_the_matrix(lake, cache):
    snapshot = committed(lake, "media", numbered(drawn(300, 8)))
    before = content_key(lake.dataset(TABLE, snapshot), "media")
    dataset = lake.latest(TABLE)
    dataset.create_index("vector", "IVF_FLAT", metric="cosine", num_partitions=2)
    assert dataset.version > snapshot.versions[TABLE]
    assert content_key(lake.latest(TABLE), "media") == before
    assert content_key(dataset, "text") != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "vectors.f32").write_bytes((folder / "vectors.f32").read_bytes()[:-4]),
        lambda folder: (folder / "vectors.f32").write_bytes(b"\0" * (folder / "vectors.f32").stat().st_size),
        lambda folder: (folder / "addresses.u64").write_bytes(
            b"\1" * (folder / "addresses.u64").stat().st_size
        ),
        lambda folder: (folder / "ids.arrow").write_bytes(b"ARROW1"),
        lambda folder: (folder / "ids.arrow").unlink(),
        lambda folder: (folder / "facts.json").write_text("{"),
        lambda folder: (folder / "facts.json").unlink(),
    ],
)
def test_damaged_files_are_made_anew(lake, cache, damage):
    snapshot = committed(lake, "media", numbered(drawn(12, 8)))
    dataset = lake.dataset(TABLE, snapshot)
    vectors_of(dataset, "media", cache=cache)
    (folder,) = cache.iterdir()
    damage(folder)
    found = vectors_of(dataset, "media", cache=cache)
    again = said_by_table(lake, snapshot, "media")
    assert dict(zip(found.ids.to_pylist(), found.values.tolist(), strict=True)) == again
    assert list(cache.iterdir()) == [folder]


def test_a_cache_that_cannot_be_written_is_done_without(lake, tmp_path, caplog):
    snapshot = committed(lake, "media", numbered(drawn(12, 8)))
    (tmp_path / "file").write_text("no folder")
    found = vectors_of(lake.dataset(TABLE, snapshot), "media", cache=tmp_path / "file" / "below")
    assert dict(zip(found.ids.to_pylist(), found.values.tolist(), strict=True)) == said_by_table(
        lake, snapshot, "media"
    )
    assert "held in memory" in caplog.text


def test_files_used_longest_ago_go_first_and_never_those_in_use(lake, cache):
    datasets = [
        lake.dataset(TABLE, committed(lake, "media", numbered(drawn(50, 8, seed=seed), 50 * seed)))
        for seed in range(3)
    ]
    first, second = (vectors_of(dataset, "media", cache=cache).key for dataset in datasets[:2])
    size = sum(path.stat().st_size for path in (cache / second).iterdir())
    assert vectors_of(datasets[0], "media", cache=cache).key == first  # used again
    third = vectors_of(datasets[2], "media", cache=cache, limit_bytes=int(2.5 * size)).key
    assert {path.name for path in cache.iterdir()} == {first, third}
    kept = vectors_of(datasets[1], "media", cache=cache, limit_bytes=1)
    assert [path.name for path in cache.iterdir()] == [second] and len(kept) == 100


def test_rows_without_a_usable_vector_are_left_out_and_counted(lake, cache):
    vectors = dict(numbered(drawn(6, 8)))
    vectors[item(1)] = None
    vectors[item(2)] = np.array([np.nan] + [0.0] * 7)
    vectors[item(3)] = np.array([np.inf] + [0.0] * 7)
    snapshot = committed(lake, "media", vectors)
    found = matrix_of(lake, snapshot, TABLE, "media", cache=cache)
    assert sorted(found.ids.to_pylist()) == [item(0), item(4), item(5)]
    assert found.vectors.left_out == 3


def test_a_side_without_rows_is_empty(lake, cache):
    snapshot = committed(lake, "media", numbered(drawn(3, 8)))
    found = matrix_of(lake, snapshot, TABLE, "text", cache=cache)
    assert (len(found), found.kept.tolist(), len(found.scope())) == (0, [], 0)
    with pytest.raises(NoSuchTable):
        matrix_of(lake, snapshot, "embeddings_other", "text", cache=cache)
    with pytest.raises(ValueError, match="'sound'"):
        matrix_of(lake, snapshot, TABLE, "sound", cache=cache)


def test_a_condition_that_lance_cannot_use_says_so(lake, cache):
    snapshot = committed(lake, "media", numbered(drawn(3, 8)))
    found = matrix_of(lake, snapshot, TABLE, "media", cache=cache)
    for where in ("width_px", "licence = 3", "width_px = 'x'"):
        with pytest.raises(DataError, match="cannot be used"):
            found.scope(where)
    with pytest.raises(DataError, match="is no modality"):
        found.scope(modality=("image' OR 'a'='a",))
    texts = matrix_of(lake, snapshot, TABLE, "text", cache=cache)
    with pytest.raises(DataError, match="texts have no modality"):
        texts.scope(modality=("image",))


def test_many_threads_open_one_matrix_once(lake, cache):
    snapshot = committed(lake, "media", numbered(drawn(200, 8)))
    found, start = [], threading.Barrier(8)

    def ask():
        start.wait()
        found.append(matrix_of(lake, snapshot, TABLE, "media", cache=cache))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len({id(one) for one in found}) == 1


def test_what_was_used_longest_ago_is_let_go_first():
    recent, made = Recent(10, len), []

    def get(key, size):
        return recent.get(key, lambda: made.append(key) or "x" * size)

    for key, size in (("a", 4), ("b", 4), ("a", 4), ("c", 4), ("a", 4), ("b", 4), ("big", 99), ("big", 99)):
        assert get(key, size) == "x" * size
    assert made == ["a", "b", "c", "b", "big"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.03, 0.5, 0.999, 1.0])
def test_lance_reads_the_list_of_rows_as_it_was_meant(tmp_path, share):
    n = 150_000  # three containers of a bitmap a fragment; some listed, some not
    table = pa.table({"n": np.arange(n), "half": np.arange(n) // 75_000})
    dataset = lance.write_dataset(table, str(tmp_path / "t.lance"), max_rows_per_file=100_000)
    sizes = {f.fragment_id: f.physical_rows for f in dataset.get_fragments()}
    chosen = np.flatnonzero(np.random.default_rng(1).random(n) < share)
    fragment, row = chosen // 100_000, chosen % 100_000
    listed = allow_list((fragment.astype(np.uint64) << np.uint64(32)) + row.astype(np.uint64), sizes)
    assert (
        dataset.scanner(columns=["n"], row_addr_allowlist=listed).to_table()["n"].to_pylist()
        == chosen.tolist()
    )


def test_a_bitmap_worked_by_hand():
    values = np.array([1, 3, 65536 + 2], np.uint32)
    by_hand = (
        "3a300000" "02000000"  # cookie 12346, two containers
        "0000" "0100" "0100" "0000"  # keys 0 and 1, with 2 and 1 values
        "18000000" "1c000000"  # the bodies start at bytes 24 and 28
        "0100" "0300" "0200"
    )  # fmt: skip
    assert roaring(values).hex() == by_hand


def test_the_setting_says_where_files_go_by_default(lake, tmp_path, monkeypatch):
    monkeypatch.setenv("XMODAL_CACHE", str(tmp_path / "elsewhere"))
    snapshot = committed(lake, "media", numbered(drawn(3, 8)))
    key = vectors_of(lake.dataset(TABLE, snapshot), "media").key
    assert (tmp_path / "elsewhere" / "vectors" / key / "facts.json").exists()
    assert matrices.LIMIT_BYTES > 1 << 30


def test_vectors_may_come_before_any_item(lake, cache):
    with lake.writer() as writer:
        put(writer, "media", numbered(drawn(3, 8)))
        snapshot = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    assert "texts" not in snapshot.versions
    assert len(matrix_of(lake, snapshot, TABLE, "text", cache=cache).scope()) == 0
