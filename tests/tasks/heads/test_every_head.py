"""What every head promises."""

import pickle
import pkgutil
from urllib.parse import urlparse

import pytest
import torch

import tasks.heads
from schemas.errors import InvalidParameter
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.heads import HEADS

every_head = pytest.mark.parametrize("name", HEADS)


def made(name, **params):
    return build(HEADS, MethodRef(name=name, params=params))


@every_head
@pytest.mark.parametrize(("dim_in", "width"), [(20, 8), (8, 20), (1, 1), (5, 5)])
def test_gives_rows_of_unit_length_of_its_width(name, dim_in, width):
    torch.manual_seed(0)
    head = made(name, width=width)
    vectors = head.build(dim_in)(torch.randn(7, dim_in))
    assert head.width == width
    assert vectors.shape == (7, width)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(7))


@every_head
def test_takes_no_rows(name):
    assert HEADS[name]().build(6)(torch.zeros(0, 6)).shape == (0, HEADS[name]().width)


@every_head
def test_a_zero_row_leaves_value_and_gradient_finite(name):
    module = HEADS[name]().build(6)
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    vectors = module(torch.zeros(2, 6))
    vectors.sum().backward()
    assert vectors.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@every_head
def test_one_seed_of_torch_gives_one_module(name):
    modules = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        modules.append(made(name, dropout=0.5).build(6))
    data = torch.randn(50, 6)
    first, again, other = (module(data) for module in modules)  # in training: dropout too is seeded
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@every_head
def test_dropout_drops_its_share_while_training_only(name):
    torch.manual_seed(0)
    module = made(name, dropout=0.25).build(400)
    dropped = module[0](torch.ones(100, 400))
    assert sorted(set(dropped.flatten().tolist())) == [0, pytest.approx(1 / 0.75)]
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.015)
    module.eval()
    data = torch.randn(3, 400)
    assert torch.equal(module(data), module(data))
    assert torch.equal(module[0](data), data)


@every_head
def test_survives_pickling(name):
    module = made(name, dropout=0.1).build(6).eval()
    data = torch.randn(3, 6)
    assert torch.equal(pickle.loads(pickle.dumps(module))(data), module(data))


@every_head
@pytest.mark.parametrize("wrong", [{"width": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_refuses_parameters_out_of_range(name, wrong):
    with pytest.raises(InvalidParameter, match="must be"):
        made(name, **wrong)


@every_head
def test_cites_a_source(name):
    source = HEADS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.heads.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in HEADS}


def test_the_list_is_sorted():
    assert list(HEADS) == sorted(HEADS)
