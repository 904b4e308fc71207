"""What SQL gives over random lakes, against plain Python over the same rows."""

import json
import tempfile
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.lake import Lake
from storage.sql import Limits
from storage.sql.engine import engine
from tests.storage.sql_lakes import commit, decision, digest, filled, media, pair, score, text, verdict

FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
METHODS = ("consensus", "cosine", "caption: flip")
COLUMNS = {"consensus": "consensus", "cosine": "cosine", "caption: flip": "caption_flip"}

maybe = st.none() | st.booleans()
numbers = st.integers(0, 5)
widths = st.none() | st.sampled_from([0, 10, 600, 2**31 - 1])
values = st.none() | st.sampled_from([0.0, 0.25, 0.9, float("nan"), float("inf")])
some_media = st.builds(
    lambda n, w, p, k: media(n, width_px=w, present=p, kept=k), numbers, widths, st.booleans(), maybe
)
some_texts = st.builds(
    lambda n, t, p: text(n, text=t, present=p), numbers, st.none() | st.text(max_size=5), st.booleans()
)
some_pairs = st.builds(
    lambda m, t, p, k, r: pair(m, t, present=p, kept=k, dropped_by=r, role=r),
    numbers, numbers, st.booleans(), maybe, st.sampled_from([None, "title", "folder", "'; --"]),
)  # fmt: skip
some_scores = st.builds(
    lambda m, t, method, v: score("pair", f"p{m:03d}{t:03d}", method, v),
    numbers,
    numbers,
    st.sampled_from(METHODS),
    values,
)
some_verdicts = st.builds(
    lambda m, t, said, on: verdict("pair", f"p{m:03d}{t:03d}", said, active=on),
    numbers, numbers, st.sampled_from(["keep", "drop"]), st.booleans(),
)  # fmt: skip
some_decisions = st.builds(
    lambda m, t, rule, on: decision("pair", f"p{m:03d}{t:03d}", rule, active=on),
    numbers, numbers, st.sampled_from(["correspondence: noisy", "correspondence: disputed", "cosine"]), st.booleans(),
)  # fmt: skip
STEPS = {
    "media": (some_media, "media_id"), "texts": (some_texts, "text_id"), "pairs": (some_pairs, "pair_id"),
    "scores": (some_scores, "score_id"), "verdicts": (some_verdicts, "verdict_id"), "decisions": (some_decisions, "decision_id"),
}  # fmt: skip


def _step(tables):
    return st.fixed_dictionaries(
        {
            name: st.lists(STEPS[name][0], max_size=8, unique_by=lambda row, key=STEPS[name][1]: row[key])
            for name in tables
        }
    )


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield path


def _lake(folder, steps, restored=False):
    lake = Lake(tempfile.mkdtemp(dir=folder))
    made = [commit(lake, **step) for step in steps]
    if restored:
        made.append(lake.restore(made[0].snapshot_id))
    return lake, list(dict.fromkeys(snapshot.snapshot_id for snapshot in made))


def _current(lake, table, at):
    rows = lake.read(table, at=at).to_pylist()
    return [row for row in rows if row.get("present", True) and row.get("active", True)]


def _same(found, wanted):
    """Compare rows in no particular order; NaN equals NaN."""
    assert Counter(map(repr, found)) == Counter(map(repr, wanted))


@FEW
@given(
    steps=st.lists(_step(["media"]), min_size=1, max_size=3),
    restored=st.booleans(),
    bound=st.sampled_from([0, 10, 599, 2**31 - 1]),
)
def test_filters_and_groups_at_every_version_are_those_of_plain_python(folder, steps, restored, bound):
    lake, versions = _lake(folder, steps, restored)
    for at in versions:
        rows = _current(lake, "media", at)
        for condition, passes in (
            ("width_px > $b", lambda w: w is not None and w > bound),
            ("NOT width_px > $b", lambda w: w is not None and w <= bound),
            ("width_px IN ($b, 600)", lambda w: w in (bound, 600)),
            ("width_px IS NULL OR width_px = $b", lambda w: w is None or w == bound),
            ("width_px BETWEEN 5 AND $b", lambda w: w is not None and 5 <= w <= bound),
            ("width_px IS DISTINCT FROM $b", lambda w: w != bound),
        ):
            wanted = [
                (row["media_id"], row["width_px"], row["kept"]) for row in rows if passes(row["width_px"])
            ]
            for _ in range(3):  # scanned, then kept in memory
                found = lake.sql(
                    f"SELECT digest, width_px, kept FROM media AT (VERSION => '{at}') WHERE {condition}",
                    params={"b": bound},
                )
                _same([tuple(row.values()) for row in found.rows()], wanted)
        groups = Counter((row["kept"], row["modality"]) for row in rows)
        found = lake.sql("SELECT kept, modality, count(*) AS n FROM media GROUP BY ALL", at=at).rows()
        assert {(row["kept"], row["modality"]): row["n"] for row in found} == groups


