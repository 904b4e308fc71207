"""The active complementary loss against a loop."""

import math

import pytest
import torch

from tasks.losses.active_complementary import ActiveComplementary


def active_by_loops(similarity, label, same, *, temperature, beta):
    """Both terms of each row, both ways."""
    size, total = len(similarity), []
    for i in range(size):
        loss = 0.0
        for row in (similarity[i], [similarity[j][i] for j in range(size)]):
            negatives = [j for j in range(size) if j != i and not same[i][j]]
            mass = sum(math.exp(row[j] / temperature) for j in [i, *negatives])
            tan = {j: math.tan(math.exp(row[j] / temperature) / mass) for j in [i, *negatives]}
            loss -= label[i] * math.log(math.exp(row[i] / temperature) / mass)
            loss += beta * sum(tan[j] for j in negatives) / sum(tan.values()) ** (1 - label[i])
        total.append(loss)
    return total


@pytest.mark.parametrize("groups", [None, 4])
def test_agrees_with_a_loop(groups, make_batch):
    batch = make_batch(7, seed=5, groups=groups, spread=1.0)
    loss = ActiveComplementary(temperature=0.1, beta=3.0)
    expected = active_by_loops(*batch.numbers(), temperature=0.1, beta=3.0)
    found = loss(batch.similarity, label=batch.label, same=batch.same)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_pair_taken_to_be_wrong_is_not_pulled_and_costs_beta_at_most():
    # All probability lies on the negative: of the tan terms, all of it is off the pair.
    loss = ActiveComplementary()(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]), label=torch.zeros(2))
    torch.testing.assert_close(loss, torch.tensor([10.0, 10.0]))


def test_refuses_a_negative_beta():
    with pytest.raises(ValueError, match="beta not negative"):
        ActiveComplementary(beta=-1.0)
