"""Tars: samples in place, hostile members, damaged archives."""

import io
import os
import tarfile

import fsspec
import pytest

from schemas.errors import BadInput, InvalidParameter, SourceError
from schemas.items import ItemText
from schemas.recipes import SourceRef
from tasks.sources import open_local, read_bytes, reader
from tasks.sources.webdataset import WebDataset


def listed(location):
    return list(WebDataset(str(location))())


def info(name, kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    ("name", "mode"), [("s.tar", "w"), ("s.tar.gz", "w:gz"), ("s.tar.xz", "w:xz"), ("s!1@2+3.tar", "w")]
)
def test_members_of_one_key_are_one_sample_read_in_place(make_tar, png, name, mode):
    path = make_tar(
        name,
        ("./x/0.png", png(0)),
        ("./x/0.txt", b"zero\n"),
        ("./x/0.json", b'{"caption": "zero", "license": "CC0", "width": 1}'),
        ("x/1.seg.png", png(1)),
        ("x/1.txt", b"one"),
        ("x/1.cls", b"7"),
        ("y!@1+2.JPG", png(2)),
        ("z.txt", b"alone"),
        mode=mode,
    )
    items = list(reader(SourceRef(name="s", kind="webdataset", location=str(path)))())
    assert [item.locator for item in items] == [
        f"{name}!{member}" for member in ("x/0.png", "x/1.seg.png", "y!@1+2.JPG", "z.txt")
    ]
    assert [item.texts for item in items] == [
        (ItemText("zero"),),
        (ItemText("one"),),
        (),
        (ItemText("alone"),),
    ]
    assert (items[0].licence, items[0].extra) == ("CC0", '{"width": 1}')
    assert [read_bytes(item.uri, max_bytes=999) for item in items[:3]] == [png(0), png(1), png(2)]
    assert items[3].uri == "" and not any(item.problem for item in items)
    assert (open_local(items[0].uri) is None) == (mode != "w")
    if mode == "w":
        span = open_local(items[2].uri)
        with open(span.path, "rb") as file:
            file.seek(span.offset)
            assert file.read(span.size) == png(2)


def test_hostile_members_are_one_problem_each(make_tar, png):
    path = make_tar(
        "h.tar",
        ("a.png", png(0)),
        ("../../b.png", png(1)),
        ("/etc/c.png", png(1)),
        info("d.png", tarfile.SYMTYPE, "/etc/passwd"),
        ("d.txt", b"caption of the refused link"),
        info("sub/e.png", tarfile.SYMTYPE, "../../up"),
        info("f.png", tarfile.LNKTYPE, "../x"),
        info("g.png", tarfile.LNKTYPE, "a.png"),
        info("h.png", tarfile.CHRTYPE),
        info("i.png", tarfile.FIFOTYPE),
        info("sub", tarfile.DIRTYPE),
        ("._a.png", b"finder"),
        ("j.txt", b"caf\xe9"),
        ("k.json", b"{"),
        ("l.cls", b"1"),
        ("m.txt", b"x" * (1 << 21)),
    )
    assert [(item.locator.split("!")[1], item.problem) for item in listed(path)] == [
        ("a.png", ""),
        ("../../b.png", "outside-root"),
        ("/etc/c.png", "outside-root"),
        ("d.png", "outside-root"),
        ("sub/e.png", "outside-root"),
        ("f.png", "outside-root"),
        ("g.png", "not-a-file"),
        ("h.png", "not-a-file"),
        ("i.png", "not-a-file"),
        ("j.txt", "bad-encoding"),
        ("k.json", "bad-row"),
        ("l.cls", "unsupported-type"),
        ("m.txt", "text-too-long"),
    ]


def test_repeated_members_keep_their_own_bytes(make_tar, png):
    path = make_tar(
        "d.tar", ("a.png", png(1)), ("a.txt", b"x"), ("b.png", png(2)), ("a.png", png(3)), ("a.txt", b"y")
    )
    items = listed(path)
    assert [item.locator for item in items] == ["d.tar!a.png", "d.tar!b.png", "d.tar!a.png#2"]
    assert [read_bytes(item.uri, max_bytes=999) for item in items] == [png(1), png(2), png(3)]
    assert [item.problem for item in items] == [""] * 3


