"""The evidential loss against a loop, and its divergence against torch's."""

import math

import pytest
import torch
from scipy.special import digamma, gammaln
from torch.distributions import Dirichlet, kl_divergence

from tasks.losses.evidential import Evidential, divergence_from_uniform, squared_error


def evidential_by_loops(similarity, label, same, *, hardest, divergence=0.1, hinge=0.8):
    """All terms of each row, both ways."""
    size, total = len(similarity), []
    for i in range(size):
        loss = 0.0
        for row in (similarity[i], [similarity[j][i] for j in range(size)]):
            row = [math.tanh(value) for value in row]
            negatives = [j for j in range(size) if j != i and not same[i][j]]
            among = [i, *negatives]
            evidence = {j: math.exp(row[j] / 0.1) for j in among}
            target = {j: label[i] if j == i else 0.0 for j in among}
            strength = sum(evidence[j] + 1 for j in among)
            for j in among:
                alpha = evidence[j] + 1
                loss += (target[j] - alpha / strength) ** 2
                loss += alpha * (strength - alpha) / (strength**2 * (strength + 1))
            off = {j: evidence[j] * (1 - target[j]) + 1 for j in among}
            mass = sum(off.values())
            kl = gammaln(mass) - gammaln(len(among)) - sum(gammaln(a) for a in off.values())
            kl += sum((a - 1) * (digamma(a) - digamma(mass)) for a in off.values())
            loss += divergence * kl
            worst = sorted((max(0.0, 0.2 + row[j] - row[i]) for j in negatives), reverse=True)[:hardest]
            loss += size * hinge * label[i] * (sum(worst) / len(worst) if worst else 0)
        total.append(loss)
    return total


@pytest.mark.parametrize("hardest", [1, 3])
@pytest.mark.parametrize("groups", [None, 4])
def test_agrees_with_a_loop(hardest, groups, make_batch):
    batch = make_batch(7, seed=6, groups=groups, spread=1.0)
    loss = Evidential(hardest=hardest, step=10**6)
    expected = evidential_by_loops(*batch.numbers(), hardest=hardest)
    found = loss(batch.similarity, label=batch.label, same=batch.same)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_divergence_is_the_one_between_dirichlets(make_batch):
    evidence = make_batch(6).similarity.exp() * 3
    everyone = torch.ones(6, 6, dtype=torch.bool)
    expected = kl_divergence(Dirichlet(evidence + 1), Dirichlet(torch.ones(6, 6, dtype=torch.float64)))
    torch.testing.assert_close(divergence_from_uniform(evidence, everyone), expected)


def test_the_squared_error_is_the_expected_one(make_batch):
    evidence, target = make_batch(4).similarity.exp() * 3, torch.eye(4, dtype=torch.float64)
    everyone = torch.ones(4, 4, dtype=torch.bool)
    torch.manual_seed(0)
    draws = Dirichlet(evidence + 1).sample((200_000,))
    expected = ((target - draws) ** 2).sum(dim=-1).mean(dim=0)
    torch.testing.assert_close(squared_error(evidence, target, everyone), expected, rtol=0.01, atol=0)


def test_the_hinge_starts_with_all_negatives_and_ends_with_the_hardest(make_batch):
    batch = make_batch(8, seed=7, spread=1.0)
    ones = [1.0] * 8
    similarity, _, same = batch.numbers()
    # H = max(8 - 0.5 * step, 2): all 7 in the beginning, 6 after 4 steps, 2 from step 12 on.
    loss = Evidential(hardest=2, anneal=0.5)
    for step, negatives in ((0, 7), (4, 6), (12, 2), (100, 2)):
        expected = evidential_by_loops(similarity, ones, same, hardest=negatives)
        found = loss.at_step(step)(batch.similarity)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_pair_taken_to_be_wrong_loses_by_any_evidence():
    loss = Evidential()
    low, high = (loss(torch.full((4, 4), value), label=torch.zeros(4)) for value in (-0.5, 0.5))
    assert (low < high).all()


def test_float32_keeps_its_decimals_where_evidence_is_strong():
    similarity = torch.full((256, 256), 0.9)
    similarity.fill_diagonal_(0.91)
    found, expected = Evidential()(similarity), Evidential()(similarity.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("wrong", [{"hardest": 0}, {"hinge": -1.0}, {"divergence": -1.0}, {"step": -1}])
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must"):
        Evidential(**wrong)
