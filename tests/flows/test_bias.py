"""Bias toward written texts, measured on a lake: the numbers are those of the vectors, and rows of metrics."""

import numpy as np
import pytest

from flows.caption import caption
from flows.curate import curate
from schemas.recipes import CaptionRecipe, CurationRecipe, MethodRef, SourceRef
from storage import lake as lakes
from tasks.bias import measure, record
from tasks.metrics.relevance_bias import bias, pool_ranks
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bias")
    for number in range(64):
        write_picture(folder / "media" / f"{number}.png", number)
        (folder / "media" / f"{number}.txt").write_text(f"picture {number} of a set of {number % 7} things")
    recipe = CurationRecipe(
        name="bias",
        sources=(SourceRef(name="media", kind="folder", location=str(folder / "media")),),
        near_duplicates=None,
        encoder=MethodRef(name="hashing"),
    )
    curate(recipe, lake=str(folder / "lake"))
    wanted = {
        "name": "all", "captioners": [{"name": "labels"}], "encoder": {"name": "hashing"}, "of": "all", "gates": [],
    }  # fmt: skip
    caption(CaptionRecipe.model_validate(wanted), str(folder / "lake"))
    return lakes.open(str(folder / "lake"))


def test_the_differences_are_those_of_the_vectors(written):
    report = measure(written)
    vectors = {row["item_id"]: row["vector"] for row in written.read("embeddings_hashing").to_pylist()}
    origin = {row["text_id"]: row["origin"] for row in written.read("texts").to_pylist()}
    both: dict = {}
    for row in written.read("pairs").to_pylist():
        both.setdefault(row["media_id"], {}).setdefault(origin[row["text_id"]], []).append(row["text_id"])
    both = {medium: texts for medium, texts in sorted(both.items()) if len(texts) == 2}
    assert report.media == len(both) >= 20
    parts = [
        np.array([vectors[name] for name in names], np.float32)
        for names in (both, *([min(texts[o]) for texts in both.values()] for o in ("raw", "synthetic")))
    ]
    fold = np.random.default_rng(0).permutation(len(both)) % 2
    ranks = np.empty((len(both), 2), np.int64)
    for number in range(2):
        ranks[fold == number] = pool_ranks(*(part[fold == number] for part in parts))
    assert report.before.delta == bias(ranks).delta
    assert measure(written) == report


def test_every_number_is_a_row(written):
    report = measure(written, generator="labels")
    count = record(written, report)
    rows = [row for row in written.read("metrics").to_pylist() if row["bench"] == "bias"]
    assert len(rows) == count == 2 + 2 * (3 * 6 + 3)
    (found,) = [row["value"] for row in rows if (row["subject"], row["metric"]) == ("before", "delta_R@1")]
    assert found == report.before.delta["R@1"]
