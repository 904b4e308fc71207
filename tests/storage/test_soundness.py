"""Files that are lost, cut short or changed: said, found, and left behind by going back to what is sound."""

from pathlib import Path

import pytest

from flows.cli.doctor import _tables
from schemas.errors import LakeDamaged
from storage import soundness, upkeep
from tests.storage.conftest import commit, texts_of, upsert


@pytest.fixture
def aged(lake):
    """Three snapshots; each adds a row and so a file."""
    for n, text in enumerate(("one", "two", "three")):
        commit(lake, {f"{n:032x}": text})
    return lake


def files_of(lake, snapshot):
    dataset = lake.dataset("texts", snapshot)
    folder = Path(lake.uri, "texts.lance", "data")
    return [folder / file.path for fragment in dataset.get_fragments() for file in fragment.metadata.files]


def newest_file(lake):
    return (set(files_of(lake, "s000003")) - set(files_of(lake, "s000002"))).pop()


def manifest(lake, snapshot):
    number = (1 << 64) - 1 - lake.snapshot(snapshot).versions["texts"]
    return Path(lake.uri, "texts.lance", "_versions", f"{number:020}.manifest")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


HARM = {
    "a data file is gone": (lambda lake: newest_file(lake).unlink(), "is missing"),
    "a data file is cut short": (lambda lake: cut(newest_file(lake)), "were written"),
    "a manifest is gone": (lambda lake: manifest(lake, "s000003").unlink(), "cannot be opened"),
    "a manifest is cut short": (lambda lake: cut(manifest(lake, "s000003")), "cannot be opened"),
}


@pytest.mark.parametrize("harm", HARM)
def test_damage_is_said_and_an_earlier_version_can_be_restored_and_written_on(aged, harm):
    lake, (do, said) = aged, HARM[harm]
    assert soundness.check(lake, lake.head(), deep=True) == []
    earlier = {f"{n:032x}": text for n, text in enumerate(("one", "two"))}
    do(lake)
    with pytest.raises(LakeDamaged, match="xmodal doctor.*|xmodal versions restore"):
        lake.read("texts")
    [damage] = soundness.check(lake, lake.head())
    assert damage.table == "texts" and said in damage.what
    assert soundness.newest_sound(lake).snapshot_id == "s000002"
    [finding] = [f for f in _tables(lake.uri, deep=False) if f.state == "problem"]
    assert "versions restore s000002" in finding.advice
    assert texts_of(lake, "s000002") == earlier
    lake.restore("s000002")
    assert texts_of(lake) == earlier
    commit(lake, {f"{9:032x}": "after"})
    assert texts_of(lake, "latest") == earlier | {f"{9:032x}": "after"}
    assert soundness.check(lake, lake.head(), deep=True) == []
    with pytest.raises(LakeDamaged):  # not the rows of another version under the lost one's number
        texts_of(lake, "s000003")
    upkeep.expire(lake, keep=1)
    upkeep.clean(lake)
    assert texts_of(lake, "latest") == earlier | {f"{9:032x}": "after"}


def test_a_changed_byte_is_found_by_reading_every_row(aged):
    path = newest_file(aged)
    data = path.read_bytes()
    assert data.count(b"three") == 1
    path.write_bytes(data.replace(b"three", b"thrxe"))
    assert soundness.check(aged, aged.head()) == []
    [damage] = soundness.check(aged, aged.head(), deep=True)
    assert "digests computed anew differ" in damage.what
    assert soundness.newest_sound(aged, deep=True).snapshot_id == "s000002"


def test_a_wrong_filter_is_not_taken_for_damage(aged):
    with pytest.raises(ValueError, match="(?i)nonsense"):
        aged.read("texts", where="nonsense = 1")


def test_a_log_that_cannot_be_read_is_named(aged):
    for path in Path(aged.uri, "tags.lance", "data").iterdir():
        cut(path)
    [damage] = soundness.check_logs(aged)
    assert damage.table == "tags"
    [finding] = _tables(aged.uri, deep=False)
    assert (finding.state, finding.check) == ("problem", "lake: tags")


def test_an_empty_lake_is_sound(lake):
    assert soundness.check_logs(lake) == []
    assert soundness.newest_sound(lake) is None
    with lake.writer() as writer:
        upsert(writer, {})