@FEW
@given(step=_step(["media", "texts", "pairs"]), kind=st.sampled_from(["inner", "left"]))
def test_joins_are_those_of_pandas(folder, step, kind):
    lake, (at,) = _lake(folder, [step])
    columns = {"pairs": ["pair_id", "media_id", "text_id", "role"], "media": ["media_id", "width_px"]}
    frames = {name: pd.DataFrame(_current(lake, name, at), columns=its) for name, its in columns.items()}
    wanted = frames["pairs"].merge(frames["media"], on="media_id", how=kind)
    found = lake.sql(f"SELECT p.pair_id, m.width_px FROM pairs p {kind} JOIN media m USING (digest)").rows()
    clean = [None if pd.isna(width) else int(width) for width in wanted["width_px"]]
    _same([tuple(row.values()) for row in found], list(zip(wanted["pair_id"], clean, strict=True)))


@FEW
@given(step=_step(["texts", "pairs", "scores", "verdicts", "decisions"]), study=st.booleans())
def test_a_view_of_pairs_equals_a_naive_pivot(folder, step, study):
    divisions = [{"division_id": "d", "rule_digest": "study", "active": True}] if study else []
    lake, (at,) = _lake(folder, [step | {"divisions": divisions}])
    texts = {row["text_id"]: row for row in lake.read("texts", at=at).to_pylist()}
    scored = {
        (row["subject_id"], row["method"]): row["value"] for row in lake.read("scores", at=at).to_pylist()
    }
    said = {row["subject_id"]: row["verdict"] for row in _current(lake, "verdicts", at)}
    rules: dict[str, set[str]] = {}
    for row in _current(lake, "decisions", at):
        rules.setdefault(row["subject_id"], set()).add(row["rule"])
    wanted = []
    for row in _current(lake, "pairs", at):
        key = row["pair_id"]
        clean = scored.get((key, "consensus"))
        doubts = rules.get(key, set())
        division = next(
            (name for name in ("noisy", "disputed") if f"correspondence: {name}" in doubts),
            "clean" if clean is not None else None,
        )
        its = texts.get(row["text_id"], {})
        wanted.append(
            (
                key,
                row["media_id"],
                its.get("text"),
                said.get(key),
                clean,
                division,
                *(scored.get((key, m)) for m in METHODS),
            )
        )
    methods = {method for _, method in scored}
    named = ", ".join(COLUMNS[m] if m in methods else f"NULL AS {COLUMNS[m]}" for m in METHODS)
    for shape in (
        "SELECT {}",
        "SELECT {} FROM (SELECT * FROM pairs) AS pairs --",
    ):  # by name, and all at once
        picked = f"pair_id, digest, text, verdict, clean, division, {named}"
        statement = (
            shape.format(picked) + " FROM pairs"
            if "--" not in shape
            else shape.format(picked).replace(" --", "")
        )
        _same([tuple(row.values()) for row in lake.sql(statement).rows()], wanted)
    alone = lake.sql("SELECT pair_id, clean FROM pairs WHERE clean > 0.5").rows()
    _same(
        [row["pair_id"] for row in alone],
        [w[0] for w in wanted if w[4] is not None and (w[4] > 0.5 or np.isnan(w[4]))],
    )


