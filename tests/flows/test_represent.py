"""Codes of a lake: learnt once, written for what is new, and searched as loops over the same rows search."""

import numpy as np
import pytest

from flows.curate import curate
from flows.represent import codes
from schemas.errors import DataError, InvalidParameter, NoSuchTable, UnknownMethod
from schemas.ranking import Query
from schemas.recipes import CurationRecipe, MethodRef, Rule, SourceRef
from schemas.represent import CodesRecipe
from storage import checkpoints
from storage import lake as lakes
from tasks.codes import Codes
from tasks.encoders.hashing import Hashing
from tasks.retrieval import tokens_and_codes
from tasks.retrieval.find import find
from tests.conftest import write_picture
from tests.flows.conftest import content

pytestmark = pytest.mark.usefixtures("prefect_server")

MEDIA, ALONE = 24, 6
TABLE = "codes_hashing"
VECTORS = "embeddings_hashing"
WORDS = ("red kettle", "two boats", "old church", "green flag", "blue bicycle")


def curation(folder):
    return CurationRecipe(
        name="represent",
        sources=(SourceRef(name="media", kind="folder", location=str(folder)),),
        encoder=MethodRef(name="hashing"),
        filters=(Rule(method=MethodRef(name="length-chars"), at_least=3),),  # no text of a file's name
        near_duplicates=None,
    )


def write_media(folder, numbers):
    """Pictures, the first `MEDIA` and those after `MEDIA + ALONE` with a caption."""
    for number in numbers:
        path = write_picture(folder / f"{number}.png", number, size=(48 + number, 40))
        if not MEDIA <= number < MEDIA + ALONE:
            path.with_suffix(".txt").write_text(f"{WORDS[number % 5]} number {number}")


@pytest.fixture
def lake(tmp_path):
    write_media(tmp_path / "media", range(MEDIA + ALONE))
    curate(curation(tmp_path / "media"), lake=str(tmp_path / "lake"))
    return lakes.open(str(tmp_path / "lake"))


def read(lake, table, at=None, **where):
    return {row["item_id"]: row for row in lake.read(table, at=at).to_pylist()}


def bits_by_hand(state, side, vector):
    """A code, one bit at a time."""
    x = np.asarray(vector, np.float32) - state[f"{side}_mean"]
    return [int(x @ state[f"{side}_map"][:, bit] >= 0) for bit in range(state[f"{side}_map"].shape[1])]


def unpacked(code):
    return [byte >> (7 - bit) & 1 for byte in code for bit in range(8)]


def test_every_kept_item_gets_the_code_that_its_vector_has(lake):
    done = codes(CodesRecipe(), lake.uri)
    assert (done.table, done.is_new) == (TABLE, True)
    assert (done.meta["pairs"], done.meta["media_alone"], done.meta["text_alone"]) == (MEDIA, ALONE, 0)
    assert done.written == {"media": MEDIA + ALONE, "text": MEDIA}
    state = checkpoints.load(lake, done.checkpoint).state
    rows, vectors = read(lake, TABLE), read(lake, VECTORS)
    assert rows.keys() == vectors.keys()
    for item, row in rows.items():
        assert row["coder_digest"] == done.checkpoint
        assert (row["side"], row["modality"]) == (vectors[item]["side"], vectors[item]["modality"])
        assert unpacked(row["code"]) == bits_by_hand(state, row["side"], vectors[item]["vector"])


def test_again_with_nothing_changed_makes_no_snapshot(lake):
    done = codes(CodesRecipe(), lake.uri)
    before = len(lake.snapshots())
    for recipe in (CodesRecipe(), CodesRecipe(relearn=True)):
        again = codes(recipe, lake.uri)
        assert again.snapshot == done.snapshot and not again.is_new
        assert again.written == {"media": 0, "text": 0} and again.checkpoint == done.checkpoint
    assert len(lake.snapshots()) == before and lake.runs()[0]["status"] == "unchanged"
    assert len(checkpoints.checkpoints(lake)) == 1


def test_a_curation_after_it_has_nothing_new_to_do(lake, tmp_path):
    done = codes(CodesRecipe(), lake.uri)
    assert curate(curation(tmp_path / "media"), lake=lake.uri) == done.snapshot


