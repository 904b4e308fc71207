"""Manifests: what is written is read back; what is wrong costs one row."""

import csv
import io
import json
import os
import random
import tempfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InvalidParameter, SourceError
from schemas.items import ItemText
from schemas.recipes import SourceRef
from tasks.sources import read_bytes, reader
from tasks.sources.fetch import checked_url
from tasks.sources.manifest import _PLAIN_URL, Manifest


def problems(path, **options):
    return [(item.locator, item.problem) for item in Manifest(str(path), **options)()]


@pytest.fixture
def folder(tmp_path, png):
    for index, name in enumerate(("a.png", "b.png", "c.png")):
        (tmp_path / name).write_bytes(png(index))
    return tmp_path


ROWS = [
    {"file_name": "a.png", "caption": 'one,\nwith "quotes"', "license": "CC0", "width": "1"},
    {"file_name": "b.png", "caption": "zwei", "license": "", "width": "2"},
]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_items(folder, png, kind):
    path = folder / f"list.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[0]), delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(ROWS)
    first, second = reader(SourceRef(name="s", kind="manifest", location=str(path)))()
    assert (first.locator, first.texts, first.licence) == ("a.png", (ItemText(ROWS[0]["caption"]),), "CC0")
    assert json.loads(first.extra) == {"width": "1"}
    assert (second.locator, second.texts, second.licence) == ("b.png", (ItemText("zwei"),), "")
    assert [read_bytes(item.uri, max_bytes=999) for item in (first, second)] == [png(0), png(1)]
    assert first.size_bytes == len(png(0)) and not first.problem


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=8), st.booleans())
def test_texts_written_by_the_standard_library_are_read_back_equal(texts, as_csv):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.csv" if as_csv else "m.jsonl")
        with open(path, "w", newline="", encoding="utf-8") as file:
            if as_csv:
                csv.writer(file).writerows([["n", "text"], *enumerate(texts)])
            else:
                file.writelines(json.dumps({"n": n, "text": text}) + "\n" for n, text in enumerate(texts))
        items = list(Manifest(path)())
    assert [item.texts[0].text for item in items] == texts
    assert [int(json.loads(item.extra)["n"]) for item in items] == list(range(len(texts)))
    assert len({item.locator for item in items}) == len(texts)


def test_only_the_bad_lines_of_a_csv_are_refused(folder):
    lines = [
        b"image,text",
        b"a.png,good",
        b"b.png,caf\xe9",
        b"c.png,nul\0here",
        b"a.png,too,many",
        b'b.png,"a quote that never ends',
        b'c.png,"two\r\nlines"',
        b"a.png," + b"x" * 1_000_000,
        b"b.png,",
        b"none.png,text",
        b"c.png," + b"y" * 5_000_000,
        b"",
        b'c.png,"last ""one"""',
    ]
    path = folder / "m.csv"
    path.write_bytes(b"\r\n".join(lines))
    found = problems(path)
    assert [problem for _, problem in found] == [
        "", "bad-encoding", "nul-bytes", "bad-row", "bad-row", "", "text-too-long", "missing-text",
        "missing-file", "text-too-long", "",
    ]  # fmt: skip
    named = [locator for locator, _ in found if not locator.startswith("row:")]
    assert named == ["a.png", "b.png", "c.png", "c.png#2", "a.png#2", "b.png#2", "none.png", "c.png#3"]
    texts = [item.texts[0].text for item in Manifest(str(path))() if not item.problem]
    assert texts == ["good", "two\r\nlines", 'last "one"']


def test_an_endless_quote_at_the_end_of_a_csv_hides_no_row(folder):
    (folder / "m.csv").write_text('image,text\na.png,"open\nb.png,fine\nc.png,fine\n')
    assert [problem for _, problem in problems(folder / "m.csv")] == ["bad-row", "", ""]


def test_only_the_bad_lines_of_a_jsonl_are_refused(folder):
    lines = [
        b'{"path": "a.png", "text": "good"}',
        b'{"path": "b.png", "text": "caf\xe9"}',
        b'{"path": "b.png", "text": "a\\u0000b"}',
        b'{"path": "b.png", "text": "\\ud800"}',
        b'{"path": "b.png", "text"',
        b"[1]",
        b"[" * 100_000,
        b'{"path": "b.png", "text": null}',
        b'{"path": "c.png"}',
        b'{"text": "alone"}',
        b'{"path": 7, "text": "x"}',
        b'{"path": "b.png", "text": "' + b"x" * 5_000_000 + b'"}',
        b'{"path": "c.png", "text": "good"}',
    ]
    (folder / "m.jsonl").write_bytes(b"\n".join(lines))
    found = problems(folder / "m.jsonl")
    assert [problem for _, problem in found] == [
        "", "bad-encoding", "nul-bytes", "bad-encoding", "bad-row", "bad-row", "bad-row", "missing-text",
        "missing-text", "", "bad-row", "text-too-long", "",
    ]  # fmt: skip
    assert len({locator for locator, _ in found}) == len(found)


def test_bytes_that_are_not_utf8_in_a_parquet_cost_their_row(folder):
    broken = pa.array([b"good", b"caf\xe9"]).view(pa.binary()).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, broken.buffers())
    pq.write_table(pa.table({"image": ["a.png", "b.png"], "text": text}), folder / "m.parquet")
    assert problems(folder / "m.parquet") == [("a.png", ""), ("b.png", "bad-encoding")]


