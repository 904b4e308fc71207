"""Triplets against a loop, and the soft margins of the paper."""

import math

import pytest
import torch

from tasks.losses.triplet import Triplet


def softened(margin, label, soft):
    if soft == "linear":
        return margin * label
    if soft == "sine":
        return margin * 0.5 * (math.sin(math.pi * label - math.pi / 2) + 1)
    return margin * (10**label - 1) / 9


def triplet_by_loops(similarity, label, same, *, margin, negatives, soft):
    """The hinge of each row, both ways."""
    size, total = len(similarity), []
    for i in range(size):
        loss = 0.0
        for row in (similarity[i], [similarity[j][i] for j in range(size)]):
            rivals = [j for j in range(size) if j != i and not same[i][j]]
            violation = {j: max(0.0, softened(margin, label[i], soft) + row[j] - row[i]) for j in rivals}
            if not rivals:
                continue
            if negatives == "mean":
                loss += sum(violation.values()) / (len(rivals) + 1)
            elif negatives == "hardest":
                loss += max(violation.values())
            else:
                below = [j for j in rivals if row[j] < row[i]]
                chosen = max(below, key=row.__getitem__) if below else min(rivals, key=row.__getitem__)
                loss += violation[chosen]
        total.append(loss)
    return total


@pytest.mark.parametrize("negatives", ["mean", "hardest", "semi-hard"])
@pytest.mark.parametrize("soft", ["exponential", "linear", "sine"])
@pytest.mark.parametrize("groups", [None, 4])
def test_agrees_with_a_loop(negatives, soft, groups, make_batch):
    batch = make_batch(8, seed=2, groups=groups, spread=1.0)
    loss = Triplet(margin=0.3, negatives=negatives, soft=soft)
    expected = triplet_by_loops(*batch.numbers(), margin=0.3, negatives=negatives, soft=soft)
    found = loss(batch.similarity, label=batch.label, same=batch.same)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_mean_runs_over_the_batch_with_a_zero_diagonal():
    similarity = torch.tensor([[0.5, 0.6, 0.1], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]])
    # Row 0: texts 1 and 2 give 0.2 + 0.6 - 0.5 and nothing, over 3. Medium 0 as an answer gives nothing.
    assert Triplet()(similarity)[0].item() == pytest.approx(0.3 / 3)


@pytest.mark.parametrize("soft", ["exponential", "linear", "sine"])
def test_the_margin_runs_from_nothing_to_all(soft):
    equal = torch.zeros(3, 3)  # the hinge is the margin
    loss = Triplet(negatives="hardest", soft=soft)(equal, label=torch.tensor([0.0, 0.5, 1.0]))
    half = {"exponential": (10**0.5 - 1) / 9, "linear": 0.5, "sine": 0.5}[soft]
    torch.testing.assert_close(loss, 2 * 0.2 * torch.tensor([0.0, half, 1.0]))


@pytest.mark.parametrize("wrong", [{"negatives": "all"}, {"soft": "cubic"}])
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Triplet(**wrong)
