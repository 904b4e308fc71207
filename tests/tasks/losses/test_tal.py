"""The triplet alignment loss against a loop."""

import math

import pytest
import torch

from tasks.losses.tal import TAL


def alignment_by_loops(similarity, label, same, *, margin, temperature):
    """The hinge of each row, both ways; weighed by its label."""
    size, total = len(similarity), []
    for i in range(size):
        loss = 0.0
        for row in (similarity[i], [similarity[j][i] for j in range(size)]):
            right = [j for j in range(size) if j == i or same[i][j]]
            wrong = [j for j in range(size) if j not in right]
            if not wrong:
                continue
            mass = sum(math.exp(row[j] / temperature) for j in right)
            pulled = sum(math.exp(row[j] / temperature) / mass * row[j] for j in right)
            pushed = temperature * math.log(sum(math.exp(row[j] / temperature) for j in wrong))
            loss += max(0.0, margin - pulled + pushed)
        total.append(label[i] * loss)
    return total


@pytest.mark.parametrize("groups", [None, 4, 1])
@pytest.mark.parametrize("temperature", [0.015, 0.2])
def test_agrees_with_a_loop(groups, temperature, make_batch):
    batch = make_batch(8, seed=8, groups=groups, spread=1.0)
    loss = TAL(margin=0.3, temperature=temperature)
    expected = alignment_by_loops(*batch.numbers(), margin=0.3, temperature=temperature)
    found = loss(batch.similarity, label=batch.label, same=batch.same)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_is_at_least_the_triplet_of_the_hardest_negative(make_batch):
    similarity = make_batch(8, seed=8, spread=1.0).similarity
    off = similarity.masked_fill(torch.eye(8, dtype=torch.bool), -2)
    hinge = sum((0.1 - similarity.diagonal() + off.amax(dim=dim)).clamp(min=0) for dim in (1, 0))
    assert (TAL()(similarity) >= hinge).all()
    torch.testing.assert_close(TAL(temperature=1e-6)(similarity), hinge, rtol=0, atol=1e-4)
