"""Complementary penalties against a loop, and where P rounds to 1."""

import math

import pytest
import torch

from tasks.losses.complementary import Complementary

PENALTIES = {
    "log": lambda p: -math.log(1 - p),
    "tan": math.tan,
    "mae": lambda p: p,
    "exp": lambda p: math.exp(-(1 - p)),
    "gce": lambda p: (1 - (1 - p) ** 0.7) / 0.7,
}


def complementary_by_loops(similarity, same, *, temperature, penalty):
    """The penalty of every negative of each row, both ways."""
    size, total = len(similarity), []
    for i in range(size):
        loss = 0.0
        for row in (similarity[i], [similarity[j][i] for j in range(size)]):
            negatives = [j for j in range(size) if j != i and not same[i][j]]
            mass = sum(math.exp(row[j] / temperature) for j in [i, *negatives])
            loss += sum(penalty(math.exp(row[j] / temperature) / mass) for j in negatives)
        total.append(loss)
    return total


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("groups", [None, 4])
def test_agrees_with_a_loop(penalty, groups, make_batch):
    batch = make_batch(7, seed=4, groups=groups, spread=1.0)
    similarity, _, same = batch.numbers()
    loss = Complementary(temperature=0.1, penalty=penalty, q=0.7)
    expected = complementary_by_loops(similarity, same, temperature=0.1, penalty=PENALTIES[penalty])
    found = loss(batch.similarity, same=batch.same)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("groups", [None, 3])
def test_labels_play_no_part(groups, make_batch):
    batch = make_batch(6, groups=groups)
    loss = Complementary()
    torch.testing.assert_close(loss(batch.similarity, label=batch.label), loss(batch.similarity))


def test_a_negative_that_wins_outright_costs_its_lead_in_units_of_temperature():
    # 1 - P is exp(-40) in float32: P rounds to 1, and -log(1 - P) is 40 all the same, each way.
    similarity = torch.tensor([[-1.0, 1.0], [1.0, -1.0]], requires_grad=True)
    loss = Complementary(temperature=0.05)(similarity)
    torch.testing.assert_close(loss, torch.tensor([80.0, 80.0]))
    loss.sum().backward()
    torch.testing.assert_close(similarity.grad, torch.tensor([[-40.0, 40.0], [40.0, -40.0]]))


def test_gce_with_q_1_is_mae_and_with_a_tiny_q_log(make_batch):
    similarity = make_batch(6).similarity
    torch.testing.assert_close(
        Complementary(penalty="gce", q=1.0)(similarity), Complementary(penalty="mae")(similarity)
    )
    torch.testing.assert_close(
        Complementary(penalty="gce", q=1e-7)(similarity),
        Complementary(penalty="log")(similarity),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("wrong", [{"penalty": "sin"}, {"q": 0.0}, {"q": 1.5}])
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Complementary(**wrong)
