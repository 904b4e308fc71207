"""A flow that lost the lake to another writer begins anew; one that never had it does not."""

import inspect

import pytest

from flows import hold
from flows.curate import curate
from schemas.errors import LakeBusy, Overtaken


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(hold, "ANEW_S", (0.0, 0.0, 0.0))


def work(*errors):
    """Return work that fails in turn by these, then returns what it was given, and how often it was called."""
    left, calls = list(errors), []

    @hold.rebased
    def do(number: int, *, twice: bool = False) -> int:
        calls.append(number)
        if left:
            raise left.pop(0)
        return number * (2 if twice else 1)

    return do, calls


def test_work_that_was_overtaken_begins_anew_with_what_it_was_given():
    do, calls = work(Overtaken("a"), Overtaken("b"))
    assert do(21, twice=True) == 42
    assert calls == [21, 21, 21]


def test_it_gives_up_when_that_happens_each_time():
    do, calls = work(*(Overtaken(str(n)) for n in range(9)))
    with pytest.raises(Overtaken, match="3"):
        do(1)
    assert len(calls) == 4


@pytest.mark.parametrize("error", [LakeBusy("held"), ValueError("wrong")])
def test_nothing_else_is_tried_again(error):
    do, calls = work(error)
    with pytest.raises(type(error)):
        do(1)
    assert calls == [1]


def test_a_flow_keeps_its_parameters():
    assert list(inspect.signature(curate.fn).parameters) == ["recipe", "lake", "replay"]
