"""Similarity distribution matching against a loop."""

import math

import pytest
import torch

from tasks.losses.sdm import SDM


def divergence_by_loops(similarity, label, same, *, temperature):
    """KL(p || q) of each row, both ways; weighed by its label."""
    size, total = len(similarity), []
    for i in range(size):
        loss = 0.0
        for row in (similarity[i], [similarity[j][i] for j in range(size)]):
            mass = sum(math.exp(value / temperature) for value in row)
            right = [j for j in range(size) if j == i or same[i][j]]
            for j in range(size):
                p = math.exp(row[j] / temperature) / mass
                q = 1 / len(right) if j in right else 0.0
                loss += p * (math.log(p) - math.log(q + 1e-8))
        total.append(label[i] * loss)
    return total


@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize("temperature", [0.02, 0.2])
def test_agrees_with_a_loop(groups, temperature, make_batch):
    batch = make_batch(7, seed=9, groups=groups)
    expected = divergence_by_loops(*batch.numbers(), temperature=temperature)
    found = SDM(temperature=temperature)(batch.similarity, label=batch.label, same=batch.same)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_is_nothing_where_probability_is_even_over_what_shows_the_same_thing():
    group = torch.tensor([0, 0, 1])
    same = group[:, None] == group
    loss = SDM()(torch.where(same, 1.0, -1.0), same=same)
    torch.testing.assert_close(loss, torch.zeros(3), rtol=0, atol=1e-6)


def test_refuses_an_epsilon_of_nothing():
    with pytest.raises(ValueError, match="must be positive"):
        SDM(epsilon=0.0)
