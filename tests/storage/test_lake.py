"""A lake against a dictionary: what an upsert counts, what a snapshot holds, what a reader may see."""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.errors import LakeBusy, LakeError, NoSuchSnapshot, NoSuchTable, Overtaken
from schemas.tables import RUNS, SNAPSHOTS, TEXTS
from storage import lake as lakes
from storage import upkeep
from storage.database import database
from storage.lake import Diff, Lake, UpsertCount
from storage.rows import table_digest
from storage.staging import Staging
from storage.upserts import Known, without
from tests.storage.conftest import commit, text_rows, texts_of, upsert

REPOSITORY = Path(__file__).parents[2]

KEYS = st.sampled_from([f"{n:032x}" for n in range(6)])
CHANGES = st.dictionaries(KEYS, st.sampled_from(["red", "green", "blue"]), max_size=6)
SESSIONS = st.lists(
    st.tuples(st.lists(CHANGES, min_size=1, max_size=2), st.booleans()), min_size=1, max_size=4
)


@example(
    sessions=[
        ([{f"{0:032x}": "green"}], True),
        ([{f"{0:032x}": "red"}, {f"{0:032x}": "green"}], True),  # there and back: nothing changed
        ([{f"{0:032x}": "blue"}], True),
    ]
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(SESSIONS)
def test_any_sequence_of_writers_ends_as_a_dictionary_does(sessions):
    with tempfile.TemporaryDirectory() as folder:
        lake, state = Lake(folder), {}
        seen: dict[str, tuple[dict[str, str], str]] = {}  # {snapshot: (rows, digest)}
        for changes, commits in sessions:
            after = dict(state)
            with lake.writer() as writer:
                for change in changes:
                    expected = UpsertCount(
                        added=len(change.keys() - after.keys()),
                        replaced=sum(key in after and after[key] != text for key, text in change.items()),
                        equal=sum(after.get(key) == text for key, text in change.items()),
                    )
                    assert upsert(writer, change) == expected
                    after |= change
                assert not seen or texts_of(lake) == state  # nobody sees what is not committed
                if commits:
                    snapshot = writer.commit(tag="latest", recipe_digest="d", run_id="r")
                    known = snapshot.snapshot_id in seen
                    assert known == (bool(seen) and after == state)  # no change, no snapshot
                    state = after
                    seen[snapshot.snapshot_id] = (state, snapshot.digest)
                    assert snapshot.row_counts == {"texts": len(state)}
        for name, (rows, digest) in seen.items():
            assert (texts_of(lake, name), lake.snapshot(name).digest) == (rows, digest)
        assert [s.snapshot_id for s in lake.snapshots()] == [f"s{n:06d}" for n in range(1, len(seen) + 1)]
        alike = {digest: sorted(rows.items()) for rows, digest in seen.values()}
        assert len(alike) == len({tuple(rows) for rows in alike.values()})  # equal content, equal digest


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=20, unique=True), st.randoms(use_true_random=False))
def test_a_digest_depends_on_neither_order_nor_splitting(texts, random):
    table = text_rows({f"{n:032x}": text for n, text in enumerate(texts)})
    shuffled = list(range(len(table)))
    random.shuffle(shuffled)
    assert table_digest(table.to_batches()) == table_digest(table.take(shuffled).to_batches(max_chunksize=3))
    assert table_digest(table.to_batches()) != table_digest(table.slice(1).to_batches())


def test_a_digest_ignores_who_wrote_the_row_and_when():
    one, two = (text_rows({"0" * 32: "same"}, run_id=run) for run in ("a", "b"))
    assert one["row_digest"] == two["row_digest"]
    assert one["row_digest"] != text_rows({"0" * 32: "same"}, kept=False)["row_digest"]


def test_content_written_in_another_order_has_the_same_digest(tmp_path):
    one, two = Lake(str(tmp_path / "one")), Lake(str(tmp_path / "two"))
    commit(one, {"a": "x", "b": "y"})
    commit(two, {"b": "old"})
    commit(two, {"b": "y"})
    commit(two, {"a": "x"})
    assert one.head().digest == two.head().digest
    assert one.snapshot(two.head().digest).snapshot_id == "s000001"


