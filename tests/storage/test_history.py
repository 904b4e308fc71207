"""Versions: two of them side by side and why, tags, restoring, and letting old ones go."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import DataError, LakeBusy, LakeError, NoSuchSnapshot, NoSuchTable
from schemas.tables import CONTENT, RUNS
from storage import history, retention, upkeep
from storage.difference import difference, thumbnails
from storage.lake import Lake
from storage.sql import Limits
from tests.storage.conftest import commit as commit_texts
from tests.storage.conftest import texts_of, upsert
from tests.storage.sql_lakes import commit, decision, filled, media, pair, score, text, unit, verdict

LEFT_OUT = {"row_digest"}


def ran(lake: Lake, run_id: str, flow: str = "curate", **recipe: Any) -> str:
    """Put a run on record."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = {name: None for name in RUNS.schema.names} | {
        "run_id": run_id, "flow": flow, "status": "committed", "recipe": "mine", "recipe_json": json.dumps(recipe),
        "code_version": "1", "encoders": "[]", "counts": "{}", "costs": "[]", "cost_per_1000_kept": "{}",
        "started_at": now, "finished_at": now,
    }  # fmt: skip
    lake.append_log(RUNS, row)
    return run_id


def min_side(at_least: float, **further: Any) -> dict[str, Any]:
    return {"filters": [{"method": {"name": "min-side", "params": {}}, "at_least": at_least}]} | further


def committed_by(lake: Lake, run_id: str, **tables: Any) -> str:
    """Commit rows as a run does."""
    import pyarrow as pa
    import pyarrow.dataset as pds

    from storage import rows

    with lake.writer() as writer:
        for name, given in tables.items():
            spec = CONTENT[name]
            listed = [{column: None for column in spec.schema.names} | dict(row) for row in given]
            writer.upsert(
                spec, pds.dataset(rows.with_digest(pa.Table.from_pylist(listed, schema=spec.schema), spec))
            )
        return writer.commit(tag=None, recipe_digest=run_id, run_id=run_id).snapshot_id


def ruled(number: int, width: int, at_least: int) -> dict[str, Any]:
    return decision(
        "media", f"m{number:03d}", "min-side", method="min-side", value=float(width), threshold=f"at_least {at_least}",
        decision_id=f"{number}/{at_least}", rule_digest=str(at_least),
    )  # fmt: skip


def said(found: Any, table: str) -> dict[str, int]:
    return {cause.said: cause.rows for cause in found.tables[table].causes}


def on_disk(lake: Lake) -> dict[str, int]:
    """Return {file: bytes} of a lake on a local disk."""
    root = Path(lake.uri)
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def sieved(lake: Lake) -> Lake:
    """Media of 40, 50, ... 120 pixels: all kept under at_least 32 but one; under 64 those of 40, 50 and 60 fall too."""
    sides = {n: 40 + 10 * n for n in range(9)} | {9: 20}
    tiny = media(9, width_px=20, kept=False, dropped_by="min-side")
    committed_by(
        lake, ran(lake, "r1", **min_side(32.0)),
        media=[media(n, width_px=side) for n, side in sides.items() if n != 9] + [tiny],
        texts=[text(n) for n in sides],
        pairs=[pair(n, n) for n in sides if n != 9] + [pair(9, 9, kept=False, dropped_by="media: min-side")],
        decisions=[ruled(9, 20, 32)],
    )  # fmt: skip
    small = [n for n, side in sides.items() if side < 64]
    assert small == [0, 1, 2, 9]
    committed_by(
        lake, ran(lake, "r2", **min_side(64.0)),
        media=[media(n, width_px=sides[n], kept=False, dropped_by="min-side") for n in small],
        pairs=[pair(n, n, kept=False, dropped_by="media: min-side") for n in small],
        decisions=[ruled(9, 20, 32) | {"active": False}] + [ruled(n, sides[n], 64) for n in small],
    )  # fmt: skip
    return lake


# Two versions, and why


