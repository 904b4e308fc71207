"""Tokens of a lake: heads trained once, tokens written for what is new, and searched as loops over the same rows search."""

import numpy as np
import pytest

from flows.curate import curate
from flows.represent import tokens
from schemas.errors import DataError, EncoderError, NoSuchTable
from schemas.ranking import Query
from schemas.represent import TokensRecipe
from storage import checkpoints
from storage import lake as lakes
from tasks.late._features import image_tokens, regions, text_tokens
from tasks.retrieval import tokens_and_codes
from tasks.retrieval.find import find
from tasks.retrieval.tokens_and_codes import TOKENS_TABLE
from tasks.shards.embed import picture
from tests.flows.conftest import content
from tests.flows.test_represent import ALONE, MEDIA, WORDS, curation, read, write_media

pytestmark = pytest.mark.usefixtures("prefect_server")

RECIPE = TokensRecipe(epochs=2, shard_rows=16)  # two shards of media


@pytest.fixture
def lake(tmp_path):
    write_media(tmp_path / "media", range(MEDIA + ALONE))
    curate(curation(tmp_path / "media"), lake=str(tmp_path / "lake"))
    return lakes.open(str(tmp_path / "lake"))


@pytest.fixture
def made(lake):
    return tokens(RECIPE, lake.uri)


def unit(row):
    return row / np.sqrt((row.astype(np.float64) ** 2).sum())


def by_hand(state, side, frozen):
    """Tokens of one item, one at a time."""
    mean, matrix = (state[f"{side}_{part}"].astype(np.float64) for part in ("mean", "map"))
    return np.stack([unit((token - mean) @ matrix) for token in frozen.astype(np.float64)])


def frozen_of(lake):
    """What the backbones say of every item, each alone."""
    found = {}
    for row in lake.read("media").to_pylist():
        found[row["media_id"]] = regions(image_tokens([picture(row["thumbnail"])]))[0]
    for row in lake.read("texts").to_pylist():
        found[row["text_id"]] = text_tokens([row["text"]])[0]
    return found


def test_every_kept_item_has_the_tokens_that_heads_make_of_the_backbones(lake, made):
    kept = [row["text_id"] for row in lake.read("texts").to_pylist() if row["kept"] is not False]
    assert (made.table, made.is_new, made.meta["pairs"]) == (TOKENS_TABLE, True, MEDIA)
    assert made.written == {"media": MEDIA + ALONE, "text": len(kept)}
    state, frozen = checkpoints.load(lake, made.checkpoint).state, frozen_of(lake)
    rows = read(lake, TOKENS_TABLE)
    assert sum(row["side"] == "media" for row in rows.values()) == MEDIA + ALONE
    for item, row in rows.items():
        expected = by_hand(state, row["side"], frozen[item])
        assert np.asarray(row["tokens"]) == pytest.approx(expected, abs=2e-4)
        assert np.asarray(row["vector"]) == pytest.approx(unit(expected.mean(axis=0)), abs=2e-4)
        assert row["encoder_digest"] == made.checkpoint


@pytest.mark.parametrize(("side", "wider"), [("media", None), ("media", 60), ("text", None)])
def test_a_query_finds_what_loops_over_tokens_find(lake, made, side, wider):
    state = checkpoints.load(lake, made.checkpoint).state
    table, key = ("media", "media_id") if side == "media" else ("texts", "text_id")
    passing = {
        row[key]
        for row in lake.read(table).to_pylist()
        if row["kept"] is not False and (not wider or row["width_px"] > wider)
    }
    rows = {item: row for item, row in read(lake, TOKENS_TABLE).items() if row["side"] == side}
    where = wider and f"width_px > {wider}"
    for said in WORDS:
        asked, scores = by_hand(state, "text", text_tokens([said])[0]), {}
        for item in passing:
            cosines = [[float(a @ np.float64(b)) for b in rows[item]["tokens"]] for a in asked]
            of_query = np.mean([max(line) for line in cosines])
            of_item = np.mean([max(line) for line in zip(*cosines, strict=True)])
            scores[item] = (of_query + of_item) / 2
        best = sorted(scores, key=lambda item: (-scores[item], item))[:5]
        query = Query(text=said, first="late", side=side, k=5, where=where)
        found = find(lake, query).candidates
        assert found.scores == pytest.approx([scores[item] for item in best], abs=1e-4)
        assert {item: scores[item] for item in found.item_ids} == pytest.approx(
            dict(zip(found.item_ids, found.scores, strict=True)), abs=1e-4
        )


def test_again_nothing_is_learnt_written_or_committed(lake, made):
    before = content(lake.uri)
    again = tokens(RECIPE, lake.uri)
    assert (again.snapshot, again.is_new) == (made.snapshot, False)
    assert again.written == {"media": 0, "text": 0} and content(lake.uri) == before


def test_new_media_get_tokens_of_the_same_heads_and_relearning_replaces_all(lake, made, tmp_path):
    old = read(lake, TOKENS_TABLE)
    write_media(tmp_path / "media", range(MEDIA + ALONE, MEDIA + ALONE + 3))
    curate(curation(tmp_path / "media"), lake=lake.uri)
    done = tokens(RECIPE, lake.uri)
    assert done.checkpoint == made.checkpoint and done.written == {"media": 3, "text": 3}
    rows = read(lake, TOKENS_TABLE)
    assert {item: rows[item] for item in old} == old
    again = tokens(RECIPE.model_copy(update={"relearn": True}), lake.uri)
    assert again.is_new and again.meta["pairs"] == MEDIA + 3
    assert {row["encoder_digest"] for row in read(lake, TOKENS_TABLE).values()} == {again.checkpoint}


def test_a_picture_finds_itself_first(lake, made, tmp_path):
    found = find(lake, Query(image=tmp_path / "media" / "3.png", first="late", k=1)).candidates
    (locators,) = [
        row["locators"] for row in lake.read("media").to_pylist() if row["media_id"] in found.item_ids
    ]
    assert locators[0].endswith("3.png") and found.scores[0] == pytest.approx(1, abs=1e-2)


def test_what_cannot_be_asked_says_why(lake, tmp_path, monkeypatch):
    with pytest.raises(NoSuchTable, match="xmodal represent tokens"):
        find(lake, Query(text="boats", first="late"))
    with pytest.raises(DataError, match="is empty"):
        tokens(RECIPE, str(tmp_path / "nothing"))
    done = tokens(RECIPE, lake.uri)
    item = sorted(read(lake, TOKENS_TABLE))[0]
    with pytest.raises(DataError, match="either a text or a picture"):
        find(lake, Query(like=(item,), first="late"))
    monkeypatch.setattr(tokens_and_codes, "backbones", lambda: "others")
    with pytest.raises(EncoderError, match="other weights"):
        find(lake, Query(text="boats", first="late"))
    assert done.is_new
