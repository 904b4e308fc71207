"""Two trainings side by side: alike to two apart, and each by the targets it was given."""

import numpy as np
import pytest

from schemas.errors import DataError
from tasks.heads import Linear
from tasks.losses import InfoNCE, Triplet
from tasks.training._trusted import recall
from tasks.training.co_teaching import fit_two
from tasks.training.fit import Schedule, Targets, fit, row_losses

HEAD = Linear(width=8)
BRIEF = Schedule(epochs=3, batch_size=32)
COMMON = {"head": HEAD, "loss": InfoNCE()}


def same_towers(one, other) -> bool:
    return all(np.array_equal(array, other.state()[name]) for name, array in one.state().items())


def test_two_that_never_meet_are_two_trainings(make_pairs):
    pairs, _ = make_pairs(90)
    twins = fit_two(pairs, schedule=BRIEF, seeds=(3, 4), **COMMON)
    assert same_towers(twins.first, fit(pairs, schedule=BRIEF, seed=3, **COMMON))
    assert same_towers(twins.second, fit(pairs, schedule=BRIEF, seed=4, **COMMON))


def test_each_has_its_own_targets_from_the_start_and_after_an_epoch(make_pairs):
    pairs, _ = make_pairs(90)
    odd, low = (np.arange(90) % 2).astype(float), (np.arange(90) < 50).astype(float)

    def swap(epoch, first, second):
        return (Targets(weight=low), None) if epoch == 0 else (None, Targets(weight=odd))

    twins = fit_two(
        pairs,
        schedule=BRIEF,
        seeds=(3, 4),
        targets=(Targets(weight=odd), Targets(weight=low)),
        on_epoch=swap,
        **COMMON,
    )
    first = fit(
        pairs,
        schedule=BRIEF,
        seed=3,
        weight=odd,
        on_epoch=lambda epoch, _: Targets(weight=low) if epoch == 0 else None,
        **COMMON,
    )
    second = fit(
        pairs,
        schedule=BRIEF,
        seed=4,
        weight=low,
        on_epoch=lambda epoch, _: None if epoch == 0 else Targets(weight=odd),
        **COMMON,
    )
    assert same_towers(twins.first, first)
    assert same_towers(twins.second, second)


def test_a_similarity_is_the_mean_of_both(make_pairs):
    pairs, _ = make_pairs(60)
    twins = fit_two(pairs, schedule=BRIEF, seeds=(0, 1), **COMMON)
    media, text = twins.media(pairs.media_vec), twins.text(pairs.text_vec)
    assert media.dtype == text.dtype == np.float32
    expected = sum(t.media(pairs.media_vec) @ t.text(pairs.text_vec).T for t in (twins.first, twins.second))
    np.testing.assert_allclose(media @ text.T, expected / 2, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(media, axis=1), 1, atol=1e-6)


def test_stops_by_the_mean_of_both_and_returns_their_best_epoch(make_pairs):
    pairs, _ = make_pairs(60, rate=0.5)
    trusted, _ = make_pairs(50, seed=1)
    schedule = Schedule(epochs=40, batch_size=16, learning_rate=0.02, patience=2)
    states = []

    def on_epoch(epoch, first, second):
        states.append((first.state(), second.state()))
        return None, None

    twins = fit_two(pairs, schedule=schedule, seeds=(0, 1), trusted=trusted, on_epoch=on_epoch, **COMMON)
    best = len(states) - 3
    assert 0 <= best < 37
    for towers, state in zip((twins.first, twins.second), states[best], strict=True):
        assert all(np.array_equal(array, state[name]) for name, array in towers.state().items())


def test_goes_on_from_a_warm_up(make_pairs):
    pairs, _ = make_pairs(60)
    warm = fit_two(pairs, schedule=BRIEF, seeds=(0, 1), **COMMON)
    still = Schedule(epochs=1, learning_rate=1e-30)
    again = fit_two(pairs, schedule=still, seeds=(0, 1), start=warm, **COMMON)
    assert same_towers(again.first, warm.first)
    assert same_towers(again.second, warm.second)


def test_dividing_by_each_others_loss_helps_on_noisy_pairs(make_pairs):
    pairs, _ = make_pairs(600, rate=0.4)
    unseen, _ = make_pairs(200, seed=1)
    schedule = Schedule(epochs=12, batch_size=64)

    def lower_half(towers) -> Targets:
        loss = row_losses(towers, pairs, Triplet(), seed=0)
        return Targets(weight=np.where(loss < np.quantile(loss, 0.6), 1.0, 0.05))

    def co_divide(epoch, first, second):
        return lower_half(second), lower_half(first)

    common = {"schedule": schedule, "seeds": (0, 1), **COMMON}
    plain, taught = fit_two(pairs, **common), fit_two(pairs, on_epoch=co_divide, **common)
    assert recall(taught, unseen) > recall(plain, unseen) + 0.03


def test_refuses_one_seed_twice_and_nothing_to_train_on(make_pairs):
    pairs, _ = make_pairs(10)
    with pytest.raises(ValueError, match="both seeds are 1"):
        fit_two(pairs, schedule=BRIEF, seeds=(1, 1), **COMMON)
    with pytest.raises(DataError, match="nothing to train on"):
        fit_two(pairs.take(np.arange(0)), schedule=BRIEF, seeds=(0, 1), **COMMON)
