"""A study on vectors of two encoders that never saw the other side."""

import pytest

from flows.curate import curate
from schemas.recipes import CurationRecipe
from storage import lake as lakes
from tests.conftest import write_picture
from tests.flows.conftest import content

pytestmark = pytest.mark.usefixtures("prefect_server")

FEATURES = {"media": {"name": "efficientnet-lite0"}, "text": {"name": "minilm"}}


@pytest.fixture
def recipe(tmp_path, recipe_of):
    for number in range(12):
        write_picture(tmp_path / "media" / f"{number}.png", number)
        (tmp_path / "media" / f"{number}.txt").write_text(f"picture {number} of a dozen")
    study = {"roles": ["caption"], "features": FEATURES}
    return recipe_of(
        tmp_path / "media", filters=[], pair_rules=[], near_duplicates=None, correspondence=study
    )


def test_both_tables_are_kept_and_the_study_is_theirs(recipe, lake_dir, tmp_path):
    curate(recipe, lake=lake_dir)
    lake = lakes.open(lake_dir)
    media, text = (lake.read(f"embeddings_{name}").to_pylist() for name in ("efficientnet_lite0", "minilm"))
    assert {row["item_id"] for row in media} == {row["media_id"] for row in lake.read("media").to_pylist()}
    assert {row["item_id"] for row in text} == {row["text_id"] for row in lake.read("texts").to_pylist()}
    assert {len(row["vector"]) for row in media} == {1280} and {len(row["vector"]) for row in text} == {384}
    (division,) = [row for row in lake.read("divisions").to_pylist() if row["active"]]
    assert division["pairs"] == 12

    before = content(lake_dir)
    curate(recipe, lake=lake_dir)
    assert lake.runs()[0]["status"] == "unchanged"
    write_picture(tmp_path / "media" / "12.png", 12)
    (tmp_path / "media" / "12.txt").write_text("picture 12 of a dozen")
    curate(recipe, lake=lake_dir)
    after = content(lake_dir)
    for table in ("embeddings_efficientnet_lite0", "embeddings_minilm"):
        assert len(after[table]) == len(before[table]) + 1
    assert not (tmp_path / "lake" / "_staging").exists() or not list(
        (tmp_path / "lake" / "_staging").iterdir()
    )


def test_other_features_are_another_study(recipe):
    plain = recipe.model_dump() | {"correspondence": {"roles": ["caption"]}}
    assert CurationRecipe.model_validate(plain).digest != recipe.digest
