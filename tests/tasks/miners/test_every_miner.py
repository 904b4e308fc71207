"""What every miner promises."""

import pkgutil
from urllib.parse import urlparse

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.miners
from tasks.miners import MINERS

every_miner = pytest.mark.parametrize("name", MINERS)


def batch(size: int, seed: int, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarities with ties, and which rows show the same thing."""
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.randint(-5, 6, (size, size), generator=generator) / 5
    group = torch.randint(0, groups, (size,), generator=generator)
    return similarity, group[:, None] == group


@every_miner
@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 9), seed=st.integers(0, 99), groups=st.integers(1, 9))
def test_picks_distinct_negatives_as_long_as_there_are_some(name, size, seed, groups):
    similarity, same = batch(size, seed, groups)
    picked = MINERS[name]()(similarity, same)
    assert picked.dtype == torch.int64
    assert picked.shape[0] == size
    for row, columns in enumerate(picked.tolist()):
        allowed = {column for column in range(size) if column != row and not same[row, column]}
        there = [column for column in columns if column != -1]
        assert set(there) <= allowed
        assert len(there) == len(set(there)) == min(len(columns), len(allowed))
        assert columns == there + [-1] * (len(columns) - len(there))


@every_miner
def test_equal_and_extreme_similarities_are_picked_like_others(name):
    for value in (-1.0, 0.0, 1.0):
        picked = MINERS[name]()(torch.full((6, 6), value))
        assert (picked >= 0).all()
        assert (picked != torch.arange(6)[:, None]).all()


@every_miner
def test_a_row_alone_has_no_negative(name):
    assert (MINERS[name]()(torch.ones(1, 1)) == -1).all()


@every_miner
def test_no_mask_means_only_the_diagonal_is_right(name):
    similarity, _ = batch(7, 3, 7)
    nothing = torch.zeros(7, 7, dtype=torch.bool)
    assert torch.equal(MINERS[name]()(similarity), MINERS[name]()(similarity, nothing))


@every_miner
def test_picks_the_same_again(name):
    similarity, same = batch(8, 5, 5)
    torch.manual_seed(1)
    first = MINERS[name]()(similarity, same)
    torch.manual_seed(2)
    assert torch.equal(first, MINERS[name]()(similarity, same))


@every_miner
def test_cites_a_source(name):
    source = MINERS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.miners.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in MINERS}


def test_the_list_is_sorted():
    assert list(MINERS) == sorted(MINERS)