@FEW
@given(steps=st.lists(_step(["pairs"]), min_size=2, max_size=3))
def test_a_difference_is_that_of_a_double_loop(folder, steps):
    lake, versions = _lake(folder, steps)
    old, new = (
        {row["pair_id"]: row for row in _current(lake, "pairs", at)} for at in (versions[0], versions[-1])
    )
    wanted = {}
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        names = [
            n
            for n in ("media_id", "text_id", "role", "present", "kept", "dropped_by")
            if before and after and before[n] != after[n]
        ]
        if before is None or after is None:
            wanted[key] = ("added" if before is None else "removed", [], None, None)
        elif names:
            wanted[key] = ("changed", names, {n: before[n] for n in names}, {n: after[n] for n in names})
    rows = lake.sql("FROM diff('pairs', $a, $b)", params={"a": versions[0], "b": versions[-1]}).rows()
    found = {
        row["key"]: (
            row["change"],
            row["changed_columns"],
            *(s and json.loads(s) for s in (row["before"], row["after"])),
        )
        for row in rows
    }
    assert found == wanted
    said = lake.diff("pairs", versions[0], versions[-1])
    raw = {
        row["key"]: row["change"]
        for row in lake.sql("FROM diff('raw.pairs', ?, ?)", params=[versions[0], versions[-1]]).rows()
    }
    assert raw == dict.fromkeys(said.added, "added") | dict.fromkeys(said.removed, "removed") | dict.fromkeys(
        said.changed, "changed"
    )


# Looking rows up by id changes no result

SOURCES = {
    "media": ("digest", "media_id"), "pairs": ("digest", "media_id", "text_id"), "texts": ("digest", "text_id"),
    "raw.pairs": ("media_id", "text_id"), "scores": ("subject_id",), "found": ("digest", "other"),
}  # fmt: skip
UNKEPT = Limits(memory="700MB")


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    engine(UNKEPT).kept.limit = 0  # or tables would be kept after the second statement, and looked up no more
    return filled(str(tmp_path_factory.mktemp("sql") / "lake"))


@st.composite
def chains(draw):
    tables = draw(
        st.lists(st.sampled_from(["media", "pairs", "texts", "raw.pairs", "scores"]), min_size=1, max_size=3)
    )
    tables.insert(draw(st.integers(0, len(tables))), "found")
    if draw(st.booleans()) and len(tables) < 4:
        tables.append("found")
    parts = []
    for place, table in enumerate(tables):
        if not place:
            parts.append(f"{table} r0")
            continue
        kind = draw(
            st.sampled_from(
                [
                    "JOIN",
                    "JOIN",
                    "JOIN",
                    "LEFT JOIN",
                    "LEFT JOIN",
                    "RIGHT JOIN",
                    "FULL JOIN",
                    "CROSS JOIN",
                    "SEMI JOIN",
                ]
            )
        )
        if kind == "CROSS JOIN":
            parts.append(f"CROSS JOIN {table} r{place}")
            continue
        other = draw(st.integers(0, place - 1))
        if draw(st.booleans()) and "digest" in SOURCES[table] and "digest" in SOURCES[tables[0]]:
            parts.append(f"{kind} {table} r{place} USING (digest)")
        else:
            ours, theirs = (
                draw(st.sampled_from(SOURCES[table])),
                draw(st.sampled_from(SOURCES[tables[other]])),
            )
            more = draw(
                st.sampled_from(["", "", f" AND r{place}.{ours} <> 'm003'", f" OR r{place}.{ours} > 'm006'"])
            )
            sides = [f"r{place}.{ours}", f"r{other}.{theirs}"]
            if draw(st.booleans()):
                sides.reverse()
            parts.append(f"{kind} {table} r{place} ON {' = '.join(sides)}{more}")
    where = ""
    if draw(st.booleans()):
        one, other = draw(st.integers(0, len(tables) - 1)), draw(st.integers(0, len(tables) - 1))
        equal = f"r{one}.{draw(st.sampled_from(SOURCES[tables[one]]))} = r{other}.{draw(st.sampled_from(SOURCES[tables[other]]))}"
        where = " WHERE " + draw(
            st.sampled_from(
                [
                    equal,
                    f"({equal}) AND true",
                    f"{equal} OR r{one}.{SOURCES[tables[one]][0]} > 'm006'",
                    f"NOT ({equal})",
                ]
            )
        )
    return tables, " ".join(parts) + where


