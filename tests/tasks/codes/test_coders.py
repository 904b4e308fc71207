"""Coders piece by piece: each solved block against a solver of its own, and what the whole must find."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from tasks.codes import ITQCCA, ReconstructionRelations, SemiPaired, SignOfProjection
from tasks.codes._hamming import distances
from tasks.codes._rotation import principal, quantised, random_rotation, rotation, signs
from tasks.codes.reconstruction_relations import basis, latent_rows


def clusters(pairs, alone, seed, kinds=8, dims=(30, 24), noise=1.5):
    """Media and texts of eight kinds, (SemiPaired, held-out media, held-out texts, their kinds)."""
    rng = np.random.default_rng(seed)
    centres = [rng.normal(size=(kinds, dim)) for dim in dims]

    def seen(kind, side):
        return (centres[side][kind] + noise * rng.normal(size=(len(kind), dims[side]))).astype(np.float32)

    both, held = rng.integers(kinds, size=pairs), rng.integers(kinds, size=200)
    unpaired = [seen(rng.integers(kinds, size=alone), side) for side in (0, 1)]
    return SemiPaired(seen(both, 0), seen(both, 1), *unpaired), seen(held, 0), seen(held, 1), held


def precision(codes, media, texts, kind):
    """MAP of held-out texts asking for held-out media of their kind."""
    found = distances(codes.code("text", texts), codes.code("media", media))
    hit = (kind[:, None] == kind[None])[
        np.arange(len(kind))[:, None], np.argsort(found, axis=1, kind="stable")
    ]
    at = hit.cumsum(axis=1) / np.arange(1, hit.shape[1] + 1)
    return ((at * hit).sum(axis=1) / hit.sum(axis=1)).mean()


def test_the_rotation_is_that_of_procrustes():
    rng = np.random.default_rng(0)
    values, bits = rng.normal(size=(50, 8)), signs(rng.normal(size=(50, 8)))
    np.testing.assert_allclose(rotation(values, bits), orthogonal_procrustes(values, bits)[0], atol=1e-10)


@pytest.mark.parametrize(("rows", "columns"), [(3, 8), (8, 3), (5, 5)])
def test_rotations_of_unequal_widths_are_orthonormal_on_their_short_side(rows, columns):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, rows))
    for turn in (random_rotation(rows, columns, rng), quantised(values, columns, 5, rng)):
        assert turn.shape == (rows, columns)
        short = turn @ turn.T if rows <= columns else turn.T @ turn
        np.testing.assert_allclose(short, np.eye(min(rows, columns)), atol=1e-10)


def test_more_rounds_never_cost_more():
    values = np.random.default_rng(1).normal(size=(80, 8)) * np.arange(1, 9)

    def loss(rounds):
        turn = quantised(values, 8, rounds, np.random.default_rng(0))
        return ((signs(values @ turn) - values @ turn) ** 2).sum()

    losses = [loss(rounds) for rounds in (1, 2, 5, 20)]
    assert losses == sorted(losses, reverse=True)


def test_principal_directions_are_those_of_the_svd():
    vectors = np.random.default_rng(2).normal(size=(40, 6)) * np.arange(1, 7)
    mean, directions = principal(vectors, 3)
    expected = np.linalg.svd(vectors - vectors.mean(axis=0))[2][:3].T
    np.testing.assert_allclose(np.abs(directions), np.abs(expected), atol=1e-8)
    assert (np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], 0) > 0).all()
    assert principal(np.ones((5, 3)), 3)[1].shape == (3, 0)


def test_the_basis_is_that_of_ridge_regression():
    rng = np.random.default_rng(3)
    latent, seen = rng.normal(size=(30, 4)), rng.normal(size=(30, 7))
    stacked = np.concatenate([latent, np.sqrt(0.5) * np.eye(4)])
    expected = np.linalg.lstsq(stacked, np.concatenate([seen, np.zeros((4, 7))]), rcond=None)[0]
    np.testing.assert_allclose(basis(latent, seen, 0.5), expected, atol=1e-10)


def test_latent_rows_minimise_what_they_say():
    rng = np.random.default_rng(4)
    seen = [rng.normal(size=(6, width)) for width in (7, 5)]
    bases = [rng.normal(size=(4, width)) for width in (7, 5)]
    pulls = [(0.3, rng.normal(size=(6, 4))), (2.0, rng.normal(size=(6, 4)))]
    found = latent_rows(seen, bases, pulls)
    for row in range(6):  # one least-squares system a row
        system = np.concatenate([*(base.T for base in bases), *(np.sqrt(w) * np.eye(4) for w, _ in pulls)])
        right = np.concatenate([*(side[row] for side in seen), *(np.sqrt(w) * t[row] for w, t in pulls)])
        np.testing.assert_allclose(found[row], np.linalg.lstsq(system, right, rcond=None)[0], atol=1e-10)


def test_relations_are_the_ridge_reconstruction_by_anchors_and_weigh_less_the_more_pairs_there_are():
    rng = np.random.default_rng(7)
    vectors, chosen = rng.normal(size=(50, 6)), np.array([0, 3, 5])
    side = ReconstructionRelations(relations=0.05, gamma=0.5)._side(vectors, 10, chosen)
    anchors = side.seen[chosen]
    gram = anchors @ anchors.T
    gram += 0.5 * np.diag(gram).mean() * np.eye(3)
    np.testing.assert_allclose(side.relations, side.seen[10:] @ anchors.T @ np.linalg.inv(gram), atol=1e-10)
    assert side.weight == pytest.approx(0.05 * 40 / 10)
    assert ReconstructionRelations(relations=0.05)._side(vectors, 25, chosen).weight == pytest.approx(0.05)
    assert ReconstructionRelations(relations=0.5)._side(vectors, 10, chosen).weight == 1
    np.testing.assert_allclose((side.seen**2).mean(), 1)


def test_rows_without_a_partner_add_where_pairs_are_few():
    gains = []
    for seed in range(4):
        rows, *held = clusters(24, 400, seed)
        coder = ReconstructionRelations(bits=16, seed=seed)
        with_them, without = (precision(replace(coder, unpaired=u)(rows), *held) for u in (True, False))
        gains.append(with_them - without)
    assert min(gains) > 0.05


def test_without_them_rows_are_not_read_beyond_the_principal_directions():
    rows, *_ = clusters(40, 0, 0)
    more = replace(rows, media_only=rows.media_vec.copy(), text_only=rows.text_vec.copy())
    alone, with_copies = (ReconstructionRelations(bits=8, unpaired=False)(one) for one in (rows, more))
    np.testing.assert_allclose(alone.media_map, with_copies.media_map, atol=1e-4)
    assert not np.allclose(ReconstructionRelations(bits=8)(more).media_map, alone.media_map, atol=1e-3)


@pytest.mark.parametrize("coder", [ReconstructionRelations(bits=16), ITQCCA(bits=16)])
def test_pairs_teach_more_than_directions_drawn_at_random(coder):
    rows, *held = clusters(120, 200, 1, noise=0.8)
    assert precision(coder(rows), *held) > precision(SignOfProjection(bits=16)(rows), *held) + 0.4


def test_more_bits_than_directions_are_still_codes():
    rows, *held = clusters(6, 0, 0)
    assert precision(ITQCCA(bits=64)(rows), *held) > 0.2


def test_signs_of_shared_directions_estimate_angles():
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(400, 16)).astype(np.float32)
    vectors -= vectors.mean(axis=0)
    codes = SignOfProjection(bits=4096)(SemiPaired(vectors, vectors, vectors[:0], vectors[:0]))
    np.testing.assert_array_equal(codes.media_map, codes.text_map)
    share = distances(codes.code("media", vectors[:20]), codes.code("text", vectors[20:40])) / 4096
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(share, np.arccos(unit[:20] @ unit[20:40].T) / np.pi, atol=0.04)


def test_principal_signs_begin_with_the_largest_variance():
    rng = np.random.default_rng(6)
    vectors = (rng.normal(size=(200, 12)) * np.arange(12, 0, -1)).astype(np.float32)
    codes = SignOfProjection(bits=8, directions="principal")(
        SemiPaired(vectors, vectors, vectors[:0], vectors[:0])
    )
    assert np.abs(codes.media_map[:, 0]).argmax() == 0


@pytest.mark.parametrize(
    ("coder", "wrong"),
    [
        (ReconstructionRelations, {"anchors": 0}),
        (ReconstructionRelations, {"relations": -1}),
        (ReconstructionRelations, {"ridge": 0}),
        (ITQCCA, {"ridge": 0}),
        (ITQCCA, {"rounds": 0}),
        (SignOfProjection, {"directions": "learnt"}),
    ],
)
def test_refuses_parameters_out_of_range(coder, wrong):
    with pytest.raises(ValueError, match="must be"):
        coder(**wrong)