def test_refuses_a_key_that_stands_twice(lake):
    twice = pa.concat_tables([text_rows({"a": "x"}), text_rows({"a": "y"})])
    with lake.writer() as writer, pytest.raises(LakeError, match="the key a stands twice"):
        writer.upsert(TEXTS, pds.dataset(twice))


@pytest.mark.parametrize("seed", range(6))
def test_of_rows_with_one_key_the_first_counts_where_keys_may_repeat(lake, monkeypatch, seed):
    monkeypatch.setattr("storage.repeats.HASHED_ROWS", 7)  # equal hashes lie on both sides of a cut
    draw = np.random.default_rng(seed)
    wanted: dict[str, str] = {}
    for round_ in range(3):
        keys = [f"{n:03d}" for n in draw.choice(80, (1, 30, 90)[(seed + round_) % 3])]
        given = [(key, f"{round_} {place // 3}") for place, key in enumerate(keys)]
        table = pa.concat_tables([text_rows({key: text}) for key, text in given])
        first: dict[str, str] = {}
        for key, text in given:
            first.setdefault(key, text)
        with lake.writer() as writer:
            found = writer.upsert(TEXTS, pds.dataset(table), repeats=True)
            writer.commit(tag="latest", recipe_digest="d", run_id=str(round_))
        assert found == UpsertCount(len(first.keys() - wanted.keys()), len(first.keys() & wanted.keys()), 0)
        wanted |= first
        assert texts_of(lake) == wanted
        if len(first) < len(keys):
            with lake.writer() as writer, pytest.raises(LakeError, match="stands twice"):
                writer.upsert(TEXTS, pds.dataset(table))


def test_an_upsert_spread_over_many_files_and_batches_ends_as_a_dictionary_does(lake, monkeypatch):
    monkeypatch.setattr("storage.upserts.COMPARED_ROWS", 300)  # the table comes in several batches too
    monkeypatch.setattr("storage.upserts.DELETED_ROWS", 100)  # and what is replaced goes in several parts
    before = {f"{n:05d}": "old" for n in range(0, 9000, 2)}
    after = {f"{n:05d}": "old" if n % 3 else "new" for n in range(9000)}
    commit(lake, before)
    staging = Staging(lake.place, "run")
    paths = [
        staging.write(text_rows({key: after[key] for key in sorted(after)[part::4]}), f"{part}.arrow")
        for part in range(4)
    ]
    with lake.writer() as writer:
        found = writer.upsert(TEXTS, staging.dataset(paths, TEXTS.stored))
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    replaced = sum(after[key] != "old" for key in before)
    assert found == UpsertCount(added=4500, replaced=replaced, equal=4500 - replaced)
    assert texts_of(lake) == after
    assert lake.head().digest == commit(Lake(lake.uri + "-anew"), after).digest


@pytest.mark.parametrize("seed", range(4))
def test_rows_replaced_again_and_again_end_as_a_dictionary_does(lake, monkeypatch, seed):
    """Of rows that came in many files, some are replaced each time: addresses of those before stay what they were."""
    monkeypatch.setattr("storage.upserts.DELETED_ROWS", 3)
    draw, wanted = np.random.default_rng(seed), {}
    for round_ in range(6):
        some = {f"{n:03d}": str(round_) for n in draw.choice(60, draw.integers(1, 40), replace=False)}
        with lake.writer() as writer:
            found = upsert(writer, some)
            writer.commit(tag="latest", recipe_digest="d", run_id=str(round_))
        assert found == UpsertCount(len(some.keys() - wanted.keys()), len(some.keys() & wanted.keys()), 0)
        wanted |= some
        assert texts_of(lake) == wanted
        assert len(lake.read("texts")) == len(wanted)


