"""Gap, alignment, uniformity and degeneration, against arithmetic, loops and torch."""

import itertools

import numpy as np
import pytest

from tasks.diagnostics.alignment import Alignment
from tasks.diagnostics.degeneration import Degeneration
from tasks.diagnostics.modality_gap import ModalityGap
from tasks.diagnostics.uniformity import Uniformity
from tasks.similarities import _bank
from tests.tasks.similarities.conftest import unit

AXES = np.eye(4, dtype=np.float32)


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(3)
    return unit(rng.normal(size=(23, 6)) + 0.5), unit(rng.normal(size=(23, 6)))


def test_the_gap_is_the_distance_of_the_means():
    # Means (1/2, 1/2, 0, 0) and (0, 0, 1/2, 1/2): each of four coordinates is 1/2 away.
    assert ModalityGap()(AXES[:2], AXES[2:])["gap"] == pytest.approx(1)
    assert ModalityGap()(AXES[:1], -AXES[:1])["gap"] == pytest.approx(2)
    assert ModalityGap()(AXES, AXES[::-1])["gap"] == 0


def test_alignment_is_the_mean_squared_distance_of_pairs():
    # Equal: 0. At a right angle: 2. Opposite: 4.
    text = np.stack([AXES[0], AXES[2], -AXES[2]])
    assert Alignment()(AXES[:3], text)["alignment"] == pytest.approx((0 + 2 + 4) / 3)
    assert Alignment(power=1)(AXES[:3], text)["alignment"] == pytest.approx((2**0.5 + 2) / 3)


@pytest.mark.parametrize("entries", [1, 50, 1 << 22])
def test_uniformity_is_the_logarithm_of_the_mean_potential(entries, sides, monkeypatch):
    monkeypatch.setattr(_bank, "ENTRIES", entries)
    for name, side in zip(("media", "text"), sides, strict=True):
        potentials = [
            np.exp(-3 * np.linalg.norm(side[i].astype(float) - side[j].astype(float)) ** 2)
            for i, j in itertools.combinations(range(len(side)), 2)
        ]
        assert Uniformity(t=3)(*sides)[name] == pytest.approx(np.log(np.mean(potentials)), abs=1e-5)


def test_uniformity_is_what_torch_makes_of_the_published_formula(sides):
    import torch

    expected = torch.pdist(torch.from_numpy(sides[0])).pow(2).mul(-2).exp().mean().log().item()
    assert Uniformity()(*sides)["media"] == pytest.approx(expected, abs=1e-5)


def test_uniformity_of_one_point_is_0_and_of_two_poles_minus_4_t():
    assert Uniformity()(np.repeat(AXES[:1], 5, axis=0), AXES)["media"] == pytest.approx(0)
    assert Uniformity()(np.stack([AXES[0], -AXES[0]]), AXES)["media"] == pytest.approx(-8)
    assert Uniformity(t=1e4)(np.stack([AXES[0], -AXES[0]]), AXES)["media"] == pytest.approx(-4e4)


@pytest.mark.parametrize("entries", [1, 50, 1 << 22])
def test_degeneration_is_the_mean_cosine_of_nearest_neighbours(entries, sides, monkeypatch):
    monkeypatch.setattr(_bank, "ENTRIES", entries)
    for name, side in zip(("media", "text"), sides, strict=True):
        nearest = [max(float(a @ b) for j, b in enumerate(side) if j != i) for i, a in enumerate(side)]
        assert Degeneration()(*sides)[name] == pytest.approx(np.mean(nearest), abs=1e-6)


def test_degeneration_counts_duplicates_as_neighbours():
    assert Degeneration()(np.concatenate([AXES, AXES]), AXES) == {"media": 1.0, "text": 0.0}


def test_large_corpora_are_sampled_by_seed(sides):
    some, again, other = (
        Uniformity(most=10, seed=0)(*sides),
        Uniformity(most=10, seed=0)(*sides),
        Uniformity(most=10, seed=1)(*sides),
    )
    assert some == again != other
    nearest = [max(float(a @ b) for j, b in enumerate(sides[0]) if j != i) for i, a in enumerate(sides[0])]
    rows = np.sort(np.random.default_rng(0).choice(23, 10, replace=False))
    expected = np.mean([nearest[row] for row in rows])  # neighbours are looked for among all
    assert Degeneration(most=10)(*sides)["media"] == pytest.approx(expected, abs=1e-6)


def test_refuses_parameters_out_of_range():
    for wrong in (
        lambda: Alignment(0),
        lambda: Uniformity(t=0),
        lambda: Uniformity(most=1),
        lambda: Degeneration(0),
    ):
        with pytest.raises(ValueError, match="must be"):
            wrong()
