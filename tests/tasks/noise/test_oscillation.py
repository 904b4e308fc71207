"""Pseudo-classes and how they move: against scipy and loops; what the published signal is worth here."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr
from sklearn.metrics import roc_auc_score

from tasks.noise._trained import for_heads
from tasks.noise.oscillation import Oscillation, _Predictions, divergence, pseudo_class_loss, rectified


def logits(seed: int, shape: tuple[int, int] = (6, 4)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape) * 2


def test_divergence_is_that_of_scipy():
    now, before = (log_softmax(logits(seed), axis=1) for seed in range(2))
    np.testing.assert_allclose(divergence(now, before), rel_entr(np.exp(now), np.exp(before)).sum(axis=1))


def test_what_did_not_change_did_not_oscillate():
    now = log_softmax(logits(0), axis=1)
    np.testing.assert_array_equal(divergence(now, now), 0)


def test_between_sides_each_half_is_compared_with_what_the_other_was():
    p = [log_softmax(logits(seed), axis=1) for seed in range(4)]
    now, before = _Predictions(p[0], p[1]), _Predictions(p[2], p[3])
    sides, epochs = (Oscillation(between=b)._oscillation(now, before) for b in ("sides", "epochs"))
    q = np.exp(p)
    np.testing.assert_allclose(sides, (rel_entr(q[0], q[3]) + rel_entr(q[1], q[2])).sum(axis=1))
    np.testing.assert_allclose(epochs, rel_entr(q[0], q[2]).sum(axis=1))


@pytest.mark.parametrize("entropy", ["batch", "sample"])
def test_the_loss_is_that_of_loops(entropy):
    media, text = logits(1), logits(2)
    p = np.exp(log_softmax(media, axis=1))
    cross = -np.mean([np.log(p[i, np.argmax(text[i])]) for i in range(6)])
    if entropy == "sample":
        spread = np.mean([-sum(q * np.log(q) for q in row) for row in p])
    else:
        spread = -sum(q * np.log(q) for q in p.mean(axis=0))
    found = pseudo_class_loss(torch.tensor(media), torch.tensor(text), entropy=entropy, entropy_weight=1.5)
    assert found.item() == pytest.approx(cross - 1.5 * spread)


def test_texts_are_targets_only():
    media, text = (torch.tensor(logits(seed), requires_grad=True) for seed in (1, 2))
    pseudo_class_loss(media, text, entropy="batch", entropy_weight=1.0).backward()
    assert text.grad is None
    assert media.grad.abs().sum() > 0


def test_settled_pairs_gain_only_where_the_loss_is_low():
    clean = np.array([0.9, 0.9, 0.6, 0.4, 0.4])
    settled = np.array([0.8, 0.4, 1.0, 0.9, 0.1])
    np.testing.assert_allclose(rectified(clean, settled), [0.98, 0.9, 1.0, 0.4, 0.4])


def test_classes_become_neither_one_nor_uniform_with_the_entropy_of_the_mean(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(400, rate=0.3, seed=0)
    _, now, _ = Oscillation(classes=16)._trained(for_heads(pairs, 64, seed=0))
    p = np.exp(now.media)
    assert len(np.unique(p.argmax(axis=1))) > 8
    assert np.bincount(p.argmax(axis=1)).max() < 200
    assert p.max(axis=1).mean() > 2 / 16


def test_without_entropy_classes_become_few(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(400, rate=0.3, seed=0)
    _, now, _ = Oscillation(classes=16, entropy_weight=0.0)._trained(for_heads(pairs, 64, seed=0))
    assert len(np.unique(now.media.argmax(axis=1))) < 6


def test_only_the_oscillation_between_sides_tells_pairs_apart(make_noisy_pairs):
    aurocs: dict[str, list[float]] = {"sides": [], "epochs": []}
    for seed in range(3):
        pairs, clean = make_noisy_pairs(400, rate=0.4, seed=seed)
        for between, found in aurocs.items():
            method = Oscillation(between=between)
            _, now, before = method._trained(for_heads(pairs, 64, seed=0))
            found.append(roc_auc_score(clean, -method._oscillation(now, before)))
    assert min(aurocs["sides"]) > 0.8
    assert 0.4 < np.mean(aurocs["epochs"]) < 0.6


@pytest.mark.parametrize(("rate", "floor"), [(0.2, 0.85), (0.4, 0.8), (0.6, 0.65)])
def test_finds_injected_noise(rate, floor, make_noisy_pairs):
    for seed in range(2):
        pairs, clean = make_noisy_pairs(400, rate=rate, seed=seed, noise=1.5)
        assert roc_auc_score(clean, Oscillation()(pairs)) > floor


def test_cannot_tell_below_sixteen_groups(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    np.testing.assert_array_equal(Oscillation()(replace(pairs, group=np.arange(60) % 15)), 0.5)
    assert Oscillation()(replace(pairs, group=np.arange(60) % 16)).std() > 0


def test_leaves_the_generator_of_torch_as_it_was(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.2, seed=3)
    before = torch.get_rng_state()
    Oscillation(epochs=2)(pairs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 1},
        {"classes": 1},
        {"batch_size": 1},
        {"components": 0},
        {"entropy_weight": -1.0},
        {"entropy": "none"},
        {"between": "pairs"},
        {"margin": 0.0},
        {"learning_rate": 0.0},
        {"seed": -1},
    ],
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Oscillation(**wrong)