def test_files_that_lose_every_row_go_in_one_version_and_others_a_part_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.upserts.DELETED_ROWS", 4)
    monkeypatch.setattr("storage.upserts.BLOCK_BITS", 2)
    rows = pa.table({"n": np.arange(50)})
    table = lance.write_dataset(rows, str(tmp_path / "t.lance"), max_rows_per_file=10)
    table.delete("n = 12")  # of a file whose other rows go
    gone = {*range(10), *range(10, 20), 20, 21, 24, 25, 28, 29, 30, 31, 34, 35}
    placed = table.scanner(with_row_address=True).to_table()
    addresses = placed.filter(pa.array([n in gone for n in placed["n"].to_pylist()]))["_rowaddr"].to_numpy()
    left = [after.to_table()["n"].to_pylist() for after in without(table, addresses)]
    assert left[0] == list(range(20, 50))
    assert [len(each) for each in left] == [30, 28, 24, 20]  # two rows of a block: less than four, four, four
    assert left[-1] == [n for n in range(50) if n not in gone]
    assert [len(after.to_table()) for after in without(table, addresses[:0])] == []


@pytest.mark.parametrize("seed", range(12))
def test_of_rows_side_by_side_those_that_stay_are_named_and_no_other_row_goes(tmp_path, monkeypatch, seed):
    monkeypatch.setattr("storage.upserts.DELETED_ROWS", 7)
    monkeypatch.setattr("storage.upserts.DELETED_RUNS", 2)
    monkeypatch.setattr("storage.upserts.BLOCK_BITS", 2 + seed % 3)
    monkeypatch.setattr("storage.upserts.TRIMMED_ROWS", 11)
    draw = np.random.default_rng(seed)
    table = lance.write_dataset(
        pa.table({"n": np.arange(120)}), str(tmp_path / "t.lance"), max_rows_per_file=25
    )
    table.delete(f"n IN ({', '.join(map(str, draw.choice(120, 9, replace=False)))})")  # gaps from before
    placed = table.scanner(with_row_address=True).to_table()
    gone = np.repeat(draw.random(20) < (seed + 1) / 13, 6) ^ (draw.random(120) < 0.1)
    addresses = placed.filter(pa.array([bool(gone[n]) for n in placed["n"].to_pylist()]))[
        "_rowaddr"
    ].to_numpy()
    *_, left = [table, *without(table, addresses)]
    assert left.to_table()["n"].to_pylist() == [n for n in placed["n"].to_pylist() if not gone[n]]


def test_a_set_that_is_nearly_all_replaced_is_so_in_few_versions(tmp_path):
    table = lance.write_dataset(pa.table({"n": np.arange(200_000)}), str(tmp_path / "t.lance"))
    gone = np.random.default_rng(3).random(200_000) < 0.99
    gone[150_000:] = False
    versions = list(
        without(table, np.flatnonzero(gone).astype(np.uint64))
    )  # a row's address in the first file is its number
    assert len(versions) == 1
    assert versions[0].to_table()["n"].to_pylist() == np.flatnonzero(~gone).tolist()


def test_of_rows_that_may_repeat_a_key_the_first_counts(lake):
    rows = pa.concat_tables(
        [text_rows({"a": "1", "b": "2"}), text_rows({"a": "3", "c": "4"}), text_rows({"c": "5"})]
    )
    with lake.writer() as writer:
        found = writer.upsert(TEXTS, pds.dataset(rows), repeats=True)
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    assert found == UpsertCount(added=3)
    assert texts_of(lake) == {"a": "1", "b": "2", "c": "4"}


@pytest.mark.parametrize("bits", [0, 1, 3, 40])
def test_keys_of_which_hashes_begin_alike_end_as_a_dictionary_does(lake, monkeypatch, bits):
    monkeypatch.setattr("storage.matching._mask", lambda count: np.uint64((1 << (64 - bits)) - 1))
    monkeypatch.setattr("storage.upserts.COMPARED_ROWS", 30)
    before = {f"{n:03d}": "old" for n in range(0, 90, 2)}
    staged = [(f"{n:03d}", "old" if n % 3 else "new") for n in range(60)] + [("001", "late"), ("010", "late")]
    with lake.writer() as writer:
        upsert(writer, before)
        rows = pa.concat_tables([text_rows({key: text}) for key, text in staged])
        found = writer.upsert(TEXTS, pds.dataset(rows), repeats=True)
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    first = dict(reversed(staged))
    assert texts_of(lake) == before | first
    replaced = sum(before.get(key, text) != text for key, text in first.items())
    added = len(first.keys() - before.keys())
    assert found == UpsertCount(added, replaced, len(first) - added - replaced)


