"""No verdict is lost, overtaken or held up by another, whatever the lake does meanwhile."""

import threading

import pytest

from dashboards.journal import Journal
from schemas.errors import DataError, LakeBusy


class Notebook:
    """A lake of its own small kind: keeps what was stated; busy for the first few calls; refuses what it does not know."""

    def __init__(self, busy: int = 0, unknown: tuple[str, ...] = ()) -> None:
        self.busy, self.unknown = busy, unknown
        self.stated: list[tuple[str, tuple[str, ...], str]] = []

    def __call__(self, say: str, subjects: tuple[str, ...], person: str, comment: str) -> str:
        if self.busy > 0:
            self.busy -= 1
            raise LakeBusy("another run is writing")
        if set(subjects) & set(self.unknown):
            raise DataError("no such pair")
        self.stated.append((say, subjects, person))
        return f"s{len(self.stated):06d}"

    def standing(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for say, subjects, _ in self.stated:
            for subject in subjects:
                found[subject] = say
        return {subject: say for subject, say in found.items() if say != "withdraw"}


@pytest.fixture
def journal_of(tmp_path):
    opened = []

    def make(state, **options):
        journal = Journal(tmp_path / "verdicts.sqlite", state, **({"patience_s": 0.01} | options))
        opened.append(journal)
        return journal

    yield make
    for journal in opened:
        journal.close()


def test_nothing_is_written_before_the_first_verdict(journal_of, tmp_path):
    journal = journal_of(Notebook())
    journal.start()
    assert (journal.waiting(), journal.counts(), journal.last(), journal.undo("ada")) == ({}, {}, [], None)
    assert list(tmp_path.iterdir()) == []


def test_verdicts_of_one_kind_are_stated_together(journal_of):
    lake = Notebook()
    journal = journal_of(lake, patience_s=0.4)
    for pair in ("p1", "p2", "p3"):
        journal.add(pair, "keep", "ada")
    assert journal.settle(20)
    assert lake.stated == [("keep", ("p1", "p2", "p3"), "ada")]
    assert journal.counts() == {"written": 3}


def test_a_busy_lake_is_waited_for_and_said_to_be_busy(journal_of):
    lake = Notebook(busy=2)
    journal = journal_of(lake)
    journal.add("p1", "drop", "ada")
    seen = set()
    while journal.waiting():
        seen.add(journal.trouble)
    assert "another run is writing" in seen
    assert lake.standing() == {"p1": "drop"}
    assert journal.settle(5) and journal.counts() == {"written": 1}


def test_what_waits_outlives_the_server(journal_of):
    first = journal_of(Notebook(busy=10**6))
    first.add("p1", "keep", "ada")
    first.close()
    lake = Notebook()
    second = journal_of(lake)
    second.start()
    assert second.settle(20)
    assert lake.standing() == {"p1": "keep"}


def test_what_a_killed_server_was_writing_is_written_by_the_next(journal_of):
    first = journal_of(Notebook(busy=10**6), patience_s=60)
    first.add("p1", "keep", "ada")
    assert [entry.subject_id for entry in first._claimed()] == ["p1"]  # and then nothing more of it is heard
    first.close()
    lake = Notebook()
    second = journal_of(lake)
    second.start()
    assert second.settle(20) and lake.standing() == {"p1": "keep"}


def test_one_that_is_refused_holds_up_no_other(journal_of):
    lake = Notebook(unknown=("gone",))
    journal = journal_of(lake, patience_s=0.3)
    for pair in ("p1", "gone", "p2"):
        journal.add(pair, "keep", "ada")
    assert journal.settle(20)
    assert lake.standing() == {"p1": "keep", "p2": "keep"}
    assert [(entry.subject_id, entry.message) for entry in journal.last() if entry.status == "refused"] == [
        ("gone", "no such pair")
    ]


def test_undo_takes_back_what_waits_and_withdraws_what_was_written(journal_of):
    lake = Notebook()
    journal = journal_of(lake)
    journal.add("p1", "keep", "ada")
    assert journal.settle(20)
    journal.patience_s = 0.5
    journal.add("p2", "drop", "ada")
    assert journal.undo("ada").subject_id == "p2"
    assert journal.undo("ada").subject_id == "p1"
    assert journal.undo("ada") is None
    assert journal.undo("grace") is None
    assert journal.settle(20)
    assert lake.standing() == {} and lake.stated[-1] == ("withdraw", ("p1",), "ada")


def test_the_last_word_on_a_pair_is_the_last_in_the_lake(journal_of):
    lake = Notebook()
    journal = journal_of(lake, patience_s=0.3)
    journal.add("p1", "keep", "ada")
    journal.add("p2", "drop", "ada")
    journal.add("p1", "drop", "grace")
    journal.add("p1", "keep", "ada")
    assert journal.settle(20)
    assert lake.standing() == {"p1": "keep", "p2": "drop"}
    assert [person for _, subjects, person in lake.stated if "p1" in subjects] == ["ada", "grace", "ada"]


def test_two_reviewers_at_once_lose_nothing(journal_of):
    lake = Notebook(busy=3)
    journal = journal_of(lake)

    def review(person: str) -> None:
        for n in range(40):
            journal.add(f"{person}-{n}", "keep" if n % 2 else "drop", person)

    people = [threading.Thread(target=review, args=(person,)) for person in ("ada", "grace")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert journal.settle(60)
    expected = {
        f"{person}-{n}": "keep" if n % 2 else "drop" for person in ("ada", "grace") for n in range(40)
    }
    assert lake.standing() == expected