def test_new_media_get_codes_of_the_same_coder_and_relearning_replaces_all(lake, tmp_path):
    first = codes(CodesRecipe(), lake.uri)
    old = read(lake, TABLE)
    write_media(tmp_path / "media", range(MEDIA + ALONE, MEDIA + ALONE + 5))
    curate(curation(tmp_path / "media"), lake=lake.uri)
    (note,) = find(lake, Query(text="boats", first="codes")).candidates.notes
    assert note.startswith("5 of what could be found have no code yet") and "xmodal represent codes" in note
    done = codes(CodesRecipe(), lake.uri)
    assert done.checkpoint == first.checkpoint and done.written == {"media": 5, "text": 5}
    rows = read(lake, TABLE)
    assert {item: rows[item] for item in old} == old and len(rows) == len(old) + 10
    assert find(lake, Query(text="boats", first="codes")).candidates.notes == ()

    again = codes(CodesRecipe(relearn=True), lake.uri)
    assert again.is_new and again.checkpoint != first.checkpoint and again.meta["pairs"] == MEDIA + 5
    assert again.written == {"media": MEDIA + ALONE + 5, "text": MEDIA + 5}
    assert {row["coder_digest"] for row in read(lake, TABLE).values()} == {again.checkpoint}
    assert codes(CodesRecipe(), lake.uri).checkpoint == again.checkpoint
    at = first.snapshot.snapshot_id  # an older snapshot goes on being searched by the coder it had
    assert find(lake, Query(text="boats", first="codes", at=at)).candidates.facts["coder"] == first.checkpoint


def test_what_is_dropped_is_not_learnt_from_not_coded_and_not_found(lake):
    from flows.review import state_verdict
    from tasks.review import Statement

    gone = sorted(row["media_id"] for row in lake.read("media").to_pylist())[:3]
    state_verdict(Statement("drop", tuple(gone)), lake.uri)
    done = codes(CodesRecipe(), lake.uri)
    kept = [row for row in lake.read("pairs").to_pylist() if row["kept"] is not False]
    assert done.meta["pairs"] == len({pair["pair_id"] for pair in kept if pair["media_id"] not in gone})
    assert not set(gone) & read(lake, TABLE).keys()
    assert not set(gone) & set(find(lake, Query(text="boats", first="codes", k=99)).candidates.item_ids)


def test_what_was_dropped_is_coded_anew_with_the_rest(lake):
    """If it is kept again, its code is of the same coder as all others."""
    from flows.review import state_verdict
    from tasks.review import Statement

    codes(CodesRecipe(), lake.uri)
    gone = sorted(row["media_id"] for row in lake.read("media").to_pylist())[0]
    state_verdict(Statement("drop", (gone,)), lake.uri)
    done = codes(CodesRecipe(method=MethodRef(name="itq-cca")), lake.uri)
    assert read(lake, TABLE)[gone]["coder_digest"] == done.checkpoint
    assert {row["coder_digest"] for row in read(lake, TABLE).values()} == {done.checkpoint}


def by_loops(lake, state, vector, asking, side, passing, pool):
    """Ids and cosines: the pool by Hamming distance and id, then those by cosine and id."""
    rows, vectors = read(lake, TABLE), read(lake, VECTORS)
    mine = bits_by_hand(state, asking, vector)
    differ = {
        item: sum(a != b for a, b in zip(mine, unpacked(row["code"]), strict=True))
        for item, row in rows.items()
        if row["side"] == side and item in passing
    }
    near = sorted(differ, key=lambda item: (differ[item], item))[:pool]
    cosine = {
        item: float(np.float32(np.dot(np.float64(vectors[item]["vector"]), np.float64(vector))))
        for item in near
    }
    return sorted(cosine.items(), key=lambda one: (-one[1], one[0]))


@pytest.mark.parametrize(("side", "wider"), [("media", None), ("media", 60), ("text", None)])
@pytest.mark.parametrize("pool", [1000, 7])
def test_a_query_finds_what_loops_over_codes_and_vectors_find(lake, monkeypatch, side, wider, pool):
    monkeypatch.setattr(tokens_and_codes, "POOL", pool)
    monkeypatch.setattr(tokens_and_codes, "PER_RESULT", 1)
    done = codes(CodesRecipe(), lake.uri)
    state = checkpoints.load(lake, done.checkpoint).state
    table, key = ("media", "media_id") if side == "media" else ("texts", "text_id")
    kept = [row for row in lake.read(table).to_pylist() if row["kept"] is not False]
    passing = {row[key] for row in kept if not wider or row["width_px"] > wider}
    assert passing and bool(wider) == (len(passing) < len(kept))
    where = wider and f"width_px > {wider}"
    for said in WORDS:
        query = Query(text=said, first="codes", side=side, k=5, where=where)
        expected = by_loops(lake, state, Hashing()([said])[0], "text", side, passing, pool)
        found = find(lake, query).candidates
        assert list(found.item_ids) == [item for item, _ in expected[:5]]
        assert found.scores == pytest.approx([score for _, score in expected[:5]], abs=1e-6)
        assert found.exact == (pool >= len(passing))
        assert found.facts["scored again"] == min(pool, len(passing))
        assert found.facts["compared"] == len(passing) and found.facts["scored again by"] == "cosine"
        second = find(lake, Query(text=said, first="codes", side=side, k=2, offset=2, where=where))
        assert second.candidates.item_ids == found.item_ids[2:4]
    assert find(lake, Query(text="boats", first="codes", modality=("audio",))).candidates.item_ids == ()


