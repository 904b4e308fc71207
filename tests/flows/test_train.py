"""Heads trained on what a curation left: kept in the lake, the same again, tested on groups kept apart."""

import json

import numpy as np
import pytest

from flows.curate import curate
from flows.train import train
from schemas.errors import DataError, LakeError
from schemas.recipes import MethodRef, ScheduleRecipe, TrainRecipe
from storage import checkpoints
from storage import lake as lakes
from tasks.metrics import retrieval
from tasks.train import gather, restore
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")

QUICK = TrainRecipe(
    name="quick", encoder=MethodRef(name="hashing"), schedule=ScheduleRecipe(epochs=2), held_out=0.25
)


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    from schemas.recipes import CurationRecipe, SourceRef

    folder = tmp_path_factory.mktemp("train")
    for number in range(60):
        write_picture(folder / "media" / f"{number}.png", number)
        (folder / "media" / f"{number}.txt").write_text(f"picture {number} of a set of {number % 7} things")
    recipe = CurationRecipe(
        name="train",
        sources=(SourceRef(name="media", kind="folder", location=str(folder / "media")),),
        encoder=MethodRef(name="hashing"),
    )
    curate(recipe, lake=str(folder / "lake"))
    return lakes.open(str(folder / "lake"))


def test_a_training_is_the_same_again_and_leaves_the_tables_alone(curated):
    before = curated.head()
    first, again = train(QUICK, curated.uri), train(QUICK, curated.uri)
    assert first == again
    assert train(QUICK.model_copy(update={"seed": 1}), curated.uri).checkpoint != first.checkpoint
    assert curated.head() == before


def test_a_checkpoint_says_what_it_is_and_gives_the_same_answers(curated):
    done = train(QUICK, curated.uri)
    meta = checkpoints.checkpoints(curated)[done.checkpoint]
    assert TrainRecipe.model_validate(meta["recipe"]) == QUICK
    assert meta["snapshot_digest"] == curated.head().digest
    towers, test = restore(curated, done.checkpoint), gather(curated, QUICK).test
    found = retrieval(towers.media(test.media_vec), towers.text(test.text_vec), test).summary()
    assert {name: round(value, 3) for name, value in found.items()} == dict(done.recall)


def test_no_group_is_both_trained_and_tested_on(curated):
    material = gather(curated, QUICK)
    assert len(material.train) + len(material.test) == 60
    assert not set(material.train.group) & set(material.test.group)
    assert 5 <= len(material.test) <= 27  # 15 expected; three standard deviations


def test_doubted_pairs_count_by_their_probability_where_the_recipe_says_so(curated, tmp_path):
    """A study is written by hand: half of the pairs it dropped at P(true) = 0.1."""
    from schemas.tables import DIVISIONS, PAIRS, SCORES
    from storage import rows

    pairs = curated.read("pairs").to_pylist()
    doubted = {row["pair_id"] for number, row in enumerate(pairs) if number % 2}
    division = dict.fromkeys(DIVISIONS.schema.names) | {
        "division_id": "d", "scorer": "margin", "rule_digest": "r", "separable": True, "active": True,
    }  # fmt: skip
    scores = [
        dict.fromkeys(SCORES.schema.names)
        | {
            "score_id": f"{method}{pair_id}", "subject": "pair", "subject_id": pair_id, "method": method,
            "inputs": "r", "value": value,
        }
        for pair_id in (row["pair_id"] for row in pairs)
        for method, value in (("consensus", 0.1 if pair_id in doubted else 0.9), ("margin", 7.0))  # the scorer's own
    ]  # fmt: skip
    for row in pairs:
        row.pop("row_digest")
        if row["pair_id"] in doubted:
            row |= {"kept": False, "dropped_by": "correspondence: noisy"}
    import pyarrow as pa

    with curated.writer() as writer:
        for spec, said in ((DIVISIONS, [division]), (SCORES, scores), (PAIRS, pairs)):
            path = tmp_path / f"{spec.name}.arrow"
            table = rows.with_digest(pa.Table.from_pylist(said, schema=spec.schema), spec)
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
                out.write_table(table)
            import pyarrow.dataset as ds

            writer.upsert(spec, ds.dataset(str(path), format="ipc"))
        writer.commit(tag="studied", recipe_digest="", run_id="by hand")
    dropped = gather(curated, QUICK.model_copy(update={"tag": "studied"}))
    weighted = gather(curated, QUICK.model_copy(update={"tag": "studied", "noisy": "weight"}))
    assert len(dropped.train) < len(weighted.train) and len(dropped.test) == len(weighted.test)
    assert set(np.unique(dropped.clean)) == {np.float32(0.9)}
    assert set(np.unique(weighted.clean)) == {np.float32(0.1), np.float32(0.9)}
    for noisy in ("weight", "soft"):
        done = train(QUICK.model_copy(update={"tag": "studied", "noisy": noisy}), curated.uri)
        assert done.pairs == len(weighted.train)


def test_what_cannot_be_trained_says_why(curated):
    with pytest.raises(DataError, match="no vectors of 'minilm'.*it has embeddings_hashing"):
        train(QUICK.model_copy(update={"text_encoder": MethodRef(name="minilm")}), curated.uri)
    with pytest.raises(DataError, match="0 pairs with vectors"):
        train(QUICK.model_copy(update={"roles": ("poem",)}), curated.uri)
    with pytest.raises(DataError, match="held_out is 0.999"):
        train(QUICK.model_copy(update={"held_out": 0.999}), curated.uri)
    with pytest.raises(LakeError, match="no checkpoint"):
        restore(curated, "0" * 32)


def test_the_command_line_trains_and_lists(curated, tmp_path, capsys):
    from flows.cli.train import checkpoints as listing
    from flows.cli.train import train as command

    file = tmp_path / "head.yaml"
    file.write_text(json.dumps(QUICK.model_dump(mode="json")))
    command(file, lake=curated.uri, noisy=None, seed=None, as_json=True)
    done = json.loads(capsys.readouterr().out)
    command(file, lake=curated.uri, noisy=None, seed=None, as_json=False)
    assert done["checkpoint"] in capsys.readouterr().out
    listing(lake=curated.uri, as_json=True)
    assert done["checkpoint"] in {row["id"] for row in json.loads(capsys.readouterr().out)}