def _addresses(lake: Lake, keys: list[str]) -> dict[str, int]:
    """Where the rows with some keys lie, in the newest snapshot."""
    table = lake.dataset("texts", lake.head()).scanner(columns=["text_id"], with_row_address=True).to_table()
    return {row["text_id"]: row["_rowaddr"] for row in table.to_pylist() if row["text_id"] in keys}


@pytest.mark.parametrize("seed", range(6))
def test_rows_known_to_differ_end_as_compared_ones_do(lake, seed):
    draw, wanted = np.random.default_rng(seed), {}
    for round_ in range(4):
        some = {
            f"{n:03d}": f"{round_ // 2} {n}" for n in draw.choice(60, draw.integers(2, 40), replace=False)
        }
        differing = [key for key, text in some.items() if wanted.get(key) != text]
        at = _addresses(lake, differing) if wanted else {}
        compared = [key for key in some if key not in differing or int(key) % 2]
        table = text_rows({key: some[key] for key in compared + [k for k in differing if k not in compared]})
        replaced = np.sort(np.array([at[k] for k in differing if k not in compared and k in at], np.uint64))
        with lake.writer() as writer:
            known = Known(lake.head().snapshot_id if lake.head() else "", len(some) - len(compared), replaced)
            found = writer.upsert(TEXTS, pds.dataset(table), known=known)
            again = writer.upsert(TEXTS, pds.dataset(table), known=known)  # as when a task is tried again
            writer.commit(tag="latest", recipe_digest="d", run_id=str(round_))
        changed = sum(key in wanted for key in differing)
        assert found == UpsertCount(len(differing) - changed, changed, len(some) - len(differing))
        assert again == UpsertCount(equal=len(some))
        wanted |= some
        assert texts_of(lake) == wanted
        assert len(lake.read("texts")) == len(wanted)


def test_keys_are_compared_in_less_memory_than_they_take(lake):
    """100,000 keys twice, some 30 MB as they are held, with 24 MB for everything."""
    before = {f"{n:032d}" * 2: "old" for n in range(100_000)}
    after = {key: "new" if n % 50 == 0 else "old" for n, key in enumerate(before)} | {"x": "new"}
    with database("24MB"), lake.writer() as writer:
        for texts, expected in ((before, UpsertCount(added=100_000)), (after, UpsertCount(1, 2000, 98_000))):
            staging = Staging(lake.place, "run")
            path = staging.write(text_rows(texts), "texts.arrow")
            assert writer.upsert(TEXTS, staging.dataset([path], TEXTS.stored)) == expected
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    assert texts_of(lake) == after


def test_an_upsert_of_nothing_makes_an_empty_table_that_can_be_read(lake):
    commit(lake, {})
    assert lake.tables() == {"texts": 0}
    assert lake.read("texts").schema.names == TEXTS.stored.names