def test_pictures_items_and_vectors_are_read_as_their_own_side(lake, tmp_path):
    done = codes(CodesRecipe(), lake.uri)
    state, vectors = checkpoints.load(lake, done.checkpoint).state, read(lake, VECTORS)
    media = {item for item, row in vectors.items() if row["side"] == "media"}
    item, text = min(media), min(set(vectors) - media)
    vector = np.float32(vectors[item]["vector"])
    for query, asking, without in (
        (Query(like=(item,), first="codes", k=9), "media", {item}),
        (Query(vector=vector, first="codes", k=9), "media", set()),
        (Query(like=(text,), first="codes", k=9), "text", set()),
    ):
        asked = np.float32(vectors[text]["vector"]) if asking == "text" else vector
        expected = [one for one, _ in by_loops(lake, state, asked, asking, "media", media - without, 1000)]
        assert list(find(lake, query).candidates.item_ids) == expected[:9]
    image = find(lake, Query(image=tmp_path / "media" / "3.png", first="codes", k=1)).candidates
    assert image.scores[0] == pytest.approx(1, abs=1e-3)


def test_each_length_has_a_table_of_its_own_and_the_longest_is_asked(lake):
    codes(CodesRecipe(), lake.uri)
    done = codes(
        CodesRecipe(method=MethodRef(name="reconstruction-relations", params={"bits": 128})), lake.uri
    )
    assert done.table == f"{TABLE}_128bits" and done.is_new
    assert find(lake, Query(text="boats", first="codes")).candidates.facts["bits"] == 128
    assert {TABLE, done.table} <= done.snapshot.versions.keys()


def test_a_removed_checkpoint_is_learnt_again(lake):
    done = codes(CodesRecipe(), lake.uri)
    lake.place.fs.rm(lake.place.path("checkpoints", f"{done.checkpoint}.safetensors"))
    tokens_and_codes._OPEN._values.clear()
    again = codes(CodesRecipe(), lake.uri)
    assert again.is_new and set(read(lake, TABLE)) == set(read(lake, VECTORS))
    assert Codes.from_state(checkpoints.load(lake, again.checkpoint).state).bits == 64


def test_killed_between_learning_and_the_commit_the_lake_is_as_it_was(lake, tmp_path, monkeypatch):
    from storage.lake import Writer

    before = content(lake.uri)
    head = lake.head()

    class Killed(BaseException):
        """Not caught by anything, as a signal is not."""

    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "commit", killed)
        with pytest.raises(Killed):
            codes(CodesRecipe(), lake.uri)
    assert lake.latest(TABLE).count_rows() and len(checkpoints.checkpoints(lake)) == 1
    assert lake.head() == head and content(lake.uri) == before
    with pytest.raises(NoSuchTable, match="xmodal represent codes"):
        find(lake, Query(text="boats", first="codes"))
    done = codes(CodesRecipe(), lake.uri)
    assert done.written == {"media": MEDIA + ALONE, "text": MEDIA}
    assert list(checkpoints.checkpoints(lake)) == [done.checkpoint]
    assert len(read(lake, TABLE)) == 2 * MEDIA + ALONE
    assert len(find(lake, Query(text="boats", first="codes")).candidates) == 10


def test_what_cannot_be_done_says_why(lake, tmp_path):
    with pytest.raises(NoSuchTable, match="run `xmodal represent codes`"):
        find(lake, Query(text="boats", first="codes"))
    with pytest.raises(DataError, match="is empty"):
        codes(CodesRecipe(), str(tmp_path / "nothing"))
    with pytest.raises(NoSuchTable, match="no vectors of lite"):
        codes(CodesRecipe(encoder="lite"), lake.uri)
    with pytest.raises(UnknownMethod):
        codes(CodesRecipe(method=MethodRef(name="morse")), lake.uri)
    with pytest.raises(InvalidParameter):
        codes(CodesRecipe(method=MethodRef(name="itq-cca", params={"bits": 12})), lake.uri)
    assert checkpoints.checkpoints(lake) == {}


def test_without_texts_there_is_nothing_to_learn_from(tmp_path):
    write_media(tmp_path / "media", range(MEDIA, MEDIA + ALONE))
    curate(curation(tmp_path / "media"), lake=str(tmp_path / "lake"))
    with pytest.raises(DataError, match="at least 2 pairs"):
        codes(CodesRecipe(), str(tmp_path / "lake"))