def test_media_may_not_leave_the_root(folder, tmp_path_factory, png):
    outside = tmp_path_factory.mktemp("outside") / "x.png"
    outside.write_bytes(png(7))
    (folder / "link.png").symlink_to(outside)
    (folder / "sub").mkdir()
    rows = [str(outside), f"../{outside.parent.name}/x.png", "link.png", outside.as_uri(), "/dev/null"]
    for place in (folder, folder / "sub"):
        (place / "m.csv").write_text("media\n" + "\n".join(rows) + "\n")
    assert [problem for _, problem in problems(folder / "m.csv")] == ["outside-root"] * 5
    assert [problem for _, problem in problems(folder / "m.csv", allow_outside=True)] == [""] * 4 + [
        "not-a-file"
    ]
    (folder / "sub" / "m.csv").write_text("media\n../a.png\n")
    assert problems(folder / "sub" / "m.csv") == [("../a.png", "outside-root")]
    assert problems(folder / "sub" / "m.csv", root=str(folder)) == [("../a.png", "")]


def test_addresses_are_taken_from_http_and_object_stores_only(folder):
    rows = [
        "https://h/a.png",
        "s3://b/a.png",
        "ftp://h/a",
        "simplecache::file:///etc/passwd",
        "http://u:p@h/a",
    ]
    rows += ["s3::file:///etc/passwd", "local:///etc/passwd"]
    (folder / "m.csv").write_text("url\n" + "\n".join(rows) + "\n")
    assert [problem for _, problem in problems(folder / "m.csv")] == ["", ""] + ["bad-url"] * 5


def test_a_remote_manifest_names_media_beside_it(png):
    store = fsspec.filesystem("memory")
    store.pipe({"/m2/l.csv": b"path\nx/a.png\n../b.png\n/etc/passwd\n", "/m2/x/a.png": png(1)})
    items = list(Manifest("memory://m2/l.csv")())
    assert [item.problem for item in items] == ["", "outside-root", "outside-root"]
    assert read_bytes(items[0].uri, max_bytes=999) == png(1)


def test_rows_without_texts_or_media(folder):
    (folder / "m.csv").write_text("path,text\na.png,\n,alone\n,alone\n,\n")
    found = problems(folder / "m.csv")
    assert [problem for _, problem in found] == ["missing-text", "", "", "missing-text"]
    assert found[1][0].startswith("text:") and found[2][0] == found[1][0] + "#2"
    assert problems(folder / "m.csv", allow_unpaired=True)[0] == ("a.png", "")
    (folder / "n.csv").write_text("path\na.png\n")
    assert problems(folder / "n.csv") == [("a.png", "")]


def test_columns_may_be_named_and_texts_may_be_several(folder):
    texts = json.dumps(["one", {"text": "deux", "language": "fr", "origin": "synthetic", "role": "title"}])
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["pic", "path", "lots", "lang"], ["a.png", "b.png", texts, "en_GB"]])
    (folder / "m.csv").write_text(buffer.getvalue())
    (item,) = Manifest(
        str(folder / "m.csv"), media_column="pic", texts_column="lots", language_column="lang"
    )()
    assert (item.locator, json.loads(item.extra)) == ("a.png", {"path": "b.png"})
    assert item.texts == (ItemText("one", "en"), ItemText("deux", "fr", "synthetic", "title"))


def test_fingerprints_follow_caption_and_file_and_not_the_order(folder, png):
    rows = ["a.png,one", "b.png,two", "c.png,three"]

    def prints(lines):
        (folder / "m.csv").write_text("path,text\n" + "\n".join(lines) + "\n")
        return {item.locator: item.fingerprint for item in Manifest(str(folder / "m.csv"))()}

    first = prints(rows)
    assert prints(random.Random(1).sample(rows, 3)) == first
    changed = prints(["a.png,one", "b.png,zwei", "c.png,three"])
    assert [name for name in first if changed[name] != first[name]] == ["b.png"]
    (folder / "c.png").write_bytes(png(200) + b"more")
    assert [name for name, value in prints(rows).items() if value != first[name]] == ["c.png"]


@pytest.mark.parametrize("content", ["", "width,height\n1,2\n", "a,a\n", "caf\xe9\n".encode("latin-1")])
def test_a_csv_without_a_usable_header_is_a_source_error(tmp_path, content):
    (tmp_path / "m.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError):
        list(Manifest(str(tmp_path / "m.csv"))())


def test_wrong_options_and_files_are_refused(tmp_path):
    with pytest.raises(InvalidParameter, match="must end in"):
        reader(SourceRef(name="s", kind="manifest", location="x.xlsx"))
    with pytest.raises(InvalidParameter, match="takes no 'colour'"):
        reader(SourceRef(name="s", kind="manifest", location="x.csv", options={"colour": 1}))
    (tmp_path / "m.csv").write_text("path\n")
    (tmp_path / "m.parquet").write_text("no parquet")
    for wrong in (
        Manifest(str(tmp_path / "m.csv"), text_column="no"),
        Manifest(str(tmp_path / "m.parquet")),
        Manifest("none.csv"),
    ):
        with pytest.raises(SourceError):
            list(wrong())


@given(st.from_regex(_PLAIN_URL, fullmatch=True))
def test_a_url_that_is_not_parsed_is_what_parsing_gives(url):
    assert str(checked_url(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x/../y.png", "https://a.example/./y", "https://user@a.example/x", "https://a.example:99999/x",
        "https://127.0.0.1/x", "https://xn--a.example/x", "https://a.example/x?y", "https://a.example", "https://A.example/x",
        "https://a.example/x\n", "ftp://a.example/x", "https://a.example//x",
    ],
)  # fmt: skip
def test_any_other_url_is_parsed(url):
    assert not _PLAIN_URL.fullmatch(url)