def test_a_rule_says_its_threshold_before_and_after(sieved):
    found = difference(sieved, "s000001", "s000002")
    assert said(found, "media") == {"min-side at_least 32 -> 64: dropped": 3}
    assert said(found, "pairs") == {"min-side at_least 32 -> 64: dropped with its medium": 3}
    assert said(found, "decisions") == {
        "min-side at_least 32 -> 64: drop added": 4, "min-side at_least 32 -> 64: drop removed": 1,
    }  # fmt: skip
    (setting,) = found.settings
    assert (setting.name, setting.before, setting.after) == (
        "curate: filters[min-side].at_least",
        "32.0",
        "64.0",
    )
    assert found.tables["texts"].causes == () and found.tables["texts"].changed == 0
    assert found.tables["media"].columns == {"kept": 3, "dropped_by": 3}


def test_a_restored_version_has_the_recipe_it_had(sieved):
    sieved.restore("s000001")
    found = difference(sieved, "s000002", "s000003")
    assert said(found, "media") == {"min-side at_least 64 -> 32: kept again": 3}
    assert [(s.before, s.after) for s in found.settings] == [("64.0", "32.0")]
    assert all(table.causes == () for table in difference(sieved, "s000001", "s000003").tables.values())


def test_versions_on_both_sides_of_a_restored_one_are_told_apart(lake):
    """Both lack one row of the same file, each another one."""
    letters = {name: f"text {name}" for name in "abcdef"}
    first = commit_texts(lake, letters).snapshot_id
    one = commit_texts(lake, letters | {"a": "another"}).snapshot_id
    lake.restore(first)
    other = commit_texts(lake, letters | {"b": "another"}).snapshot_id
    found = difference(lake, one, other).tables["texts"]
    assert (found.added, found.removed, found.changed) == (0, 0, 2)
    by_hand = lake.diff("texts", one, other)
    assert (by_hand.added, by_hand.removed, sorted(by_hand.changed)) == ([], [], ["a", "b"])


def test_a_rule_that_is_new_and_one_that_is_gone_say_so(lake):
    committed_by(lake, ran(lake, "r1"), media=[media(1)], decisions=[])
    committed_by(
        lake, ran(lake, "r2", **min_side(64.0)), media=[media(1, kept=False, dropped_by="min-side"), media(2)]
    )
    committed_by(lake, ran(lake, "r3"), media=[media(1)])
    assert said(difference(lake, "s000001", "s000002"), "media") == {
        "min-side at_least 64 (new): dropped": 1, "new in its source: added": 1,
    }  # fmt: skip
    assert said(difference(lake, "s000002", "s000003"), "media") == {
        "min-side at_least 64 (gone): kept again": 1
    }


def test_the_quantile_that_was_cut_at_is_that_of_the_decisions(lake):
    rule = {"method": {"name": "blur"}, "at_most_quantile": 0.95}
    blurred = decision("media", "m002", "blur", threshold="at_most 7.5", run_id="r2")
    committed_by(lake, ran(lake, "r1", filters=[rule]), media=[media(1), media(2)])
    committed_by(
        lake,
        ran(lake, "r2", filters=[rule]),
        media=[media(2, kept=False, dropped_by="blur")],
        decisions=[blurred],
    )
    found = difference(lake, "s000001", "s000002")
    assert said(found, "media") == {"blur at_most_quantile 0.95 -> at_most 7.5: dropped": 1}


def test_a_rule_with_the_same_threshold_and_other_parameters_says_so(lake):
    def rule(size: int) -> dict[str, Any]:
        return {"filters": [{"method": {"name": "min-side", "params": {"size": size}}, "at_least": 32.0}]}

    committed_by(lake, ran(lake, "r1", **rule(1)), media=[media(1)])
    committed_by(lake, ran(lake, "r2", **rule(2)), media=[media(1, kept=False, dropped_by="min-side")])
    found = difference(lake, "s000001", "s000002")
    assert said(found, "media") == {"min-side at_least 32: dropped (its settings changed)": 1}


