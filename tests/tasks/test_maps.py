"""A map keeps neighbours together, says what it shows, and is the same each time."""

import numpy as np
import pytest

from storage import checkpoints, maps
from storage import lake as lakes
from storage.versions import Snapshot
from tasks.maps import flattened


def clusters(rng, of=40, dim=32):
    """Three groups of unit vectors that point three ways."""
    centres = np.linalg.qr(rng.normal(size=(dim, 3)))[0].T
    found = np.repeat(centres, of, axis=0) + rng.normal(scale=0.05, size=(3 * of, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_what_is_alike_lies_together():
    points = flattened(clusters(np.random.default_rng(0)), seed=0)
    assert points.shape == (120, 2) and points.dtype == np.float32 and np.abs(points).max() == 1
    group = np.repeat(np.arange(3), 40)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(120) * 9
    nearest = np.argsort(distance, axis=1)[:, :5]
    assert (group[nearest] == group[:, None]).mean() > 0.99


def test_the_same_seed_draws_the_same_map():
    vectors = clusters(np.random.default_rng(1), of=12)
    assert np.array_equal(flattened(vectors, seed=3), flattened(vectors, seed=3))


@pytest.fixture
def snapshots():
    return [Snapshot(f"s00000{n}", "", f"{n}" * 32, {}, {}, {}, "", f"run{n}", None) for n in (1, 2)]


def test_the_map_of_the_newest_snapshot_is_shown(lake_dir, snapshots):
    lake = lakes.open(lake_dir)
    assert maps.newest(lake) is None
    ids = [f"{n:064x}" for n in (7, 2**200, 9)]
    about = {"recipe": {"name": "pacmap"}, "seed": 0, "table": "embeddings_x", "of": 3, "run_id": "r"}
    for snapshot, x in zip(reversed(snapshots), (0.5, 0.1), strict=True):
        maps.keep(lake, snapshot, ids, np.full((3, 2), x, np.float32), about)
    found = maps.newest(lake)
    assert (found.media_ids, found.meta["snapshot_id"], float(found.points[0, 0])) == (ids, "s000002", 0.5)
    assert len(checkpoints.checkpoints(lake)) == 2
