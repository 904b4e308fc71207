import pytest


@pytest.mark.parametrize("command", ["dashboard", "serve"])
def test_beyond_this_machine_a_token_is_demanded(xmodal, command):
    said = xmodal(command, "--host", "0.0.0.0")
    assert said.code == 1 and "give --token or XMODAL_TOKEN" in said.err


@pytest.mark.parametrize("command", ["dashboard", "serve"])
def test_a_token_that_can_be_guessed_is_refused(xmodal, command, monkeypatch):
    monkeypatch.setenv("XMODAL_TOKEN", "secret")
    said = xmodal(command, "--host", "0.0.0.0")
    assert said.code == 1 and "can be guessed" in said.err and "secret" not in said.err


def test_a_map_of_too_few_media_is_refused(xmodal):
    said = xmodal("map")
    assert said.code == 1 and "a map needs 10 at least" in said.err
