"""What each miner picks, by hand or by a loop."""

import pytest
import torch

from tasks.miners import Hardest, Random, SemiHard, Top

SIMILARITY = torch.tensor(
    [
        [0.5, 0.9, 0.4, 0.1],
        [0.2, 0.8, 0.3, 0.7],
        [0.6, 0.7, 0.5, 0.9],
        [0.1, 0.1, 0.2, 0.9],
    ]
)
TWINS = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)


def test_the_hardest_is_the_most_similar_negative():
    assert Hardest()(SIMILARITY).tolist() == [[1], [3], [3], [2]]
    assert Hardest()(SIMILARITY, TWINS).tolist() == [[2], [3], [3], [2]]


def test_top_ranks_negatives_the_first_of_equals_first():
    assert Top(count=2)(SIMILARITY).tolist() == [[1, 2], [3, 2], [3, 1], [2, 0]]
    assert Top(count=3)(SIMILARITY, TWINS).tolist() == [[2, 3, -1], [3, 2, -1], [3, 1, 0], [2, 0, 1]]


def test_semi_hard_is_below_the_pair_or_the_easiest():
    # Row 2: every negative beats the pair, and text 0 does so by the least.
    assert SemiHard()(SIMILARITY).tolist() == [[2], [3], [0], [2]]


def test_random_draws_every_negative_about_as_often():
    counts = torch.zeros(5, 5)
    for seed in range(600):
        counts.scatter_add_(1, Random(count=2, seed=seed)(torch.zeros(5, 5)), torch.ones(5, 2))
    off = counts[~torch.eye(5, dtype=torch.bool)]
    assert counts.diagonal().sum() == 0
    assert (off - 300).abs().max() < 5 * (600 * 0.5 * 0.5) ** 0.5  # binomial: 2 of 4 negatives in 600 draws


@pytest.mark.parametrize(
    ("miner", "wrong"), [(Top, {"count": 0}), (Random, {"count": 0}), (Random, {"seed": -1})]
)
def test_refuses_parameters_out_of_range(miner, wrong):
    with pytest.raises(ValueError, match="must be"):
        miner(**wrong)
