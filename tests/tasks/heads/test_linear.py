"""The linear head is a matrix, and starts by keeping angles."""

import pytest
import torch

from tasks.heads import Linear


def test_is_a_matrix_a_bias_and_unit_length():
    torch.manual_seed(0)
    module = Linear(width=3, init="default").build(4)
    weight, bias = module.parameters()
    data = torch.randn(5, 4)
    projected = data @ weight.T + bias
    torch.testing.assert_close(module(data), projected / projected.norm(dim=1, keepdim=True))


def test_starts_orthogonal_so_angles_stay():
    torch.manual_seed(0)
    data = torch.nn.functional.normalize(torch.randn(6, 10), dim=1)
    mapped = Linear(width=10).build(10)(data)
    torch.testing.assert_close(mapped @ mapped.T, data @ data.T)
    weight = Linear(width=4).build(10)[1].weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(4), rtol=0, atol=1e-6)


def test_the_default_start_is_torchs_own():
    torch.manual_seed(3)
    expected = torch.nn.Linear(6, 4).weight
    torch.manual_seed(3)
    assert torch.equal(Linear(width=4, init="default").build(6)[1].weight, expected)


def test_refuses_an_unknown_start():
    with pytest.raises(ValueError, match="orthogonal or default"):
        Linear(init="zeros")