def test_a_person_is_the_cause_of_what_a_person_said(lake):
    numbers = range(5)
    noisy = {"kept": False, "dropped_by": "correspondence: noisy"}
    person = {"kept": False, "dropped_by": "person"}
    commit(
        lake, media=[media(n) for n in numbers], texts=[text(n) for n in numbers],
        pairs=[pair(0, 0, **noisy), pair(1, 1), pair(2, 2), pair(3, 3, **person), pair(4, 4, **noisy)],
        decisions=[decision("pair", f"p{n:03d}{n:03d}", "correspondence: noisy") for n in (0, 4)],
        verdicts=[verdict("pair", "p003003", "drop", person="bob")],
    )  # fmt: skip
    commit(
        lake,
        media=[media(2, kept=False, dropped_by="person")],
        pairs=[pair(0, 0), pair(1, 1, **person), pair(2, 2, kept=False, dropped_by="media: person"), pair(3, 3),
               pair(4, 4, **person)],
        verdicts=[verdict("pair", "p000000", "keep"), verdict("pair", "p001001", "drop"), verdict("media", "m002", "drop"),
                  verdict("pair", "p003003", "drop", person="bob", active=False), verdict("pair", "p004004", "drop")],
    )  # fmt: skip
    found = difference(lake, "s000001", "s000002")
    assert said(found, "pairs") == {
        "ada correspondence: noisy -> keep: kept again": 1,
        "ada drop (new): dropped": 1,
        "ada drop (new): dropped with its medium": 1,
        "bob drop (gone): kept again": 1,
        "ada drop (new): dropped by it, before by correspondence: noisy": 1,
    }
    assert {cause.kind for cause in found.tables["pairs"].causes} == {"person"}
    assert said(found, "verdicts") == {"ada: says drop": 3, "ada: says keep": 1, "bob: withdrawn": 1}


def test_a_synthetic_text_names_its_captioner_and_version(lake):
    def caption(number: int, version: str, params: str = "aaaaaaaaaa", **changes: Any) -> dict[str, Any]:
        return {
            "caption_id": f"{number}/{version}/{params}", "media_id": f"m{number:03d}", "text_id": f"t{number:03d}",
            "generator": "labels", "version": version, "params_digest": params, "attempt": 1, "status": "accepted",
            "active": True, "run_id": "r",
        } | changes  # fmt: skip

    synthetic = {"origin": "synthetic", "generator": "labels"}
    refused = {"kept": False, "dropped_by": "caption: refused"}
    commit(
        lake,
        media=[media(n) for n in range(4)],
        texts=[text(0, **synthetic)],
        pairs=[pair(0, 0)],
        captions=[caption(0, "1")],
    )
    commit(
        lake,
        texts=[text(0, **synthetic, present=False), text(1, **synthetic), text(2, **synthetic), text(3, origin="file-name")],
        pairs=[pair(0, 0, present=False), pair(1, 1), pair(2, 2, **refused), pair(3, 3)],
        captions=[caption(0, "1", active=False), caption(1, "2"), caption(2, "2", status="refused")],
        decisions=[decision("pair", "p002002", "caption: refused", threshold='support of "a cat" is 0.31, under 0.5')],
    )  # fmt: skip
    found = difference(lake, "s000001", "s000002")
    assert said(found, "texts") == {
        "labels version 1 -> 2: added": 2, "labels version 1 -> 2: removed": 1, "new in its source: added": 1,
    }  # fmt: skip
    assert said(found, "pairs") == {
        "labels version 1 -> 2: added": 1, "labels version 1 -> 2: added, dropped by caption: refused": 1,
        "labels version 1 -> 2: removed": 1, "new in its source: added": 1,
    }  # fmt: skip
    assert said(found, "decisions") == {"caption: refused support under 0.5 (new): drop added": 1}
    commit(
        lake,
        captions=[
            caption(1, "2", active=False),
            caption(2, "2", active=False, status="refused"),
            caption(3, "2", "bbbbbbbbbb"),
        ],
    )
    assert said(difference(lake, "s000002", "s000003"), "captions") == {
        "labels version 2 (aaaaaaaa) -> (bbbbbbbb): accepted added": 1,
        "labels version 2 (aaaaaaaa) -> (bbbbbbbb): accepted removed": 1,
        "labels version 2 (aaaaaaaa) -> (bbbbbbbb): refused removed": 1,
    }


