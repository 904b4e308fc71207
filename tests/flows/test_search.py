import numpy as np
import pytest

from flows.curate import curate
from schemas.errors import DataError
from storage import lake as lakes
from tasks.search import search
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def lake(tmp_path, recipe_of, lake_dir):
    """Three pictures of noise; only their captions tell them apart."""
    for seed, caption in enumerate(("a kettle on the stove", "two boats at sea", "an old church tower")):
        write_picture(tmp_path / "media" / f"{seed}.png", seed).with_suffix(".txt").write_text(caption)
    encoder = {"name": "hashing", "params": {"dim": 128}}
    curate(recipe_of(tmp_path / "media", encoder=encoder, pair_rules=[]), lake=lake_dir)
    return lakes.open(lake_dir)


def test_words_find_a_medium_by_its_text(lake):
    assert search(lake, "boats at sea", k=1, by="texts").hits[0].texts == ("two boats at sea",)
    assert search(lake, "church tower", k=1).hits[0].texts == ("an old church tower",)


def test_media_alone_are_ordered_as_numpy_orders_them(lake):
    from tasks.encoders.hashing import Hashing

    (table,) = [name for name in lake.tables() if name.startswith("embeddings_")]
    rows = lake.read(table, where="side = 'media'")
    similarities = np.array(rows["vector"].to_pylist()) @ Hashing(dim=128)(["a kettle"])[0]
    expected = [rows["item_id"][i].as_py() for i in np.argsort(-similarities)]
    hits = search(lake, "a kettle", k=3, by="media").hits
    assert [hit.media_id for hit in hits] == expected
    assert [hit.similarity for hit in hits] == pytest.approx(np.sort(similarities)[::-1], abs=1e-5)


def test_both_sides_are_fused_by_reciprocal_ranks(lake):
    by_media = [hit.media_id for hit in search(lake, "boats", k=3, by="media").hits]
    by_texts = [hit.media_id for hit in search(lake, "boats", k=3, by="texts").hits]
    score = {m: 1 / (60 + by_media.index(m) + 1) + 1 / (60 + by_texts.index(m) + 1) for m in by_media}
    fused = [hit.media_id for hit in search(lake, "boats", k=3).hits]
    assert [score[m] for m in fused] == sorted(score.values(), reverse=True)


def test_a_picture_finds_itself(lake, tmp_path):
    (hit,) = search(lake, image=tmp_path / "media" / "2.png", k=1).hits
    assert hit.texts == ("an old church tower",)
    assert hit.similarity == pytest.approx(1, abs=1e-3)


def test_needs_a_query(lake):
    with pytest.raises(DataError, match="needs a text, a picture"):
        search(lake)
