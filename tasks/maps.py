"""Maps: where media lie in an encoder's space, brought down to two dimensions so that neighbours stay neighbours."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from storage import maps
from storage.lake import Lake
from storage.matrix import vectors_of
from storage.search import encoder_table

FEWEST = 10  # points; fewer have no shape
WIDTH = 50  # dimensions kept before neighbours are looked for


@dataclass(frozen=True)
class Drawn:
    """A map that was drawn.

    Args:
        id: Of its checkpoint.
        snapshot_id: What it shows.
        table: Whose vectors.
        points: Media on it.
        of: Media there are; more than `points` where a sample was taken.
    """

    id: str
    snapshot_id: str
    table: str
    points: int
    of: int


def draw(
    lake: Lake,
    *,
    at: str | None = None,
    encoder: str | None = None,
    most: int = 10_000,
    seed: int = 0,
    run_id: str = "",
) -> Drawn:
    """Draw the kept media of a snapshot and keep the map in the lake.

    Args:
        lake: The lake.
        at: Snapshot id, tag or digest; newest by default.
        encoder: Encoder, where the lake has several.
        most: Draw a sample of so many where there are more.
        seed: Of the sample and the map.
        run_id: Who draws.

    Raises:
        DataError: There are too few media, or none.
    """
    snapshot = lake.snapshot(at) if at else lake.head()
    if snapshot is None:
        raise DataError(f"{lake.uri} is empty: run `xmodal curate` first")
    table = encoder_table(lake, snapshot, encoder).table
    vectors = vectors_of(lake.dataset(table, snapshot), "media")
    kept = lake.dataset("media", snapshot).to_table(
        columns=["media_id"], filter="present AND kept IS NOT FALSE"
    )
    wanted = set(kept["media_id"].to_pylist())
    ids = vectors.ids.to_pylist()
    rows = np.array([row for row, one in enumerate(ids) if one in wanted], np.int64)
    if len(rows) < FEWEST:
        raise DataError(f"{len(rows)} media have vectors in {table}; a map needs {FEWEST} at least")
    of = len(rows)
    if of > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    points = flattened(np.asarray(vectors.values[rows], np.float32), seed)
    recipe = {"name": "pacmap", "width": WIDTH, "most": most}
    meta = {"recipe": recipe, "seed": seed, "table": table, "of": of, "run_id": run_id}
    media_ids = [ids[row] for row in rows]
    kept_as = maps.keep(lake, snapshot, media_ids, points, meta)
    return Drawn(kept_as, snapshot.snapshot_id, table, len(rows), of)


def flattened(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return points in the plane for vectors (N, D), as (N, 2) float32 within [-1, 1].

    PaCMAP (Wang et al. 2021, JMLR 22) on the first principal components.
    """
    import pacmap
    from sklearn.decomposition import PCA

    logging.getLogger("pacmap.pacmap").setLevel(logging.ERROR)  # it warns of being seeded
    width = min(WIDTH, len(vectors) - 1, vectors.shape[1])
    narrow = PCA(width, random_state=seed).fit_transform(vectors).astype(np.float32)
    flat = pacmap.PaCMAP(
        n_components=2, n_neighbors=min(10, len(vectors) - 1), random_state=seed, apply_pca=False
    ).fit_transform(narrow)
    centred = np.asarray(flat, np.float32) - np.median(flat, axis=0).astype(np.float32)
    return (centred / max(float(np.abs(centred).max()), 1e-9)).astype(np.float32)
