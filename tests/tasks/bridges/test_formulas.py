"""The maths of each bridge, against scipy, scikit-learn, drawn noise and arithmetic by hand."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation, Slerp
from sklearn.linear_model import Ridge as RidgeOracle

from schemas.errors import InvalidParameter
from schemas.recipes import MethodRef
from tasks.bridges import BRIDGES, Crossing, Rows, best_share, slerp
from tasks.bridges.mlp import MLP
from tasks.bridges.procrustes import Procrustes
from tasks.bridges.ridge import Ridge
from tasks.catalog import build


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn(n, wide, narrow, seed=0):
    rng = np.random.default_rng(seed)
    new = rng.normal(size=(n, wide)) + 0.5
    return Rows(unit(new), unit(new @ rng.normal(size=(wide, narrow)) + 0.3 * rng.normal(size=(n, narrow))))


def test_procrustes_is_scipys_between_spaces_of_one_width():
    rows = drawn(50, 6, 6)
    expected, _ = orthogonal_procrustes(rows.new.astype(np.float64), rows.old.astype(np.float64))
    crossing = Procrustes().fit(rows)
    np.testing.assert_allclose(crossing.matrix, expected, atol=1e-5)
    assert not crossing.centre.any() and not crossing.offset.any()
    np.testing.assert_allclose(crossing(rows.new), rows.new @ expected, atol=1e-5)


@pytest.mark.parametrize(("wide", "narrow"), [(9, 4), (4, 9)])
def test_procrustes_is_scipys_with_the_narrower_space_filled_up(wide, narrow):
    """Of two widths: zeros do not change which rotation is best, and what leads into or out of them is cut off."""
    rows = drawn(60, wide, narrow)
    full = max(wide, narrow)
    new, old = (
        np.pad(side.astype(np.float64), ((0, 0), (0, full - side.shape[1]))) for side in (rows.new, rows.old)
    )
    expected = orthogonal_procrustes(new, old)[0][:wide, :narrow]
    np.testing.assert_allclose(Procrustes().fit(rows).matrix, expected, atol=1e-5)


def test_centred_procrustes_is_scipys_on_what_is_left_without_the_means():
    rows = drawn(50, 6, 6)
    means = rows.new.mean(axis=0), rows.old.mean(axis=0)
    expected, _ = orthogonal_procrustes(rows.new - means[0], rows.old - means[1])
    found = Procrustes(centre=True).fit(rows)(rows.new)
    np.testing.assert_allclose(found, unit((rows.new - means[0]) @ expected + means[1]), atol=1e-5)


@pytest.mark.parametrize("centre", [True, False])
def test_ridge_is_scikit_learns_with_the_noise_in_its_penalty(centre):
    rows = drawn(80, 7, 5)
    weight = np.random.default_rng(1).uniform(0.1, 2, 80).astype(np.float32)
    weight /= weight.sum()
    oracle = RidgeOracle(alpha=0.05**2 + 1e-6, fit_intercept=centre)
    oracle.fit(rows.new.astype(np.float64), rows.old.astype(np.float64), sample_weight=weight)
    crossing = Ridge(noise=0.05, centre=centre).fit(Rows(rows.new, rows.old, weight))
    np.testing.assert_allclose(crossing.matrix, oracle.coef_.T, atol=1e-4)
    np.testing.assert_allclose(crossing(rows.new), unit(oracle.predict(rows.new)), atol=1e-4)


def test_ridge_with_noise_is_least_squares_on_many_noisy_copies():
    rows = drawn(40, 5, 3)
    rng = np.random.default_rng(2)
    copies = 4000
    seen = np.tile(rows.new, (copies, 1)) + 0.3 * rng.normal(size=(40 * copies, 5))
    expected = np.linalg.lstsq(seen, np.tile(rows.old, (copies, 1)), rcond=None)[0]
    np.testing.assert_allclose(Ridge(noise=0.3, centre=False).fit(rows).matrix, expected, atol=5e-3)


def test_an_mlp_that_has_not_learnt_is_the_ridge_bridge():
    rows = drawn(60, 7, 5)
    almost = MLP(epochs=1, learning_rate=1e-12).fit(rows)
    np.testing.assert_allclose(almost(rows.new), Ridge(noise=0.05).fit(rows)(rows.new), atol=1e-5)


def test_an_mlp_learns_what_no_linear_map_does():
    rng = np.random.default_rng(0)
    new = unit(rng.normal(size=(600, 4)))
    old = unit(np.abs(new @ rng.normal(size=(4, 6))))  # even in the input: a linear map sees nothing
    learnt, fresh = Rows(new[:500], old[:500]), (new[500:], old[500:])
    cosine = [
        float((method.fit(learnt)(fresh[0]) * fresh[1]).sum(axis=1).mean())
        for method in (Ridge(noise=0), MLP(noise=0, epochs=60, hidden=64, learning_rate=3e-3))
    ]
    assert cosine[1] > cosine[0] + 0.05


def test_an_mlp_does_not_learn_from_rows_of_no_weight():
    right = drawn(60, 7, 5)
    wrong = Rows(right.new, -right.old)
    both = Rows(
        np.tile(right.new, (2, 1)), np.concatenate([right.old, wrong.old]), np.repeat(np.float32([1, 0]), 60)
    )
    found = MLP(epochs=40, learning_rate=1e-2).fit(both)(right.new)
    assert float((found * right.old).sum(axis=1).mean()) > 0.9


def test_a_crossing_is_its_formula_row_by_row():
    rng = np.random.default_rng(5)
    shapes = {
        "matrix": (4, 3),
        "centre": (4,),
        "offset": (3,),
        "inner": (4, 6),
        "bias": (6,),
        "outer": (6, 3),
    }
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    new = rng.normal(size=(5, 4)).astype(np.float32)
    for row, found in zip(new, Crossing(**arrays)(new), strict=True):
        x = [row[i] - arrays["centre"][i] for i in range(4)]
        hidden = [
            max(0, sum(x[i] * arrays["inner"][i, h] for i in range(4)) + arrays["bias"][h]) for h in range(6)
        ]
        y = [
            sum(x[i] * arrays["matrix"][i, d] for i in range(4))
            + sum(hidden[h] * arrays["outer"][h, d] for h in range(6)) + arrays["offset"][d]
            for d in range(3)
        ]  # fmt: skip
        np.testing.assert_allclose(found, np.array(y) / np.sqrt(sum(v * v for v in y)), rtol=1e-4)


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.9, 1])
def test_slerp_is_scipys_turn_about_the_common_axis(share):
    rng = np.random.default_rng(6)
    old, aligned = unit(rng.normal(size=(8, 3))), unit(rng.normal(size=(8, 3)))
    for a, b, found in zip(old, aligned, slerp(old, aligned, share), strict=True):
        axis = np.cross(a, b)
        turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.arccos(np.dot(a, b)))
        way = Slerp([0, 1], Rotation.concatenate([Rotation.identity(), turn]))
        np.testing.assert_allclose(found, way(share).apply(a), atol=1e-5)


def test_slerp_by_hand():
    east, north = np.float32([[1, 0]]), np.float32([[0, 1]])
    np.testing.assert_allclose(slerp(east, north, 1 / 3), [[np.cos(np.pi / 6), np.sin(np.pi / 6)]], atol=1e-6)
    np.testing.assert_array_equal(slerp(east, east, 0.3), east)
    np.testing.assert_allclose(
        np.linalg.norm(slerp(east, -east, 0.5), axis=1), 1
    )  # no circle is the only one


@pytest.mark.parametrize(("share", "other"), [(-0.1, 2), (1.1, 2), (float("nan"), 2), (0.5, 3)])
def test_slerp_refuses_what_it_cannot_mix(share, other):
    with pytest.raises(ValueError, match="share|shape|both"):
        slerp(np.eye(2, dtype=np.float32), np.eye(other, dtype=np.float32)[:, :other], share)


def test_the_share_is_chosen_by_what_the_support_finds():
    gallery = unit(np.float32([[1, 0.2], [0.2, 1], [1, 1]]))
    good, bad = gallery, gallery[[1, 2, 0]]
    rows = np.arange(3)
    assert best_share(good, bad, gallery, rows) < 0.5
    assert best_share(bad, good, gallery, rows) == 1.0
    assert best_share(good, good, gallery, rows, shares=(0.0, 0.4)) == 0.4  # equals: the larger
    with pytest.raises(ValueError, match="0 shares"):
        best_share(good, bad, gallery, rows, shares=())
    with pytest.raises(ValueError, match="0 queries"):
        best_share(good[:0], bad[:0], gallery, rows[:0])


@pytest.mark.parametrize(
    ("name", "params"),
    [("ridge", {"noise": -0.1}), ("ridge", {"ridge": 0}), ("ridge", {"noise": float("nan")}), ("mlp", {"hidden": 0}),
     ("mlp", {"epochs": 0}), ("mlp", {"batch_size": 0}), ("mlp", {"learning_rate": 0}), ("mlp", {"noise": -1}),
     ("mlp", {"weight_decay": -1})],
)  # fmt: skip
def test_refuses_parameters_out_of_range(name, params):
    with pytest.raises(InvalidParameter, match=name):
        build(BRIDGES, MethodRef(name=name, params=params))