def test_refuses_a_second_writer_from_another_process(lake):
    Path(lake.uri).mkdir()
    hold = (
        "import sys; from storage.lake import Lake\n"
        "with Lake(sys.argv[1]).writer():\n    print('held', flush=True)\n    sys.stdin.readline()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, lake.uri],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(LakeBusy, match="another run is writing"), lake.writer():
        pass
    other.kill()  # a killed writer holds nothing
    other.wait()
    other.stdin.close()
    other.stdout.close()
    assert commit(lake, {"a": "x"}).snapshot_id == "s000001"


def test_refuses_to_commit_over_a_snapshot_it_has_not_seen(lake):
    commit(lake, {"a": "x"})
    with lake.writer() as writer:
        upsert(writer, {"b": "y"})
        late = lakes.Writer(lake, lake.head())  # as on an object store, where nothing locks
        writer.commit(tag=None, recipe_digest="d", run_id="first")
        late.adopt("texts")
        with pytest.raises(Overtaken, match="committed to by another run"):
            late.commit(tag=None, recipe_digest="e", run_id="second")
    assert len(lake.snapshots()) == 2


def test_a_writer_gives_up_where_another_one_wrote_in_between(lake):
    """As on an object store, when a holder of the lease was silent for too long."""
    commit(lake, {"a": "x"})
    late, other = lakes.Writer(lake, lake.head()), lakes.Writer(lake, lake.head())
    upsert(late, {"late": "1"})
    upsert(other, {"b": "y"})  # begins from the snapshot: what is not committed is undone
    with pytest.raises(Overtaken, match="another run has written to texts"):
        upsert(late, {"later": "2"})
    other.commit(tag="latest", recipe_digest="d", run_id="other")
    with pytest.raises(Overtaken, match="committed to by another run"):
        late.commit(tag="latest", recipe_digest="e", run_id="late")
    assert texts_of(lake) == texts_of(lake, "latest") == {"a": "x", "b": "y"}


@pytest.mark.parametrize("how", ["deletes", "appends", "compacts"])
def test_a_writer_gives_up_where_another_one_writes_between_new_rows_and_those_they_replace(
    lake, monkeypatch, how
):
    commit(lake, {"a": "1", "b": "1", "c": "1"})
    commit(lake, {"d": "1"})
    replaced = lakes.without

    def overtaken(dataset, addresses, options):
        other = lance.dataset(dataset.uri)
        if how == "deletes":
            other.delete("text = '1' AND text_id <> 'a'")
        elif how == "appends":
            lance.write_dataset(other.head(1), dataset.uri, mode="append")
        else:
            other.optimize.compact_files()
        return replaced(dataset, addresses, options)

    monkeypatch.setattr(lakes, "without", overtaken)
    late = lakes.Writer(lake, lake.head())
    with pytest.raises(Overtaken, match="another run has written to texts"):
        upsert(late, {"a": "2", "e": "2"})
    monkeypatch.undo()
    assert texts_of(lake) == {"a": "1", "b": "1", "c": "1", "d": "1"}
    commit(lake, {"a": "2", "e": "2"})  # undoes what both left
    assert texts_of(lake) == {"a": "2", "b": "1", "c": "1", "d": "1", "e": "2"}


def test_an_upsert_that_failed_between_new_rows_and_those_they_replace_may_be_tried_again(lake, monkeypatch):
    commit(lake, {"a": "1", "b": "1"})
    with lake.writer() as writer:
        upsert(writer, {"c": "1"})
        with monkeypatch.context() as broken:
            broken.setattr(lance.LanceDataset, "commit", _full)
            with pytest.raises(OSError, match="disk full"):
                upsert(writer, {"a": "2", "b": "2"})
        assert upsert(writer, {"a": "2", "b": "2"}) == UpsertCount(replaced=2)
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    assert texts_of(lake) == {"a": "2", "b": "2", "c": "1"}


def _full(*_args, **_named):
    raise OSError("disk full")


def test_of_two_snapshots_with_one_id_the_first_counts_and_stays_whole(lake, monkeypatch):
    """Both writers look at the head, see that nobody has committed, and append: the second must not count."""
    commit(lake, {"a": "x"})
    first, second = lakes.Writer(lake, lake.head()), lakes.Writer(lake, lake.head())
    upsert(first, {"b": "y"})
    upsert(second, {"c": "z"})  # begins anew from the snapshot, on top of what the first has written
    seen = lake.head()
    real = lakes.Lake.head
    monkeypatch.setattr(lakes.Lake, "head", lambda self: seen)  # both looked before either appended
    first.commit(tag=None, recipe_digest="d", run_id="first")
    with pytest.raises(Overtaken, match="in the same moment"):
        second.commit(tag="latest", recipe_digest="e", run_id="second")
    monkeypatch.setattr(lakes.Lake, "head", real)
    assert (lake.head().run_id, [s.snapshot_id for s in lake.snapshots()]) == (
        "first",
        ["s000001", "s000002"],
    )
    assert lake.latest("snapshots").count_rows() == 2  # the second took its row back
    upkeep.clean(lake)  # what the second wrote is nobody's, and what the first named is protected
    assert texts_of(lake) == {"a": "x", "b": "y"}
    assert texts_of(lake, "latest") == {"a": "x"}
    commit(lake, {"d": "w"})
    assert texts_of(lake) == {"a": "x", "b": "y", "d": "w"}


def test_a_commit_that_two_finish_is_named_once(lake):
    commit(lake, {"a": "x"})
    commit(lake, {"a": "y"})
    lake.append_log(SNAPSHOTS, lake.head().as_row())  # by a writer that was taken for dead, and wakes up
    assert lake.latest("snapshots").to_table()["snapshot_id"].to_pylist() == ["s000001", "s000002"]
    for status in ("missing", "committed"):
        lake.append_log(RUNS, dict.fromkeys(RUNS.schema.names) | {"run_id": "r", "status": status})
    assert [(row["run_id"], row["status"]) for row in lake.runs()] == [("r", "committed")]


def test_a_clock_that_is_set_back_does_not_turn_tags_and_runs_around(lake, monkeypatch):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    for text in ("old", "new", "newest"):
        now -= timedelta(days=400)
        monkeypatch.setattr(lakes, "_now", lambda now=now: now)
        commit(lake, {"a": text})
        lake.append_log(
            RUNS,
            dict.fromkeys(RUNS.schema.names, "") | {"run_id": text, "started_at": now, "finished_at": now},
        )
    assert lake.tags() == {"latest": "s000003"}
    assert texts_of(lake, "latest") == {"a": "newest"}
    assert [row["run_id"] for row in lake.runs()] == ["newest", "new", "old"]


def test_an_aborted_writer_leaves_no_trace_for_the_next(lake):
    commit(lake, {"a": "x", "b": "y"})
    with pytest.raises(RuntimeError, match="amid"), lake.writer() as writer:
        upsert(writer, {"a": "changed", "c": "new"})
        raise RuntimeError("amid a run")
    assert texts_of(lake) == {"a": "x", "b": "y"}
    commit(lake, {"d": "z"})
    assert texts_of(lake) == {"a": "x", "b": "y", "d": "z"}


def test_a_table_of_a_first_writer_that_aborted_is_made_anew(lake):
    with lake.writer() as writer:
        upsert(writer, {"stray": "never committed"})
    assert (lake.head(), lake.tables()) == (None, {})
    commit(lake, {"a": "x"})
    assert texts_of(lake) == {"a": "x"}


def test_restore_brings_an_earlier_snapshot_back_as_a_new_one(lake):
    first, second = commit(lake, {"a": "x"}), commit(lake, {"a": "changed", "b": "y"})
    again = lake.restore(first.snapshot_id)
    assert (again.snapshot_id, again.parent_id, again.digest) == ("s000003", "s000002", first.digest)
    assert texts_of(lake) == {"a": "x"}
    assert texts_of(lake, second.snapshot_id) == {"a": "changed", "b": "y"}
    commit(lake, {"c": "z"})  # and writing goes on from there
    assert texts_of(lake) == {"a": "x", "c": "z"}


def test_diff_names_what_was_added_removed_and_changed(lake):
    commit(lake, {"a": "x", "b": "y"})
    commit(lake, {"b": "changed", "c": "z"})
    assert lake.diff("texts", "s000001", "s000002") == Diff(added=["c"], removed=[], changed=["b"])
    assert lake.diff("texts", "s000002", "s000001") == Diff(added=[], removed=["c"], changed=["b"])
    assert lake.diff("texts", "s000002", "latest") == Diff([], [], [])
    with pytest.raises(NoSuchTable, match="neither s000001 nor s000002"):
        lake.diff("media", "s000001", "s000002")


def test_a_tag_moves_and_can_be_removed(lake):
    commit(lake, {"a": "x"}, tag="good")
    commit(lake, {"a": "y"}, tag=None)
    assert (texts_of(lake, "good"), texts_of(lake)) == ({"a": "x"}, {"a": "y"})
    lake.move_tag("good", "s000002")
    lake.move_tag("good", "s000002")
    assert lake.tags() == {"good": "s000002"}
    assert lake.latest("tags").count_rows() == 2  # one row per move, none for staying
    lake.move_tag("good", None)
    assert lake.tags() == {}
    with pytest.raises(NoSuchSnapshot, match="'good'.*known: s000001, s000002"):
        lake.snapshot("good")
    with pytest.raises(NoSuchSnapshot):
        lake.move_tag("good", "s000009")


def test_the_same_content_under_another_recipe_is_another_snapshot(lake):
    one, two = commit(lake, {"a": "x"}, recipe="d"), commit(lake, {"a": "x"}, recipe="e")
    assert (two.snapshot_id, two.digest, two.versions) == ("s000002", one.digest, one.versions)


def test_reading_what_is_not_there_says_so(lake):
    with pytest.raises(NoSuchTable, match="no table 'texts'.*run `xmodal curate` first"):
        lake.read("texts")
    with pytest.raises(NoSuchSnapshot, match="'latest'.*none yet"):
        lake.read("texts", at="latest")
    assert (lake.tags(), lake.snapshots(), lake.runs(), lake.head()) == ({}, [], [], None)
    assert not Path(lake.uri).exists()  # reading creates nothing
    commit(lake, {"a": "x"})
    with pytest.raises(NoSuchTable, match="no table 'media'.*has texts"):
        lake.read("media")
    with pytest.raises(NoSuchSnapshot, match="'s000007'.*known: latest, s000001"):
        lake.read("texts", at="s000007")
    with pytest.raises(NoSuchTable, match="no content table is called 'nonsense'"):
        lakes.key_of("nonsense")


def test_reads_only_the_columns_and_rows_asked_for(lake):
    commit(lake, {"a": "x", "b": "yy", "c": "zzz"})
    long = lake.read("texts", columns=["text_id"], where="length_chars > 1")
    assert sorted(long["text_id"].to_pylist()) == ["b", "c"]
    assert long.schema.names == ["text_id"]
    assert lake.read("runs").num_rows == 0


def test_snapshots_say_when_and_by_whom(lake):
    before = datetime.now(UTC)
    snapshot = commit(lake, {"a": "x"})
    assert lake.snapshot("latest") == snapshot
    assert before <= snapshot.created_at <= datetime.now(UTC)
    assert (snapshot.run_id, snapshot.parent_id) == ("r", "")


@pytest.mark.parametrize("table", ["texts", "snapshots", "runs"])
def test_a_writer_killed_before_a_tables_first_version_costs_nothing(lake_dir, table):
    """It has made the folder, and perhaps begun a file."""
    left = Path(lake_dir) / f"{table}.lance" / "_versions"
    left.mkdir(parents=True)
    (left / ".tmp_begun").write_bytes(b"half")
    lake = lakes.open(lake_dir)
    assert lake.latest(table) is None and lake.head() is None
    with lake.writer() as writer:
        upsert(writer, {"a": "one"})
        head = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    assert lake.read("texts", at=head.snapshot_id).num_rows == 1
    assert [each.snapshot_id for each in lake.snapshots()] == [head.snapshot_id]


@pytest.mark.parametrize("table", ["texts", "snapshots"])
def test_a_table_whose_versions_were_lost_is_not_taken_for_a_new_one(lake_dir, table):
    lake = lakes.open(lake_dir)
    with lake.writer() as writer:
        upsert(writer, {"a": "one"})
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    for manifest in (Path(lake_dir) / f"{table}.lance" / "_versions").glob("*.manifest"):
        manifest.unlink()
    with pytest.raises(ValueError, match="(?i)not found"):
        lakes.open(lake_dir).latest(table)


def test_a_table_of_a_writer_that_never_committed_goes_with_the_staged_files(lake_dir, monkeypatch):
    lake = lakes.open(lake_dir)
    with lake.writer() as writer:
        upsert(writer, {"a": "one"})

    def killed(folder):
        for manifest in (Path(folder) / "_versions").glob("*.manifest"):
            manifest.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, lake.writer() as writer, pytest.raises(KeyboardInterrupt):
        patch.setattr("storage.lake.shutil.rmtree", killed)
        upsert(writer, {"b": "two"})
    assert not (Path(lake_dir) / "texts.lance").exists()
    with lake.writer() as writer:
        upsert(writer, {"c": "three"})
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    assert lake.read("texts")["text"].to_pylist() == ["three"]
    Staging(lake.place, "any").clear()
    assert not (Path(lake_dir) / "_staging").exists()
