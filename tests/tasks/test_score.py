"""Pairs and their vectors, old and new ones."""

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from schemas.tables import embeddings
from storage import lake as lakes
from storage import rows
from storage.staging import Staging
from storage.workbench import workbench
from tasks import score
from tasks.score import Vectors, aligned_pairs

DIM = 3
SIDES = {"m": "media", "t": "text"}
SPEC = embeddings("embeddings_some", DIM)


def rows_of(vectors, digest):
    """Rows of the encoder's table; {item: vector}."""
    count = len(vectors)
    flat = pa.array(np.concatenate([*vectors.values(), np.empty(0)]).astype(np.float32))
    table = pa.table(
        {
            "item_id": list(vectors),
            "side": [SIDES[one[0]] for one in vectors],
            "modality": ["image"] * count,
            "encoder_digest": [digest] * count,
            "vector": pa.FixedSizeListArray.from_arrays(flat, DIM),
            "run_id": ["r"] * count,
        },
        schema=SPEC.schema,
    )
    return rows.with_digest(table, SPEC)


@pytest.mark.parametrize("stored", [0, 40, 700])
@pytest.mark.parametrize("staged", [0, 30])
def test_each_pair_gets_its_own_two_vectors(lake_dir, tmp_path_factory, monkeypatch, stored, staged):
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr("storage.workbench.SORTED_ROWS", 200)
    draw = np.random.default_rng(stored + staged)
    lake = lakes.open(lake_dir)
    staging = Staging(lake.place, "run")
    ids = [f"{'mt'[n % 2]}{n:04d}" for n in draw.permutation(800)]
    of_base = {one: draw.random(DIM) for one in ids[:stored]}
    of_another = {
        one: draw.random(DIM) for one in ids[stored : stored + 20]
    }  # made by another version of the encoder
    new = {
        one: draw.random(DIM) for one in [*ids[: staged // 2], *ids[stored + 5 : stored + 5 + staged // 2]]
    }
    with lake.writer() as writer:
        for number, (some, digest) in enumerate(((of_base, "now"), (of_another, "before"))):
            path = staging.write(rows_of(some, digest), f"base-{number}.arrow")
            writer.upsert(SPEC, staging.dataset([path], SPEC.stored))
        head = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    known = of_base | new
    media_ids, text_ids = ([one for one in ids if one[0] == side] for side in SIDES)
    pairs = [
        (f"{n:05d}", str(draw.choice(media_ids)), str(draw.choice(text_ids))) for n in draw.permutation(3000)
    ]
    columns = dict(zip(("pair_id", "media_id", "text_id"), map(list, zip(*pairs, strict=True)), strict=True))
    with workbench(lake, head, staging) as bench:
        vectors = Vectors("vectors", SPEC, "now")
        score._offer(bench, vectors, (staging.write(rows_of(new, "now"), "new.arrow"),))
        bench.offer("some_pairs", lambda: pa.table(columns))
        with aligned_pairs(bench, (vectors, vectors), "SELECT * FROM some_pairs", "p.media_id") as found:
            table, media, text = found
            expected = sorted(pair for pair in pairs if pair[1] in known and pair[2] in known)
            assert table["pair_id"].to_pylist() == [pair for pair, _, _ in expected]
            assert table["media_id"].to_pylist() == [medium for _, medium, _ in expected]
            for side, place in ((media, 1), (text, 2)):
                wanted = [known[pair[place]] for pair in expected]
                assert side.dtype == np.float32
                assert_array_equal(side, np.asarray(wanted, np.float32).reshape(-1, DIM))
            assert not list(scratch.glob("xmodal-[!s]*"))  # a killed process would leave them