def test_scores_say_whose_parameters_changed_and_vectors_whose_encoder(lake):
    commit(lake, media=[media(0)], scores=[score("media", "m000", "blur", 1.0)], vectors={"m000": unit(0)})
    commit(
        lake,
        scores=[score("media", "m000", "blur", 2.0, "b"), score("media", "m000", "side", 2.0)],
        vectors={"m001": unit(1)},
    )
    found = difference(lake, "s000001", "s000002")
    assert said(found, "scores") == {"blur a -> b: added": 1, "side a (new): added": 1}
    assert said(found, "embeddings_tiny") == {"tiny of media e: added": 1}
    commit(lake, scores=[score("media", "m001", "blur", 2.0, "b")])
    assert said(difference(lake, "s000002", "s000003"), "scores") == {"blur b: added": 1}


def test_inputs_that_come_go_and_come_back(lake):
    def source(number: int, **changes: Any) -> dict[str, Any]:
        return {"source_id": f"s{number}", "source": "photos", "locator": f"{number}.png", "outcome": "kept",
                "present": True, "run_id": "r"} | changes  # fmt: skip

    commit(lake, media=[media(0), media(1), media(2, present=False)], sources=[source(0), source(1)])
    commit(
        lake, media=[media(0, present=False), media(2), media(3), media(1, licence="CC0")],
        sources=[source(0, present=False), source(1, outcome="merged"), source(3)],
    )  # fmt: skip
    found = difference(lake, "s000001", "s000002")
    assert said(found, "media") == {
        "left its source: removed": 1, "back in its source: added": 1, "new in its source: added": 1, "licence: changed": 1,
    }  # fmt: skip
    assert said(found, "sources") == {"photos: gone": 1, "photos: kept is now merged": 1, "photos: new": 1}


def test_counts_are_those_of_a_double_loop_and_causes_add_up_to_them(tmp_path):
    lake = filled(str(tmp_path / "lake"))
    for before, after in (("v1", "v2"), ("v2", "v3"), ("v1", "v3"), ("v3", "v1"), ("v2", "v2")):
        found = difference(lake, before, after, limit=1000)
        for table, its in found.tables.items():
            added, removed, changed, columns = looped(lake, table, before, after)
            assert (its.added, its.removed, its.changed) == (added, removed, changed), (before, after, table)
            assert its.columns == columns
            assert sum(cause.rows for cause in its.causes) == added + removed + changed == len(its.rows)
            by_cause = Counter(row.cause for row in its.rows)
            assert by_cause == {cause.said: cause.rows for cause in its.causes}


@pytest.mark.parametrize("seed", range(4))
def test_causes_of_random_changes_add_up(tmp_path, seed):
    rng = np.random.default_rng(seed)
    lake = Lake(str(tmp_path / "lake"))
    rules = [
        None,
        None,
        "min-side",
        "person",
        "correspondence: noisy",
        "media: min-side",
        "text: length-chars",
    ]

    def drawn(n: int) -> dict[str, Any]:
        rule = rules[rng.integers(len(rules))]
        present = bool(rng.random() < 0.8)
        return pair(n, n % 7, present=present, kept=present and rule is None, dropped_by=rule)

    for _ in range(2):
        some = rng.permutation(40)[:25]
        commit(
            lake,
            texts=[text(n, origin="synthetic" if rng.random() < 0.3 else "raw") for n in range(7)],
            pairs=[drawn(int(n)) for n in some],
            verdicts=[verdict("pair", f"p{n:03d}{n % 7:03d}", "keep") for n in some[:3]],
        )
    its = difference(lake, "s000001", "s000002", limit=100).tables["pairs"]
    added, removed, changed, columns = looped(lake, "pairs", "s000001", "s000002")
    assert (its.added, its.removed, its.changed, its.columns) == (added, removed, changed, columns)
    assert sum(cause.rows for cause in its.causes) == added + removed + changed > 0
    assert len({cause.said for cause in its.causes}) == len(its.causes)


