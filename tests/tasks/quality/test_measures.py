"""What is counted once over a table, on a real lake of random rows, against loops over its rows."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import ks_2samp

from schemas.quality import Expectation
from storage.lake import Lake
from tasks.check import _bench, _place
from tasks.quality import measures
from tasks.quality.measures import MEASURES, measure
from tests.storage import sql_lakes as rows


def expectation(check, table="pairs", column="", **params):
    bound = {} if check in ("columns", "unique", "exists-in", "none-where") else {"at_most": 1.0}
    return Expectation.model_validate(
        {"name": f"{table}.x", "table": table, "check": check, "column": column, "params": params} | bound
    )


def measured(lake, expected, at=None, before=None):
    snapshot = lake.snapshot(at) if at else lake.head()
    was = lake.snapshot(before) if before else None
    with _bench(lake, snapshot, was) as bench:
        return measure(expected, _place(lake, snapshot, was, bench, expected.table))


@pytest.fixture(params=range(3))
def draw(request):
    return np.random.default_rng(request.param)


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def some_pairs(draw, n=40, of=12):
    found = {}
    for _ in range(n):
        medium, text = (int(k) for k in draw.integers(0, of, 2))
        row = rows.pair(
            medium,
            text,
            present=bool(draw.random() < 0.8),
            kept=[True, False, None][int(draw.integers(0, 3))],
            role=str(draw.choice(["title", "caption", "folder"], p=[0.5, 0.2, 0.3])),
            dropped_by=None if draw.random() < 0.5 else "rule",
        )
        found[row["pair_id"]] = row
    return list(found.values())


def test_rows_that_name_what_is_not_there(lake, draw):
    pairs = some_pairs(draw)
    rows.commit(lake, media=[rows.media(n) for n in range(0, 12, 2)], texts=[], pairs=pairs)
    lost = sorted(p["pair_id"] for p in pairs if int(p["media_id"][1:]) % 2)
    found = measured(lake, expectation("exists-in", column="media_id", tables=["media"]))
    assert (found.value, found.rows, found.unexpected) == (len(lost) / len(pairs), len(pairs), len(lost))
    assert list(found.offending) == lost[:20]
    assert measured(lake, expectation("exists-in", column="text_id", tables=["texts"])).value == 1


def test_only_scores_of_the_subject_are_asked_for_it(lake):
    scores = [
        rows.score("media", "m000", "a", 1),
        rows.score("media", "m009", "a", 1),
        rows.score("text", "t009", "a", 1),
    ]
    rows.commit(lake, media=[rows.media(0)], scores=scores)
    found = measured(
        lake, expectation("exists-in", "scores", "subject_id", tables=["media"], subject="media")
    )
    assert (found.rows, found.offending) == (2, ("m009/a/a",))


def test_keys_that_stand_twice(lake, draw):
    texts = [rows.text(n) | {"text": f"text {int(draw.integers(0, 20))}"} for n in range(25)]
    rows.commit(lake, texts=texts)
    counts = Counter(row["text"] for row in texts)
    twice = sorted(text for text, n in counts.items() if n > 1)
    found = measured(lake, expectation("unique", "texts", "text"))
    assert found.unexpected == sum(counts[text] for text in twice)
    assert (found.rows, list(found.offending)) == (25, twice[:20])


def test_rows_of_which_a_condition_is_true(lake, draw):
    pairs = some_pairs(draw)
    rows.commit(lake, pairs=pairs)
    bad = sorted(
        p["pair_id"] for p in pairs if p["present"] and p["kept"] is False and p["dropped_by"] is None
    )
    found = measured(
        lake, expectation("none-where", condition="present AND kept IS false AND dropped_by IS NULL")
    )
    assert (found.unexpected, list(found.offending)) == (len(bad), bad[:20])


def test_counts_shares_and_the_most_frequent_value(lake, draw):
    pairs = some_pairs(draw)
    rows.commit(lake, pairs=pairs)
    kept = [p for p in pairs if p["present"] and p["kept"] is not False]
    among = "present AND kept IS NOT false"
    assert measured(lake, expectation("count", among=among)).value == len(kept)
    titles = sum(p["role"] == "title" for p in kept) / len(kept)
    assert measured(lake, expectation("share-where", condition="role = 'title'", among=among)).value == titles
    most = max(Counter(p["role"] for p in kept).values()) / len(kept)
    assert measured(lake, expectation("largest-share", column="role", among=among)).value == most


def test_the_median(lake, draw):
    lengths = [int(n) for n in draw.integers(1, 50, 17)]
    rows.commit(lake, texts=[rows.text(n, length_chars=length) for n, length in enumerate(lengths)])
    assert measured(lake, expectation("median", "texts", "length_chars")).value == np.median(lengths)


def test_the_most_frequent_folder_of_kept_media(lake, draw):
    pairs = some_pairs(draw)
    media = [rows.media(n, kept=bool(n % 3)) for n in range(12)]
    rows.commit(lake, media=media, texts=[rows.text(n) for n in range(12)], pairs=pairs)
    kept = {row["media_id"] for row in media if row["kept"]}
    text_of = {row["text_id"]: row["text"] for row in (rows.text(n) for n in range(12))}
    folder: dict[str, str] = {}
    for p in pairs:
        if p["present"] and p["role"] == "folder" and p["media_id"] in kept:
            text = text_of[p["text_id"]]
            folder[p["media_id"]] = min(text, folder.get(p["media_id"], text))
    found = measured(lake, expectation("folder-balance", "media", role="folder"))
    if not folder:
        assert found.value is None
    else:
        assert found.value == max(Counter(folder.values()).values()) / len(folder)
        assert found.rows == len(folder)


def test_written_texts_that_say_nothing_new(lake):
    texts = [
        rows.text(0, text="A red bicycle"), rows.text(1, text="a red BICYCLE", origin="synthetic"),
        rows.text(2, text="a boat", origin="synthetic"), rows.text(3, text="A Boat", origin="synthetic"),
        rows.text(4, text="dropped", origin="synthetic"),
    ]  # fmt: skip
    pairs = [rows.pair(n, n) for n in range(4)] + [rows.pair(5, 2), rows.pair(4, 4, kept=False)]
    rows.commit(lake, texts=texts, pairs=pairs)
    found = measured(lake, expectation("novelty", "texts"))
    assert (found.value, found.rows) == (
        1 / 4,
        4,
    )  # "a boat" alone is new; four kept pairs have written texts


def study(**changes):
    return {
        "division_id": "d1", "scorer": "consensus", "divider": "x", "params": "{}", "rule_digest": "r", "inputs": "i",
        "separable": True, "why": "", "noise_rate": 0.25, "noise_rate_low": 0.125, "noise_rate_high": 0.5, "pairs": 80,
        "clean": 60, "disputed": 10, "noisy": 10, "reliability": "[]", "active": True, "run_id": "r",
    } | changes  # fmt: skip


def test_the_noise_of_the_study_that_is_active(lake):
    old = study(division_id="d0", active=False, noise_rate_high=0.9)
    rows.commit(lake, divisions=[old, study()])
    assert measured(lake, expectation("noise-rate", "divisions")).value == 0.5
    assert measured(lake, expectation("noise-interval", "divisions")).value == 0.5 - 0.125


def test_a_study_that_cannot_tell_is_not_a_failure(lake):
    rows.commit(lake, divisions=[study(noise_rate=None, noise_rate_low=None, noise_rate_high=None)])
    found = measured(lake, expectation("noise-rate", "divisions"))
    assert (found.value, found.raised, found.said) == (None, "", "the study cannot tell")


def test_the_drift_of_scores_is_that_of_scipy(lake, draw):
    pairs = [rows.pair(n, n, present=n != 3) for n in range(40)]
    before = {m: draw.random(40).round(2) for m in ("one", "two")}
    after = {"one": before["one"], "two": (draw.random(40) ** 2).round(2)}
    for tag, values in (("v1", before), ("v2", after)):
        scores = [
            rows.score("pair", pairs[n]["pair_id"], method, float(value), inputs=tag)
            for method, column in values.items()
            for n, value in enumerate(column)
        ]
        rows.commit(lake, tag=tag, pairs=pairs, scores=scores)
    here = [n for n in range(40) if n != 3]
    f32 = {m: (before[m][here].astype(np.float32), after[m][here].astype(np.float32)) for m in before}
    wanted = max(ks_2samp(*sides).statistic for sides in f32.values())
    found = measured(lake, expectation("score-drift", "scores"), at="v2", before="v1")
    assert found.value == pytest.approx(wanted, abs=1e-12)
    assert found.said == "most: two"


def test_the_drift_of_many_scores_is_counted_in_little_memory(lake, monkeypatch):
    monkeypatch.setenv("XMODAL_JOIN_MEMORY", "16MB")  # and no more than that
    monkeypatch.setattr("tasks.quality.measures.AT_ONCE", 1000)
    sides, ascending = [], measures._ascending
    monkeypatch.setattr(measures, "_ascending", lambda *of: sides.append(ascending(*of)) or sides[-1])
    draw, n = np.random.default_rng(0), 60_000
    media = [rows.media(k, thumbnail=None) for k in range(n)]
    before, after = (
        draw.beta(2, b, n).round(2).astype(np.float32) for b in (2, 3)
    )  # values in long rows of equal ones
    for tag, values in (("v1", before), ("v2", after)):
        found = zip(media, values.tolist(), strict=True)
        scores = [
            rows.score("media", medium["media_id"], "one", value, inputs=tag) for medium, value in found
        ]
        rows.commit(lake, tag=tag, media=media, scores=scores)
    found = measured(lake, expectation("score-drift", "scores"), at="v2", before="v1")
    assert (found.raised, found.rows) == ("", 2 * n)
    assert found.value == pytest.approx(ks_2samp(before, after).statistic, abs=1e-12)
    assert [(len(side), isinstance(side, np.memmap)) for side in sides] == 2 * [(n, True)]


@pytest.mark.parametrize("sides", [(0.1, 0.9), (0.9, 0.1)])
def test_the_drift_of_sides_that_lie_apart_is_whole(lake, sides):
    media = [rows.media(k, thumbnail=None) for k in range(4)]
    for tag, value in zip(("v1", "v2"), sides, strict=True):
        scores = [rows.score("media", one["media_id"], "one", value, inputs=tag) for one in media]
        rows.commit(lake, tag=tag, media=media, scores=scores)
    assert measured(lake, expectation("score-drift", "scores"), at="v2", before="v1").value == 1


def test_a_check_that_lacks_memory_gets_more_unless_the_user_set_it(lake, monkeypatch):
    media = [rows.media(k, thumbnail=None) for k in range(60_000)]
    rows.commit(lake, media=media)
    monkeypatch.setattr("tasks.check.LITTLE_MB", 4)
    found = measured(lake, expectation("unique", "media", column="media_id"))
    assert (found.raised, found.rows, found.unexpected) == ("", len(media), 0)
    monkeypatch.setenv("XMODAL_JOIN_MEMORY", "4MB")
    assert "Out of Memory" in measured(lake, expectation("unique", "media", column="media_id")).raised


def test_the_drift_of_a_mix_is_half_the_sum_of_gaps(lake, draw):
    pairs = some_pairs(draw, 60)
    rows.commit(lake, tag="v1", pairs=pairs)
    changed = [p | {"role": str(draw.choice(["title", "new"]))} for p in pairs]
    rows.commit(lake, tag="v2", pairs=changed)
    was, now = (Counter(p["role"] for p in side) for side in (pairs, changed))
    wanted = sum(abs(now[role] - was[role]) for role in {*was, *now}) / len(pairs) / 2
    found = measured(lake, expectation("mix-drift", column="role"), at="v2", before="v1")
    assert found.value == pytest.approx(wanted)


def test_drift_without_a_snapshot_before_is_not_measured(lake):
    rows.commit(lake, pairs=[rows.pair(0, 0)], scores=[])
    for asked in (expectation("mix-drift", column="role"), expectation("score-drift", "scores")):
        assert measured(lake, asked).value is None


def test_columns_that_are_missing_or_of_another_type(lake):
    rows.commit(lake, pairs=[rows.pair(0, 0)])
    assert measured(lake, expectation("columns")).value == 0
    with _bench(lake, lake.head(), None) as bench:
        place = _place(lake, lake.head(), None, bench, "pairs")
        without = vars(place) | {"schema": place.schema.remove(place.schema.get_field_index("role"))}
        found = measure(expectation("columns"), type(place)(**without))
    assert (found.unexpected, found.offending) == (1, ("role",))


def test_a_condition_the_engine_does_not_take_raised(lake):
    rows.commit(lake, pairs=[rows.pair(0, 0)])
    found = measured(lake, expectation("none-where", condition="no_such_column > 1"))
    assert found.value is None
    assert "no_such_column" in found.raised


def test_a_condition_cannot_read_files(lake, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    rows.commit(lake, pairs=[rows.pair(0, 0)])
    sql = f"EXISTS (SELECT 1 FROM read_csv('{tmp_path / 'secret.csv'}'))"
    found = measured(lake, expectation("none-where", condition=sql))
    assert found.value is None and "Permission" in found.raised


def test_too_few_rows_are_not_measured(lake):
    rows.commit(lake, pairs=[rows.pair(n, n) for n in range(9)])
    asked = expectation("share-where", condition="kept", min_rows=10)
    assert (measured(lake, asked).value, measured(lake, asked).said) == (None, "9 rows; it takes 10 to tell")


def test_every_measure_has_a_docstring():
    assert [name for name, function in MEASURES.items() if not function.__doc__] == []
