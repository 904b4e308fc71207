"""The hidden layer, and the map beside it."""

import pytest
import torch
from torch.nn.functional import gelu

from tasks.heads import MLP


@pytest.mark.parametrize("residual", [False, True])
def test_is_a_hidden_layer_and_a_map_of_the_input_where_asked(residual):
    torch.manual_seed(0)
    module = MLP(width=3, hidden=7, residual=residual).build(4)
    weights = list(module.parameters())
    plain = weights.pop(0) if residual else torch.zeros(3, 4)
    into, into_bias, out, out_bias = weights
    data = torch.randn(5, 4)
    expected = gelu(data @ into.T + into_bias) @ out.T + out_bias + data @ plain.T
    torch.testing.assert_close(module(data), expected / expected.norm(dim=1, keepdim=True))


def test_refuses_a_hidden_layer_of_nothing():
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        MLP(hidden=0)