def looped(lake: Lake, table: str, before: str, after: str) -> tuple[int, int, int, dict[str, int]]:
    """Compare every current row with every other, as plain values."""
    derived = CONTENT[table].derived if table in CONTENT else {"vector", "run_id"}
    sides = []
    for at in (before, after):
        rows = lake.read(table, at=at).to_pylist() if table in lake.tables(at) else []
        sides.append([row for row in rows if row.get("present", True) and row.get("active", True)])
    key = CONTENT[table].key if table in CONTENT else "item_id"
    added = sum(all(new[key] != old[key] for old in sides[0]) for new in sides[1])
    removed = sum(all(new[key] != old[key] for new in sides[1]) for old in sides[0])
    changed, columns = 0, Counter[str]()
    for old in sides[0]:
        for new in sides[1]:
            if old[key] == new[key]:
                names = [n for n in new if n not in derived and n not in LEFT_OUT and old[n] != new[n]]
                changed += bool(names)
                columns.update(names)
    return added, removed, changed, dict(columns)


def test_samples_show_each_cause_first_with_texts_and_pictures(sieved):
    committed_by(
        sieved, "r3", pairs=[pair(3, 3, role="caption"), *(pair(n, n, present=False) for n in range(4, 9))]
    )
    found = difference(sieved, "s000001", "s000003", tables=["pairs", "media"], limit=3)
    assert found.tables.keys() == {"media", "pairs"}
    rows = found.tables["pairs"].rows
    assert [row.cause for row in rows] == [
        "left its source: removed", "min-side at_least 32 -> 64: dropped with its medium", "role: changed",
    ]  # fmt: skip
    assert [(row.key, row.about, row.media_id) for row in rows] == [
        ("p004004", "red bicycle 4", "m004"), ("p000000", "red bicycle 0", "m000"), ("p003003", "old red house 3", "m003"),
    ]  # fmt: skip
    assert (rows[2].columns, rows[2].before, rows[2].after) == (
        ("role",),
        {"role": "title"},
        {"role": "caption"},
    )
    assert [row.about for row in found.tables["media"].rows] == ["0.png", "1.png", "2.png"]
    assert thumbnails(sieved, found) == {f"m{n:03d}": b"webp" for n in range(5)}
    none = difference(sieved, "s000001", "s000003", limit=0)
    assert none.tables["pairs"].rows == () and none.tables["pairs"].removed == 5


def test_refuses_tables_and_versions_that_are_not_there(sieved):
    with pytest.raises(NoSuchTable, match="neither s000001 nor s000002 has a table 'nothing'"):
        difference(sieved, "s000001", "s000002", tables=["nothing"])
    with pytest.raises(NoSuchSnapshot, match="'never'"):
        difference(sieved, "never", "s000002")
    with pytest.raises(ValueError, match="found -1"):
        difference(sieved, "s000001", "s000002", limit=-1)


# The list, and one of it


def test_versions_say_what_changed_and_who_made_them(sieved):
    sieved.move_tag("good", "s000001")
    sieved.restore("good")
    found = history.versions(sieved)
    assert [(v.snapshot.snapshot_id, v.tags, v.flow, v.changed, v.data) for v in found] == [
        ("s000001", ("good",), "curate", "the first", "kept"),
        ("s000002", (), "curate", "recipe, decisions +4, media changed, pairs changed", "kept"),
        ("s000003", (), "restore", "recipe, decisions -4, media changed, pairs changed", "kept"),
    ]
    assert history.versions(Lake(f"{sieved.uri}-none")) == []


def test_a_version_is_described_by_its_tables_recipe_and_run(sieved):
    found = history.describe(sieved, "s000002")
    assert {t.table: (t.rows, t.kept) for t in found.tables} == {
        "decisions": (5, None), "media": (10, 6), "pairs": (10, 6), "texts": (10, 10),
    }  # fmt: skip
    assert found.run is not None and found.run["run_id"] == "r2"
    assert found.recipes == {"curate": min_side(64.0)}
    sieved.restore("s000001")
    again = history.describe(sieved, "s000003")
    assert again.run is None and again.recipes == {"curate": min_side(32.0)}


