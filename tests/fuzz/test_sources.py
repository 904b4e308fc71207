"""Manifests, tars and lists of URLs: whatever is in them, each gives items that can be stored, or says that it cannot be read."""

import csv
import io
import json
import random
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.hostile_files import DAMAGE
from schemas.errors import SourceError
from schemas.items import ITEM_SCHEMA, Item
from schemas.tables import QUARANTINE
from tasks.sources.manifest import Manifest
from tasks.sources.urls import Urls
from tasks.sources.webdataset import WebDataset
from tests.fuzz.budget import budget

NASTY = [
    "",
    " ",
    "a.png",
    "../a.png",
    "/etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1/",
    "s3://b/k",
    "\0",
    "\ud800",
    "\udcff",
    '"',
    '""',
    "'",
    "\r",
    "\n",
    "\r\n",
    "\ufeff",
    "a!b@0+9",
    "[",
    "{}",
    '["a"]',
    "NaN",
    "1e999",
    "9" * 5000,
    "\u202e",
    "=cmd()",
    "a" * 70_000,
    "http://[",
    "memory://x",
    "zip://a::file:///etc/passwd",
    "http://\u2460",
    "a\tb",
    "#",
    "-",
    "\x85",
    "\u2028",
]
words = st.one_of(st.sampled_from(NASTY), st.text(max_size=12))
names = st.sampled_from(
    ["media", "text", "texts", "caption", "language", "licence", "url", "concept", "credit", "x", "", "path"]
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)
damage = st.tuples(st.sampled_from([None, None, *DAMAGE]), st.integers(0, 1 << 30))


def damaged(data: bytes, how: tuple[str | None, int]) -> bytes:
    """Return data with the damage that a pair of kind and seed names."""
    kind, seed = how
    return data if kind is None or len(data) < 16 else DAMAGE[kind](random.Random(seed), data, data)


def listed(reader: object) -> list[Item]:
    """Return the items a reader gives, after writing them down as a run does; none if it says that it cannot read."""
    try:
        items = list(reader())  # type: ignore[operator]
    except SourceError as error:
        assert str(error)
        return []
    columns = {name: [getattr(item, name) for item in items] for name in Item.__dataclass_fields__}
    columns["texts"] = [[vars(text) for text in item.texts] for item in items]
    columns |= {name: ["s"] * len(items) for name in ("source", "source_id")}
    pa.RecordBatch.from_pydict(columns, schema=ITEM_SCHEMA).validate(full=True)
    assert len({item.locator for item in items}) == len(items)
    assert all(item.problem or item.uri or item.texts for item in items)
    assert all(item.problem_message for item in items if item.problem)
    assert "reason" in QUARANTINE.schema.names
    return items


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("fuzz")
    (made / "a.png").write_bytes(b"a")
    return made


@budget(60)
@given(
    header=st.lists(names, min_size=1, max_size=4),
    rows=st.lists(st.lists(words, max_size=5), max_size=6),
    tab=st.booleans(),
    how=damage,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_csv(folder, header, rows, tab, how, quoting):
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t" if tab else ",", quoting=quoting)
    writer.writerows([header, *rows])
    path = folder / ("rows.tsv" if tab else "rows.csv")
    path.write_bytes(damaged(out.getvalue().encode("utf-8", "surrogatepass"), how))
    listed(Manifest(str(path)))


@budget(60)
@given(
    rows=st.lists(st.one_of(json_values, st.dictionaries(names, json_values, max_size=5)), max_size=6),
    how=damage,
)
def test_jsonl(folder, rows, how):
    path = folder / "rows.jsonl"
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_bytes(damaged(text.encode("utf-8", "surrogatepass"), how))
    listed(Manifest(str(path)))


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"a":' * 50_000, '{"text": ' + "9" * 10_000 + "}", '{"media": [[[[]]]]}', "\ufeff{}"],
)
def test_jsonl_that_is_too_deep_or_too_long_costs_its_line(folder, line):
    path = folder / "deep.jsonl"
    path.write_text(line + '\n{"text": "a good row"}\n')
    assert [item.problem for item in listed(Manifest(str(path)))][-1] == ""


columns = st.sampled_from(
    [
        pa.array(["a.png", None, "../x"]),
        pa.array([b"\xff\xfe", b"a", None]),
        pa.array([1, 2, None]),
        pa.array([1.5, float("nan"), None]),
        pa.array([["a"], None, [None]]),
        pa.array([{"a": 1, "b": None}] * 3),
        pa.array([10**15, -(10**15), None], pa.timestamp("s")),
        pa.array([2**31 - 1, -(2**31), None], pa.date32()),
        pa.array([2**62, 1, None], pa.timestamp("ns")),
        pa.array([2**62, 1, None], pa.duration("s")),
        pa.array(["a", "b", None]).dictionary_encode(),
        pa.array([None] * 3),
        pa.array([True, False, None]),
        pa.array([2**62, 1, None], pa.timestamp("us", "Europe/Berlin")),
        pa.array([2**62, 1, None], pa.timestamp("us", "UTC")),
        pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        pa.array([2**63, 1, None], pa.uint64()),
        pa.array([86_399_999_999, 0, None], pa.time64("us")),
        pa.array(["é", "x" * 70_000, "\0"]),
    ]
)


@budget(60)
@given(parts=st.lists(st.tuples(names, columns), min_size=1, max_size=4), how=damage)
def test_parquet(folder, parts, how):
    path = folder / "rows.parquet"
    out = io.BytesIO()
    pq.write_table(pa.table([column for _, column in parts], names=[name for name, _ in parts]), out)
    path.write_bytes(damaged(out.getvalue(), how))
    listed(Manifest(str(path)))


members = st.tuples(
    st.one_of(
        st.sampled_from(
            [
                "a.png",
                "a.txt",
                "a.json",
                "../b.png",
                "/c.png",
                "d/",
                ".hidden",
                "a/./b.jpg",
                "",
                "x.PNG",
                "a.b.txt",
            ]
        ),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=120),
    ),
    st.sampled_from(
        [
            tarfile.REGTYPE,
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.DIRTYPE,
            tarfile.CHRTYPE,
            tarfile.FIFOTYPE,
            b"S",
            b"x",
            b"K",
            b"?",
        ]
    ),
    st.one_of(
        st.binary(max_size=40),
        words.map(lambda text: text.encode("utf-8", "surrogatepass")),
        json_values.map(lambda v: json.dumps(v).encode()),
    ),
    st.sampled_from(["", "a.png", "../../etc/passwd", "/etc/passwd"]),
)


@budget(60)
@given(
    parts=st.lists(members, max_size=8),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]),
    how=damage,
)
def test_tar(folder, parts, form, how):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, kind, data, to in parts:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, to, len(data)
            try:
                tar.addfile(info, io.BytesIO(data))
            except ValueError:  # a name this form cannot hold
                continue
    path = folder / "a.tar"
    path.write_bytes(damaged(out.getvalue(), how))
    listed(WebDataset(str(path)))


@budget(40)
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(words, st.sampled_from(["http://a.example/b.png", "HTTPS://a.example:99999/"])), words
        ),
        max_size=6,
    ),
    how=damage,
)
def test_urls(folder, rows, how):
    path = folder / "urls.txt"
    path.write_bytes(damaged("\n".join("\t".join(row) for row in rows).encode("utf-8", "surrogatepass"), how))
    for item in listed(Urls(str(path))):
        assert item.problem or not item.uri or item.uri.lower().startswith(("http://", "https://"))
