"""The training loop: one step by hand, what it reads, when it stops, and that one seed is one result."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from schemas.batch import PairBatch
from schemas.errors import DataError
from tasks.heads import MLP, Linear
from tasks.losses import LOSSES, Evidential, InfoNCE
from tasks.training._trusted import margin, recall
from tasks.training.fit import Schedule, Targets, Towers, fit

HEAD = Linear(width=8)
BRIEF = Schedule(epochs=3, batch_size=32)


def same_towers(one: Towers, other: Towers) -> bool:
    return all(np.array_equal(array, other.state()[name]) for name, array in one.state().items())


@dataclass(frozen=True)
class Watched:
    """InfoNCE that notes what it was called with."""

    calls: list = field(default_factory=list)

    def __call__(self, similarity, *, label=None, same=None):
        self.calls.append((label, same))
        return InfoNCE()(similarity, label=label, same=same)


def start_of(pairs: PairBatch, seed: int) -> Towers:
    """The towers before the first step: a learning rate of nearly nothing moves nothing."""
    still = Schedule(epochs=1, batch_size=len(pairs), learning_rate=1e-30)
    return fit(pairs, head=HEAD, loss=InfoNCE(), schedule=still, seed=seed)


def adamw_by_hand(pairs, start, weight, *, steps, rate, decay, clip_norm):
    """The heads after some steps on all pairs at once, in float64."""
    learnt = {name: torch.from_numpy(array).double() for name, array in start.items() if ".head." in name}
    first, second = ({name: 0.0 for name in learnt} for _ in range(2))
    for step in range(1, steps + 1):
        learnt = {name: tensor.detach().requires_grad_() for name, tensor in learnt.items()}
        sides = {}
        for side, vectors in (("media", pairs.media_vec), ("text", pairs.text_vec)):
            x = torch.from_numpy((vectors - vectors.mean(axis=0)) / vectors.std(axis=0)).double()
            sides[side] = normalize(x @ learnt[f"{side}.head.1.weight"].T + learnt[f"{side}.head.1.bias"])
        logits, own = sides["media"] @ sides["text"].T / 0.05, torch.arange(len(pairs))
        rows = sum(cross_entropy(one_way, own, reduction="none") for one_way in (logits, logits.T))
        (torch.from_numpy(weight / weight.sum()) * rows).sum().backward()
        norm = float(sum((tensor.grad**2).sum() for tensor in learnt.values()) ** 0.5)
        scale = min(1.0, clip_norm / norm)
        moved = {}
        for name, tensor in learnt.items():
            gradient = scale * tensor.grad
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            stride = first[name] / (1 - 0.9**step) / ((second[name] / (1 - 0.999**step)) ** 0.5 + 1e-8)
            moved[name] = tensor.detach() * (1 - rate * decay) - rate * stride
        learnt = moved
    return learnt


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_steps_are_adamw_on_the_weighted_mean_of_row_losses(clip_norm, make_pairs):
    pairs, _ = make_pairs(40)
    weight = np.linspace(0.1, 2, 40)
    schedule = Schedule(epochs=6, batch_size=40, learning_rate=0.02, weight_decay=0.1, clip_norm=clip_norm)
    found = fit(pairs, head=HEAD, loss=InfoNCE(), schedule=schedule, seed=4, weight=weight).state()
    start = start_of(pairs, 4).state()
    clipped, free = (
        adamw_by_hand(pairs, start, weight, steps=6, rate=0.02, decay=0.1, clip_norm=norm)
        for norm in (1.0, np.inf)
    )
    for name, expected in (free if clip_norm is None else clipped).items():
        np.testing.assert_allclose(found[name], expected, atol=2e-4)
    name = "media.head.1.weight"
    assert (clipped[name] - free[name]).abs().max() > 2e-3  # so clipping can be seen


def test_the_sides_start_unlike(make_pairs):
    pairs, _ = make_pairs(40)
    square = PairBatch(pairs.media_vec, pairs.media_vec)
    state = start_of(square, 0).state()
    assert not np.allclose(state["media.head.1.weight"], state["text.head.1.weight"])


@pytest.mark.parametrize("head", [HEAD, Linear(width=8, dropout=0.3), MLP(width=8, hidden=16, dropout=0.1)])
def test_one_seed_is_one_result_also_beside_other_trainings(head, make_pairs):
    pairs, _ = make_pairs(150)

    def train(seed: int) -> Towers:
        return fit(pairs, head=head, loss=InfoNCE(), schedule=BRIEF, seed=seed)

    torch.manual_seed(1)
    alone = [train(seed) for seed in (0, 1, 2)]
    torch.manual_seed(2)
    with ThreadPoolExecutor(3) as pool:
        beside = list(pool.map(train, (0, 1, 2)))
    assert all(same_towers(one, other) for one, other in zip(alone, beside, strict=True))
    assert not same_towers(alone[0], alone[1])


def test_leaves_torchs_generator_alone(make_pairs):
    pairs, _ = make_pairs(40)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(pairs, head=Linear(width=4, dropout=0.2), loss=InfoNCE(), schedule=BRIEF, seed=0)
    assert torch.rand(1) == expected


def test_reads_no_vector_of_other_rows(make_pairs):
    pairs, _ = make_pairs(90)
    rows = np.arange(0, 90, 2)
    media, text = pairs.media_vec.copy(), pairs.text_vec.copy()
    media[1::2] = text[1::2] = np.nan
    holes = replace(pairs, media_vec=media, text_vec=text)
    common = {"head": HEAD, "loss": InfoNCE(), "schedule": BRIEF, "seed": 0}
    expected = fit(pairs, rows=rows, **common)
    assert same_towers(fit(holes, rows=rows, **common), expected)
    assert same_towers(fit(pairs.take(rows), **common), expected)


def test_a_weight_of_0_skips_a_row(make_pairs):
    pairs, _ = make_pairs(90)
    weight = (np.arange(90) % 3 > 0).astype(np.float32)
    common = {"head": HEAD, "loss": InfoNCE(), "schedule": BRIEF, "seed": 0}
    weighed, picked = fit(pairs, weight=weight, **common), fit(pairs, rows=np.flatnonzero(weight), **common)
    for name, array in picked.state().items():
        np.testing.assert_allclose(weighed.state()[name], array, atol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 2.0, 1e-40, 1e38])
def test_weights_count_by_their_ratio(factor, make_pairs):
    pairs, _ = make_pairs(60)
    weight = np.where(np.arange(60) % 2, 1.0, 0.25)
    common = {"head": HEAD, "loss": InfoNCE(), "schedule": BRIEF, "seed": 0}
    one, other = (fit(pairs, weight=weight * by, **common).state() for by in (1, factor))
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], atol=1e-6)


def test_losses_learn_which_rows_of_a_batch_show_the_same(make_pairs):
    pairs, _ = make_pairs(30)
    group = np.arange(30) // 3
    loss = Watched()
    fit(replace(pairs, group=group), head=HEAD, loss=loss, schedule=Schedule(epochs=1, batch_size=10), seed=0)
    rng = np.random.default_rng(0)
    order = rng.permutation(30)
    assert len(loss.calls) == 3
    for number, (label, same) in enumerate(loss.calls):
        batch = order[10 * number : 10 * number + 10]
        np.testing.assert_array_equal(same.numpy(), group[batch][:, None] == group[batch])
        assert label is None


def test_labels_follow_their_rows_and_may_change_after_an_epoch(make_pairs):
    pairs, _ = make_pairs(30)
    first, second = np.arange(30) / 30, np.arange(30) / 60
    loss, seen = Watched(), []

    def on_epoch(epoch, towers):
        seen.append((epoch, towers.media(pairs.media_vec)))
        return Targets(weight=(np.arange(30) < 20).astype(float), label=second) if epoch == 1 else None

    found = fit(
        pairs,
        head=HEAD,
        loss=loss,
        schedule=Schedule(epochs=4, batch_size=64),
        seed=0,
        label=first,
        on_epoch=on_epoch,
    )
    labels = [sorted(label.tolist()) for label, _ in loss.calls]
    assert labels == [pytest.approx(first)] * 2 + [pytest.approx(second[:20])] * 2
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    assert not np.allclose(seen[0][1], seen[1][1])  # it sees the towers as they are
    np.testing.assert_array_equal(seen[3][1], found.media(pairs.media_vec))


def test_an_annealed_loss_is_told_the_steps_done(make_pairs):
    @dataclass(frozen=True)
    class Stepped(Evidential):
        told: list = field(default_factory=list)

        def at_step(self, step):
            self.told.append(step)
            return super().at_step(step)

    pairs, _ = make_pairs(40)
    loss = Stepped()
    fit(pairs, head=HEAD, loss=loss, schedule=Schedule(epochs=2, batch_size=10), seed=0)
    assert loss.told == list(range(8))


@pytest.mark.parametrize(("select", "score"), [("recall", recall), ("margin", margin)])
def test_stops_when_trusted_pairs_get_no_better_and_returns_the_best_epoch(select, score, make_pairs):
    pairs, _ = make_pairs(60, rate=0.5)
    trusted, _ = make_pairs(50, seed=1)
    schedule = Schedule(epochs=40, batch_size=16, learning_rate=0.02, patience=2, select=select)
    scores, states = [], []

    def on_epoch(epoch, towers):
        scores.append(score(towers, trusted))
        states.append(towers.state())

    found = fit(
        pairs, head=HEAD, loss=InfoNCE(), schedule=schedule, seed=0, trusted=trusted, on_epoch=on_epoch
    )
    best = int(np.argmax(scores))  # the first of equals
    assert len(scores) == best + 1 + 2 < 40
    for name, array in found.state().items():
        np.testing.assert_array_equal(array, states[best][name])
    assert any(not np.array_equal(states[best][name], states[-1][name]) for name in states[best])


def test_without_trusted_pairs_all_epochs_are_trained(make_pairs):
    epochs = []
    fit(
        make_pairs(30)[0],
        head=HEAD,
        loss=InfoNCE(),
        schedule=Schedule(epochs=9, patience=1),
        seed=0,
        on_epoch=lambda epoch, towers: epochs.append(epoch),
    )
    assert epochs == list(range(9))


def test_goes_on_from_towers_without_touching_them(make_pairs):
    pairs, _ = make_pairs(80)
    common = {"head": HEAD, "loss": InfoNCE(), "seed": 0}
    warm = fit(pairs.take(np.arange(40)), schedule=BRIEF, **common)
    before = warm.state()
    still = replace(BRIEF, learning_rate=1e-30)
    assert same_towers(fit(pairs, schedule=still, start=warm, **common), warm)  # scale included
    assert not same_towers(fit(pairs, schedule=BRIEF, start=warm, **common), warm)
    assert all(np.array_equal(array, before[name]) for name, array in warm.state().items())


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_learns_to_find_pairs_it_has_not_seen(name, make_pairs):
    pairs, _ = make_pairs(600)
    unseen, _ = make_pairs(100, seed=1)
    # Cosines of so few dimensions spread wide; at a low temperature all P lies on single negatives.
    loss = LOSSES[name](temperature=0.2) if name == "complementary" else LOSSES[name]()
    found = fit(pairs, head=Linear(width=16), loss=loss, schedule=Schedule(batch_size=64), seed=0)
    assert recall(found, unseen) > 0.3  # chance: 0.01


def test_weights_that_know_the_noise_help(make_pairs):
    pairs, clean = make_pairs(500, rate=0.6)
    unseen, _ = make_pairs(200, seed=1)
    common = {"head": HEAD, "loss": InfoNCE(), "schedule": Schedule(batch_size=64), "seed": 0}
    everything = recall(fit(pairs, **common), unseen)
    weighed = recall(fit(pairs, weight=np.where(clean, 1.0, 0.05), **common), unseen)
    assert weighed > everything + 0.1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_takes_very_few_pairs(n, make_pairs):
    pairs = make_pairs(5)[0].take(np.arange(n))
    found = fit(pairs, head=HEAD, loss=InfoNCE(), schedule=BRIEF, seed=0)
    assert np.isfinite(found.media(pairs.media_vec)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_equal_vectors_and_entries_that_never_move_leave_all_finite(name):
    vectors = np.tile(np.float32([0.6, 0.8, 0]), (20, 1))
    found = fit(PairBatch(vectors, vectors), head=HEAD, loss=LOSSES[name](), schedule=BRIEF, seed=0)
    assert np.isfinite(found.media(vectors)).all()
    assert np.isfinite(found.media(np.float32([[0, 0, 1]]))).all()


def test_an_entry_that_hardly_moved_in_training_does_not_take_over_later(make_pairs):
    pairs, _ = make_pairs(100)
    media = pairs.media_vec.copy()
    media[:, 0] = 1e-9 * np.arange(100)
    towers = fit(replace(pairs, media_vec=media), head=HEAD, loss=InfoNCE(), schedule=BRIEF, seed=0)
    spread = media[:, 1:].std(axis=0)
    assert towers.media_tower.scale[0] > 0.005 * spread.mean()
    np.testing.assert_allclose(towers.media_tower.scale[1:], spread, rtol=1e-4)


def test_refuses_nothing_to_train_on(make_pairs):
    pairs, _ = make_pairs(10)
    common = {"head": HEAD, "loss": InfoNCE(), "schedule": BRIEF, "seed": 0}
    with pytest.raises(DataError, match="nothing to train on"):
        fit(pairs.take(np.arange(0)), **common)
    with pytest.raises(DataError, match="nothing to train on"):
        fit(pairs, weight=np.zeros(10), **common)
    with pytest.raises(DataError, match="nothing to train on"):
        fit(pairs, on_epoch=lambda epoch, towers: Targets(weight=np.zeros(10)), **common)
    with pytest.raises(DataError, match="trusted pairs are empty"):
        fit(pairs, trusted=pairs.take(np.arange(0)), **common)


@pytest.mark.parametrize("side", ["media_vec", "text_vec"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_vectors_that_are_not_finite(side, value, make_pairs):
    pairs, _ = make_pairs(10)
    broken = getattr(pairs, side).copy()
    broken[7, 0] = value
    with pytest.raises(DataError, match=f"{side[:5].rstrip('_')} vectors are not finite, first in row 7"):
        fit(replace(pairs, **{side: broken}), head=HEAD, loss=InfoNCE(), schedule=BRIEF, seed=0)


@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["weight", "label"])
def test_refuses_weights_and_labels_out_of_range(name, wrong, make_pairs):
    values = np.ones(10)
    values[3] = wrong
    common = {"head": HEAD, "loss": InfoNCE(), "schedule": BRIEF, "seed": 0}
    with pytest.raises(DataError, match=f"{name} of pair 3 is"):
        fit(make_pairs(10)[0], **{name: values}, **common)
    with pytest.raises(ValueError, match="there are 10 pairs"):
        fit(make_pairs(10)[0], **{name: np.ones(9)}, **common)


def test_refuses_labels_over_1(make_pairs):
    with pytest.raises(DataError, match="label of pair 0 is 2"):
        fit(make_pairs(10)[0], head=HEAD, loss=InfoNCE(), schedule=BRIEF, seed=0, label=np.full(10, 2.0))


@pytest.mark.parametrize("rows", [[0, 10], [-1], [1, 1], [0.5], [[1, 2]], [True] * 10])
def test_refuses_rows_that_are_not_rows(rows, make_pairs):
    with pytest.raises(ValueError, match="rows must be"):
        fit(make_pairs(10)[0], head=HEAD, loss=InfoNCE(), schedule=BRIEF, seed=0, rows=np.array(rows))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"clip_norm": 0.0},
        {"select": "loss"},
    ],
)
def test_refuses_schedules_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Schedule(**wrong)
