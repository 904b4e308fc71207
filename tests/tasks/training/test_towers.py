"""Towers: standardise, project, and come back from their state."""

import numpy as np
import pytest
import torch

from schemas.errors import DataError
from tasks.heads import HEADS, MLP, Linear
from tasks.losses import InfoNCE
from tasks.training import towers as module
from tasks.training.fit import Schedule, Towers, fit

BRIEF = Schedule(epochs=2, batch_size=32)


@pytest.fixture
def trained(make_pairs):
    pairs, _ = make_pairs(80)
    return pairs, fit(pairs, head=Linear(width=6), loss=InfoNCE(), schedule=BRIEF, seed=0)


def test_vectors_are_standardised_then_projected_to_unit_length(trained):
    pairs, towers = trained
    state = towers.state()
    x = (pairs.media_vec - pairs.media_vec.mean(axis=0)) / pairs.media_vec.std(axis=0)
    projected = x @ state["media.head.1.weight"].T + state["media.head.1.bias"]
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    found = towers.media(pairs.media_vec)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, projected, atol=1e-5)


def test_chunks_change_nothing(trained, monkeypatch):
    pairs, towers = trained
    expected = towers.text(pairs.text_vec)
    monkeypatch.setattr(module, "_CHUNK", 7)
    np.testing.assert_allclose(towers.text(pairs.text_vec), expected, atol=1e-6)


def test_no_vectors_give_no_vectors(trained):
    assert trained[1].media(np.zeros((0, 24), np.float32)).shape == (0, 6)


@pytest.mark.parametrize("name", HEADS)
def test_the_state_is_all_there_is(name, make_pairs):
    pairs, _ = make_pairs(60)
    head = HEADS[name](width=5, dropout=0.2)
    towers = fit(pairs, head=head, loss=InfoNCE(), schedule=BRIEF, seed=3)
    state = towers.state()
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in state.values())
    again = Towers.from_state(state, head)
    np.testing.assert_array_equal(again.media(pairs.media_vec), towers.media(pairs.media_vec))
    np.testing.assert_array_equal(again.text(pairs.text_vec), towers.text(pairs.text_vec))
    assert again.state().keys() == state.keys()


def test_a_state_is_a_copy(trained):
    pairs, towers = trained
    state, before = towers.state(), towers.media(pairs.media_vec)
    again = Towers.from_state(state, Linear(width=6))
    for array in state.values():
        array[...] = 7
    np.testing.assert_array_equal(towers.media(pairs.media_vec), before)
    np.testing.assert_array_equal(again.media(pairs.media_vec), before)


def test_coming_back_leaves_torchs_generator_alone(trained):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    Towers.from_state(trained[1].state(), Linear(width=6))
    assert torch.rand(1) == expected


def test_refuses_a_state_of_another_head(trained):
    state = trained[1].state()
    with pytest.raises(DataError, match="not one of"):
        Towers.from_state(state, Linear(width=7))
    with pytest.raises(DataError, match="not one of"):
        Towers.from_state(state, MLP(width=6))
    with pytest.raises(DataError, match="not one of"):
        Towers.from_state({k: v for k, v in state.items() if k != "text.head.1.bias"}, Linear(width=6))
    with pytest.raises(DataError, match="no text.mean"):
        Towers.from_state({k: v for k, v in state.items() if k != "text.mean"}, Linear(width=6))


@pytest.mark.parametrize("shape", [(3, 23), (24,), (2, 3, 24)])
def test_refuses_vectors_of_another_width(trained, shape):
    with pytest.raises(ValueError, match="trained on"):
        trained[1].media(np.zeros(shape, np.float32))