def test_thresholds_are_written_as_decisions_write_them():
    recipe = {
        "filters": [{"method": {"name": "length"}, "at_least": 3.0, "at_most": 400.0}],
        "pair_rules": [{"method": {"name": "cosine"}, "at_least": 0.28}],
        "near_duplicates": {"max_distance": 3}, "correspondence": {"noisy_below": 0.2, "clean_above": 0.5},
    }  # fmt: skip
    gates = {
        "gates": [
            {"method": {"name": "substance"}, "at_least": 1.0},
            {"method": {"name": "flip"}, "at_least": 0.5},
        ]
    }
    assert history.thresholds({"curate": recipe, "caption": gates}) == {
        "length": "at_least 3, at_most 400", "cosine": "at_least 0.28", "near-duplicate": "max_distance 3",
        "correspondence: noisy": "P(true) at most 0.2", "correspondence: disputed": "P(true) under 0.5",
        "caption: refused": "substance under 1, flip under 0.5",
    }  # fmt: skip


# Letting go


def worn(lake: Lake) -> dict[str, dict[str, str]]:
    """A lake with appended, replaced, deleted, compacted and indexed rows, and what a killed writer left; tags on two."""
    states = {}
    for n in range(6):
        snapshot = commit_texts(
            lake, {"changes": f"text {n}", f"row{n}": "stays"}, tag="good" if n == 1 else None
        )
        states[snapshot.snapshot_id] = texts_of(lake)
    with lake.writer() as writer:
        upsert(writer, {"stray": "never committed"})
    with lake.writer() as writer:
        upkeep.compact(lake, writer)
        states[writer.commit(tag="small", recipe_digest="d", run_id="r").snapshot_id] = texts_of(lake)
    with lake.writer() as writer:
        lake.latest("texts").create_scalar_index("text_id", "BTREE")
        writer.adopt("texts")
        states[writer.commit(tag=None, recipe_digest="e", run_id="r").snapshot_id] = texts_of(lake)
    used = next(iter((Path(lake.uri) / "texts.lance" / "data").iterdir()))
    used.with_name("0" * 32 + ".lance").write_bytes(b"an orphan")
    return states


@pytest.mark.parametrize("keep", [1, 3, 7, 8, 20])
def test_bytes_that_come_free_are_those_said(lake, keep):
    states = worn(lake)
    before = on_disk(lake)
    planned = retention.plan(lake, keep=keep)
    assert on_disk(lake) == before  # to say it changes nothing
    done = retention.let_go(lake, keep=keep)
    gone = {path: size for path, size in before.items() if path not in on_disk(lake)}
    assert planned == done.plan and planned.exact
    assert planned.freed_bytes == done.freed_bytes == sum(gone.values()) > 0
    by_table = Counter[str]()
    for path, size in gone.items():
        by_table[path.split(".lance")[0]] += size
    assert planned.bytes_of == by_table
    assert planned.unnamed_bytes >= len(b"an orphan")
    expected = [s for s in sorted(states)[:-keep] if s not in ("s000002", "s000007")]
    assert [g.snapshot_id for g in planned.let_go] == expected == list(done.let_go)
    for snapshot_id, content in states.items():
        if snapshot_id not in expected:
            assert texts_of(lake, snapshot_id) == content
    again = retention.plan(lake, keep=keep)
    assert (again.let_go, again.freed_bytes) == ((), 0)


def test_the_plan_says_what_protects_what(lake):
    worn(lake)
    found = retention.plan(lake, keep=3)
    assert {p.snapshot_id: p.by for p in found.protected} == {
        "s000002": ("tag good",), "s000006": ("one of the newest 3",),
        "s000007": ("tag small", "one of the newest 3"), "s000008": ("newest",),
    }  # fmt: skip
    assert found.freed_bytes == sum(g.own_bytes for g in found.let_go) + found.unnamed_bytes + shared(
        lake, found
    )


