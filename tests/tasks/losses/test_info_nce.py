"""InfoNCE against torch's cross-entropy, and soft targets against a loop."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from tasks.losses.info_nce import InfoNCE


def soft_loss_by_loops(similarity, label, same, *, temperature, rest, smoothing):
    """The cross-entropy with a soft target, one pair at a time."""
    size, total = len(similarity), []
    for i in range(size):
        loss = 0.0
        for row in (similarity[i], [similarity[j][i] for j in range(size)]):
            negatives = [j for j in range(size) if j != i and not same[i][j]]
            among = [i, *negatives]
            mass = sum(math.exp(row[j] / temperature) for j in among)
            p = {j: math.exp(row[j] / temperature) / mass for j in among}
            target = {j: 0.0 for j in among}
            target[i] = label[i]
            for j in negatives:
                if rest == "similar":
                    target[j] = (1 - label[i]) * p[j] / sum(p[k] for k in negatives)
                elif rest == "uniform":
                    target[j] = (1 - label[i]) / len(negatives)
            kept = sum(target.values())
            for j in among:
                smooth = (1 - smoothing) * target[j] + smoothing * kept / len(among)
                loss -= smooth * math.log(p[j])
        total.append(loss)
    return total


@pytest.mark.parametrize("rest", ["similar", "uniform", "dropped"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("groups", [None, 4])
def test_agrees_with_a_loop(rest, smoothing, groups, make_batch):
    batch = make_batch(7, seed=1, groups=groups)
    loss = InfoNCE(temperature=0.2, rest=rest, smoothing=smoothing)
    expected = soft_loss_by_loops(*batch.numbers(), temperature=0.2, rest=rest, smoothing=smoothing)
    found = loss(batch.similarity, label=batch.label, same=batch.same)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_is_cross_entropy_both_ways(smoothing, make_batch):
    logits, own = make_batch(9).similarity / 0.05, torch.arange(9)
    expected = sum(
        cross_entropy(one_way, own, reduction="none", label_smoothing=smoothing)
        for one_way in (logits, logits.T)
    )
    torch.testing.assert_close(InfoNCE(smoothing=smoothing)(make_batch(9).similarity), expected)


def test_the_rest_goes_to_the_negative_that_looks_right_even_beside_a_sure_pair():
    # The pair leads by 60 units of temperature, the first negative the second by 2: in float32 both P are 0.
    similarity = torch.full((3, 3), -1.0)
    similarity.fill_diagonal_(1.0)
    similarity[0, 1] = -0.95
    loss = InfoNCE(temperature=0.025)
    found = loss(similarity, label=torch.zeros(3))[0]
    share = 1 / (1 + math.exp(-2))  # of text 1 among the negatives of medium 0
    assert found.item() == pytest.approx(share * 78 + (1 - share) * 80 + 80, rel=1e-5)


def test_no_negative_left_takes_no_rest():
    everything = torch.ones(3, 3, dtype=torch.bool)
    loss = InfoNCE()(torch.eye(3), label=torch.tensor([0.0, 0.5, 1.0]), same=everything)
    torch.testing.assert_close(loss, torch.zeros(3))


@pytest.mark.parametrize("wrong", [{"rest": "some"}, {"smoothing": 1.0}, {"smoothing": -0.1}])
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        InfoNCE(**wrong)
