import pyarrow as pa
import pyarrow.dataset as pds

from schemas.tables import embeddings
from storage import lake as lakes
from storage import rows


def vectors(encoder: str) -> pa.Table:
    spec = embeddings("embeddings_x", 2)
    flat = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 0.0], pa.float32()), 2)
    columns = {"item_id": ["a"], "side": ["media"], "modality": ["image"], "encoder_digest": [encoder]}
    return rows.with_digest(pa.table({**columns, "vector": flat, "run_id": ["r"]}), spec)


def test_a_table_says_which_encoder_made_its_vectors_also_after_the_weights_changed(lake_dir):
    lake = lakes.open(lake_dir)
    spec = embeddings("embeddings_x", 2)
    for encoder in ("old", "new"):
        with lake.writer() as writer:
            writer.upsert(spec, pds.dataset(vectors(encoder)), metadata={"xmodal.encoder": encoder})
            writer.commit(tag=None, recipe_digest=encoder, run_id=encoder)
    said = [
        lake.dataset("embeddings_x", at).schema.metadata[b"xmodal.encoder"] for at in ("s000001", "s000002")
    ]
    assert said == [b"old", b"new"]