def shared(lake: Lake, found: retention.Plan) -> int:
    """Return the bytes of files that several snapshots name which go, and none that stays, by hand."""
    going, staying = {g.snapshot_id for g in found.let_go}, {p.snapshot_id for p in found.protected}
    named: dict[str, set[str]] = {}
    for snapshot in lake.snapshots():
        for fragment in lake.dataset("texts", snapshot).get_fragments():
            files = [f"data/{file.path}" for file in fragment.metadata.files]
            for path in [*files, *([fragment.deletion_file()] if fragment.deletion_file() else [])]:
                named.setdefault(path, set()).add(snapshot.snapshot_id)
    root = Path(lake.uri) / "texts.lance"
    return sum(
        (root / path).stat().st_size for path, by in named.items() if len(by & going) > 1 and not by & staying
    )


def test_what_two_versions_share_is_the_own_of_neither(lake):
    commit_texts(lake, {"a": "one"}, tag=None)
    commit_texts(lake, {"b": "two"}, tag=None)  # its rows are those of the first, and one more
    with lake.writer() as writer:
        upkeep.compact(lake, writer)
        writer.commit(tag=None, recipe_digest="d", run_id="r")
    root = Path(lake.uri) / "texts.lance"
    ours = [
        {f.metadata.files[0].path for f in lake.dataset("texts", s).get_fragments()}
        for s in ("s000001", "s000002")
    ]
    (both,) = ours[0] & ours[1]
    planned = retention.plan(lake, keep=1)
    assert shared(lake, planned) == (root / "data" / both).stat().st_size
    assert planned.freed_bytes == sum(g.own_bytes for g in planned.let_go) + planned.unnamed_bytes + shared(
        lake, planned
    )


def test_a_file_goes_with_the_last_version_that_needs_it(lake):
    commit_texts(lake, {"a": "one"}, tag=None)
    commit_texts(lake, {"a": "two"}, tag=None)
    (first,) = (f.metadata.files[0].path for f in lake.dataset("texts", "s000001").get_fragments())
    assert retention.plan(lake, keep=2).let_go == ()
    (going,) = retention.plan(lake, keep=1).let_go
    assert going.own_bytes > (Path(lake.uri) / "texts.lance/data" / first).stat().st_size
    lake.restore("s000001")  # s000003 names the same files
    found = {g.snapshot_id: g.own_bytes for g in retention.plan(lake, keep=1).let_go}
    assert found["s000001"] == (Path(lake.uri) / "texts.lance/_refs/tags/s000001.json").stat().st_size
    retention.let_go(lake, keep=1)
    assert texts_of(lake) == texts_of(lake, "s000001") == {"a": "one"}
    # Nothing was written since: what Lance has as its newest version stays, and goes once there is another.
    assert [v.data for v in history.versions(lake)] == ["kept", "loose", "kept"]
    commit_texts(lake, {"a": "three"}, tag=None)
    planned = retention.plan(lake, keep=1)
    assert [g.snapshot_id for g in planned.let_go] == ["s000002", "s000003"]
    assert retention.let_go(lake, keep=1).freed_bytes == planned.freed_bytes
    assert [v.data for v in history.versions(lake)] == ["gone", "gone", "gone", "kept"]


def test_what_was_let_go_stays_on_record_and_says_that_it_is_gone(sieved):
    committed_by(sieved, "r3", media=[media(11)])
    retention.let_go(sieved, keep=1)
    assert [(v.snapshot.snapshot_id, v.data, v.missing) for v in history.versions(sieved)] == [
        ("s000001", "gone", ("decisions", "media", "pairs")),
        ("s000002", "gone", ("media",)),  # the newest has its other tables
        ("s000003", "kept", ()),
    ]
    described = history.describe(sieved, "s000001")
    assert {t.table: (t.rows, t.readable) for t in described.tables}["media"] == (10, False)
    for act in (
        lambda: difference(sieved, "s000001", "s000003"),
        lambda: history.tag(sieved, "old", "s000001"),
        lambda: history.restore(sieved, "s000001"),
    ):
        with pytest.raises(LakeError, match="s000001 has been let go .*Still there: s000003"):
            act()
    assert sieved.tags() == {} and len(sieved.snapshots()) == 3