def test_a_text_apart_from_its_medium_is_said_not_guessed(make_tar, png):
    path = make_tar("d.tar", ("a.png", png(1)), ("b.png", png(2)), ("a.txt", b"x"), ("b.txt", b"y"))
    assert [item.problem for item in listed(path)] == ["", "", "bad-row", "bad-row"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_cut_archive_gives_what_is_whole_and_one_problem(make_tar, mode):
    bodies = [os.urandom(2000) for _ in range(4)]  # 4 blocks of 512 each, behind a header of 512
    path = make_tar("t.tar", *((f"{index}.png", body) for index, body in enumerate(bodies)), mode=mode)
    data = path.read_bytes()
    cut = 2560 * 3 + 700 if mode == "w" else len(data) - 1500
    path.write_bytes(data[:cut])
    *good, bad = listed(path)
    assert [read_bytes(item.uri, max_bytes=9999) for item in good] == bodies[:3]
    assert (bad.locator, bad.problem) == ("t.tar", "bad-archive")


@pytest.mark.parametrize("damage", ["header", "end", "inside header"])
def test_damage_that_tarfile_takes_for_the_end_is_reported(make_tar, png, damage):
    path = make_tar("t.tar", *((f"{index}.png", png(index)) for index in range(4)))
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[1024 * 2 + 10] ^= 255  # each member: a header and one block
        whole = 2
    else:
        data = data[: 1024 * 4 if damage == "end" else 1024 * 2 + 100]
        whole = 4 if damage == "end" else 2
    path.write_bytes(data)
    assert [item.problem for item in listed(path)] == [""] * whole + ["bad-archive"]


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\x1f\x8bnot gzip", b"x" * 5000])
def test_a_file_that_is_no_archive_is_one_problem(tmp_path, data):
    (tmp_path / "x.tar").write_bytes(data)
    assert [(item.locator, item.problem) for item in listed(tmp_path / "x.tar")] == [("x.tar", "bad-archive")]


def test_a_header_that_claims_much_memory_is_refused(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 33
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    (item,) = listed(tmp_path)
    assert item.problem == "bad-archive" and "claims" in item.problem_message


def test_finds_archives_by_folder_pattern_and_range(make_tar, png):
    for name in ("d/s-000.tar", "d/s-001.tar", "d/s-003.tar", "d/e/t.tar"):
        path = make_tar(name, ("a.png", png(1)))
    folder = path.parent.parent
    names = [item.locator for item in listed(folder)]
    assert names == ["e/t.tar!a.png", "s-000.tar!a.png", "s-001.tar!a.png", "s-003.tar!a.png"]
    assert [item.locator for item in listed(f"{folder}/s-*.tar")] == names[1:]
    ranged = listed(f"{folder}/{{s-{{000..003}},e/t}}.tar")
    assert [(item.locator, item.problem) for item in ranged] == [
        ("e/t.tar!a.png", ""),
        ("s-000.tar!a.png", ""),
        ("s-001.tar!a.png", ""),
        ("s-002.tar", "missing-file"),
        ("s-003.tar!a.png", ""),
    ]
    for nothing in ("none.tar", "x-*.tar", "x-{0..3}.tar"):
        with pytest.raises(SourceError):
            listed(folder / nothing)


def test_reads_archives_of_an_object_store(make_tar, png):
    store = fsspec.filesystem("memory")
    for name, mode in (("a.tar", "w"), ("b.tar.gz", "w:gz")):
        store.pipe(
            f"/w1/{name}", make_tar(name, ("0.png", png(5)), ("0.txt", b"five"), mode=mode).read_bytes()
        )
    items = listed("memory://w1")
    assert [item.locator for item in items] == ["a.tar!0.png", "b.tar.gz!0.png"]
    assert [read_bytes(item.uri, max_bytes=999) for item in items] == [png(5), png(5)]
    assert [item.locator for item in listed("memory://w1/*.tar")] == ["a.tar!0.png"]
    assert [item.problem for item in listed("memory://w1/{a,z}.tar")] == ["", "missing-file"]


def test_the_fingerprint_follows_the_content(make_tar, png):
    prints = set()
    for text, shade in ((b"one", 1), (b"two", 1), (b"two", 2)):
        path = make_tar("f.tar", ("a.png", png(shade)), ("a.txt", text))
        os.utime(path, ns=(shade, shade))
        prints.add(listed(path)[0].fingerprint)
        assert listed(path)[0].fingerprint in prints
    assert len(prints) == 3


def test_a_member_beyond_its_archive_is_truncated_and_limits_hold(make_tar, png):
    path = make_tar("a.tar", ("a.png", png(1)))
    uri = listed(path)[0].uri
    with pytest.raises(BadInput) as too_many:
        read_bytes(uri, max_bytes=10)
    path.write_bytes(path.read_bytes()[:520])
    with pytest.raises(BadInput) as truncated:
        read_bytes(uri, max_bytes=999)
    path.unlink()
    with pytest.raises(BadInput) as missing:
        read_bytes(uri, max_bytes=999)
    assert [caught.value.reason for caught in (too_many, truncated, missing)] == [
        "too-many-bytes",
        "truncated",
        "missing-file",
    ]


def test_archives_over_http_are_refused():
    with pytest.raises(InvalidParameter, match="download"):
        reader(SourceRef(name="s", kind="webdataset", location="http://h/a.tar"))


def test_names_that_are_not_utf8_are_listed_and_read(tmp_path, png):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("caf\xe9.png")
        member.size = len(png(1))
        tar.addfile(member, io.BytesIO(png(1)))
    (tmp_path / "n.tar").write_bytes(raw.getvalue())
    (item,) = listed(tmp_path / "n.tar")
    assert item.locator == "n.tar!caf\\udce9.png"
    assert read_bytes(item.uri, max_bytes=999) == png(1)