@MANY
@given(
    chain=chains(),
    found=st.lists(
        st.tuples(
            st.sampled_from(["m001", "m002", "m003", "t001", "none"]), st.sampled_from([None, "m001", "t002"])
        ),
        max_size=4,
    ),
)
def test_rows_looked_up_by_id_are_the_rows_of_a_full_scan(lake, chain, found):
    """The same statement reads a function behind WITH, where nothing is looked up."""
    tables, joined = chain

    def rows(lake, snapshot):
        return pa.table(
            {
                name: pa.array([pair[n] for pair in found], pa.string())
                for n, name in enumerate(("digest", "other"))
            }
        )

    shown = [f"r{place}.{column}" for place, table in enumerate(tables) for column in SOURCES[table]]
    visible = [name for name in shown if f"SEMI JOIN {tables[int(name[1])]} {name[:2]} " not in joined]
    listed = ", ".join(f"{name} AS c{n}" for n, name in enumerate(visible))
    said = []
    for source, start in (
        ("found()", ""),
        ("hidden", "WITH hidden AS MATERIALIZED (SELECT * FROM found()) "),
    ):
        statement = f"{start}SELECT {listed} FROM {joined.replace('found r', f'{source} r')}"
        try:
            result = lake.sql(statement, functions={"found": rows}, limits=UNKEPT)
        except Exception as error:  # a chain that names what a SEMI JOIN hides, or is ambiguous
            said.append(type(error).__name__)
        else:
            said.append(Counter(tuple(row.values()) for row in result.rows()))
            LOOKED_UP[source] += sum(read["source"] == "ids" for read in result.pushed)
    assert said[0] == said[1]


LOOKED_UP: Counter[str] = Counter()


def test_rows_were_looked_up_at_all():
    """Of the chains above many must have been of the kind that is looked up, or they show nothing."""
    if sum(LOOKED_UP.values()):
        assert LOOKED_UP["found()"] >= 20 and LOOKED_UP["hidden"] == 0


@MANY
@given(
    picked=st.lists(st.sampled_from([digest("m", n) for n in range(10)]), max_size=4),
    statement=st.sampled_from(
        [
            "SELECT s.digest, m.width_px FROM f() s JOIN media m USING (digest)",
            "SELECT s.digest, m.width_px FROM f() s LEFT JOIN media m USING (digest)",
            "SELECT m.digest, s.n FROM media m LEFT JOIN f() s USING (digest)",
            "SELECT m.digest, s.n FROM f() s RIGHT JOIN media m USING (digest)",
            "SELECT p.pair_id, p.text, p.clean, p.division, p.verdict FROM f() s JOIN pairs p USING (digest)",
            "SELECT p.pair_id, t.text FROM f() s, pairs p, texts t WHERE s.digest = p.media_id AND p.text_id = t.text_id",
            "SELECT m.digest, count(*) AS n FROM media m JOIN f() s ON s.digest = m.digest GROUP BY 1",
            "SELECT m.digest FROM media m LEFT JOIN f() s ON s.digest = m.digest WHERE s.digest IS NULL",
            "SELECT s.digest, max(x.width_px) OVER () AS w FROM f() s, (SELECT max(width_px) AS width_px FROM media) x",
            "SELECT m.digest, (SELECT count(*) FROM media) AS n FROM f() s JOIN media m USING (digest)",
            "SELECT a.digest, b.digest AS other FROM f() s JOIN media a USING (digest) JOIN media b ON b.width_px = a.width_px",
        ]
    ),
)
def test_named_shapes_of_joins_with_a_function(lake, picked, statement):
    def f(lake, snapshot):
        return pa.table(
            {"digest": pa.array(picked, pa.string()), "n": pa.array(range(len(picked)), pa.int64())}
        )

    plain = lake.sql(statement, functions={"f": f}, limits=UNKEPT).rows()
    hidden = "WITH hidden AS MATERIALIZED (FROM f()) " + statement.replace("f() s", "hidden s")
    _same(plain, lake.sql(hidden, functions={"f": f}, limits=UNKEPT).rows())