def test_bytes_are_those_said_of_tables_that_the_newest_lacks(lake):
    commit(lake, texts=[text(0)])
    commit(lake, texts=[text(1)], media=[media(0)])
    commit(lake, texts=[text(2)], media=[media(1)])
    lake.restore("s000001")
    before = on_disk(lake)
    done = retention.let_go(lake, keep=1)
    assert done.let_go == ("s000001", "s000002", "s000003")
    assert "media" in done.plan.bytes_of  # the marks; a clean-up looks at tables of the newest alone
    after = on_disk(lake)
    assert done.plan.freed_bytes == done.freed_bytes == sum(before.values()) - sum(after.values())


def test_lets_nothing_go_while_another_run_writes(lake):
    worn(lake)
    before = on_disk(lake)
    with lake.writer(), pytest.raises(LakeBusy):
        retention.let_go(lake, keep=1)
    assert on_disk(lake) == before


def test_a_tag_put_on_meanwhile_keeps_its_version(lake):
    states = worn(lake)

    class Tagged(Lake):
        """A lake that someone else tags just before files are deleted."""

        def tags(self) -> dict[str, str]:
            looks.append(1)
            if len(looks) == 3:  # the plan has looked, and what lifts the protection
                self.move_tag("late", "s000003")
            return super().tags()

    looks: list[int] = []
    done = retention.let_go(Tagged(lake.uri), keep=1)
    assert done.spared == ("s000003",) and "s000003" not in done.let_go
    assert "s000003" in {g.snapshot_id for g in done.plan.let_go}
    assert texts_of(lake, "late") == states["s000003"]
    assert retention.plan(lake, keep=1).let_go == ()


def test_refuses_to_keep_nothing_and_to_empty_what_is_empty(lake):
    with pytest.raises(ValueError, match="keep=0"):
        retention.plan(lake, keep=0)
    with pytest.raises(DataError, match="no snapshot"):
        retention.let_go(lake)
    assert retention.plan(lake) == retention.Plan(10, (), (), {}, 0, True)
    assert not Path(lake.uri).exists()


# Tags


def test_a_tag_protects_a_version_that_nothing_did(lake):
    for n in range(3):
        commit_texts(lake, {"a": f"text {n}"}, tag=None)
    upkeep.expire(lake, keep=1)
    assert [v.data for v in history.versions(lake)] == ["loose", "loose", "kept"]
    history.tag(lake, "good", "s000001")
    assert [v.data for v in history.versions(lake)] == ["kept", "loose", "kept"]
    assert [g.snapshot_id for g in retention.plan(lake, keep=1).let_go] == ["s000002"]
    done = retention.let_go(lake, keep=1)
    assert done.let_go == ("s000002",) and done.freed_bytes == done.plan.freed_bytes
    assert texts_of(lake, "good") == {"a": "text 0"}


def test_a_removed_tag_protects_no_more(lake):
    for n in range(2):
        commit_texts(lake, {"a": f"text {n}"}, tag=None)
    history.tag(lake, "good", "s000001")
    assert retention.plan(lake, keep=1).let_go == ()
    assert history.tag(lake, "good", None) is None
    assert lake.tags() == {}
    assert [g.snapshot_id for g in retention.plan(lake, keep=1).let_go] == ["s000001"]
    with pytest.raises(DataError, match="no tag 'good'"):
        history.tag(lake, "good", None)


@pytest.mark.parametrize("name", ["", " ", " good", "s000001", "a\x1b[31m", "a\nb"])
def test_refuses_names_that_are_no_tags(lake, name):
    commit_texts(lake, {"a": "x"}, tag=None)
    with pytest.raises(DataError, match="choose another name"):
        history.tag(lake, name, "s000001")


def test_a_diff_takes_less_memory_than_what_differs(lake):
    """60,000 texts of 300 letters, all changed, 40 MB as they are on two sides, with 48 MB for everything."""
    before = {f"{n:032d}": "a" * 300 for n in range(60_000)}
    commit_texts(lake, before)
    commit_texts(lake, dict.fromkeys(before, "b" * 300) | {"new": "c"})
    found = difference(lake, "s000001", "s000002", limits=Limits(memory="48MB"), limit=3).tables["texts"]
    assert (found.added, found.removed, found.changed) == (1, 0, 60_000)
    assert found.columns["text"] == 60_000
    assert [row.key for row in found.rows if row.change == "changed"] == list(before)[:2]
