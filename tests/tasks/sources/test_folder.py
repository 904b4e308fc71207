"""Folders: sidecars, links, hostile names."""

import inspect
import json
import os
import socket
import sys
import time

import fsspec
import pytest

from schemas.errors import SourceError
from schemas.items import ItemText
from schemas.recipes import SourceRef
from tasks.sources import open_local, read_bytes, reader
from tasks.sources.folder import Folder


def listed(location, **options):
    return {item.locator: item for item in Folder(str(location), **options)()}


def test_lists_media_of_all_folders_in_locator_order(tmp_path, png):
    for name in ("b/z.png", "b.png", "a/x.png", "a/y/k.png", "c.png", ".hidden/x.png", ".x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(1))
    items = list(reader(SourceRef(name="s", kind="folder", location=str(tmp_path)))())
    assert [item.locator for item in items] == ["a/x.png", "a/y/k.png", "b.png", "b/z.png", "c.png"]
    assert [item.locator for item in items] == sorted(item.locator for item in items)
    assert all(read_bytes(item.uri, max_bytes=1000) == png(1) for item in items)
    assert {item.size_bytes for item in items} == {len(png(1))}


def test_takes_captions_from_sidecars_and_last_from_the_name(tmp_path, png):
    for stem in ("text", "object", "string", "red_old-car"):
        (tmp_path / f"{stem}.png").write_bytes(png(1))
    (tmp_path / "text.txt").write_text("\ufeffein Hund\n", encoding="utf-8")
    entry = {"text": "un chien", "language": "fr-CA", "origin": "synthetic", "role": "title"}
    facts = {
        "text": "a dog",
        "texts": ["a dog", "two", entry],
        "language": "en",
        "license": "CC0",
        "source": "me",
    }
    (tmp_path / "object.json").write_text(json.dumps(facts | {"concept": "dog", "width": 3}))
    (tmp_path / "string.json").write_text('"a cat"')
    found = listed(tmp_path)
    assert list(found) == ["object.png", "red_old-car.png", "string.png", "text.png"]
    assert found["text.png"].texts == (ItemText("ein Hund"),)
    assert found["string.png"].texts == (ItemText("a cat"),)
    assert found["red_old-car.png"].texts == (ItemText("red old car", "", "file-name"),)
    item = found["object.png"]
    assert item.texts == (
        ItemText("a dog", "en"),
        ItemText("two", "en"),
        ItemText("un chien", "fr", "synthetic", "title"),
    )
    assert (item.licence, item.credit, item.concept, json.loads(item.extra)) == (
        "CC0",
        "me",
        "dog",
        {"width": 3},
    )
    assert listed(tmp_path, name_captions=False)["red_old-car.png"].texts == ()


def test_a_sidecar_without_a_medium_is_a_text_or_a_problem(tmp_path):
    (tmp_path / "poem.txt").write_text("roses")
    (tmp_path / "facts.json").write_text('{"width": 3}')
    (tmp_path / "caption.json").write_text('{"caption": "violets"}')
    found = listed(tmp_path)
    assert (found["poem.txt"].uri, found["poem.txt"].texts) == ("", (ItemText("roses"),))
    assert (found["caption.json"].uri, found["caption.json"].texts) == ("", (ItemText("violets"),))
    assert found["facts.json"].problem == "missing-text"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"caf\xe9", "bad-encoding"),
        ("a.txt", b"a\0b", "nul-bytes"),
        ("a.txt", b"x" * 101, "text-too-long"),
        ("a.txt", b"x" * (1 << 20) + b"y", "text-too-long"),
        ("a.json", b'{"text": "a\\u0000b"}', "nul-bytes"),
        ("a.json", b'{"text": "\\ud800"}', "bad-encoding"),
        ("a.json", b'{"text": ', "bad-row"),
        ("a.json", b"[" * 100_000, "bad-row"),
        ("a.json", b'{"text": 5}', "bad-row"),
        ("a.json", b'{"texts": [{"text": "a", "origin": "guess"}]}', "bad-row"),
    ],
)
def test_a_bad_sidecar_refuses_the_whole_item(tmp_path, png, name, data, reason):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / name).write_bytes(data)
    found = listed(tmp_path, text_max_chars=100)
    assert list(found) == ["a.png"]
    assert (found["a.png"].problem, found["a.png"].texts) == (reason, ())


def test_links_inside_add_nothing_and_links_outside_are_refused(tmp_path, png):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    (root / ".store").mkdir()
    outside.mkdir()
    (outside / "secret.png").write_bytes(png(2))
    (root / "real.png").write_bytes(png(1))
    (root / ".store" / "blob").write_bytes(png(3))
    (root / "sub" / "same.png").symlink_to("../real.png")
    (root / "stored.png").symlink_to(".store/blob")
    (root / "leak.png").symlink_to("../outside/secret.png")
    (root / "leaks").symlink_to(outside)
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "loop").symlink_to("loop")
    (root / "sub" / "up").symlink_to("..")
    (root / "again").symlink_to(".store")
    (root / ".store" / "round").symlink_to("../.store")
    (root / "real.txt").symlink_to("../outside/secret.png")
    problems = {name: item.problem for name, item in listed(root).items()}
    assert problems == {
        "again/blob": "",
        "gone.png": "missing-file",
        "leak.png": "outside-root",
        "leaks": "outside-root",
        "loop": "missing-file",
        "real.png": "outside-root",  # for its caption
        "stored.png": "",
    }
    assert read_bytes(listed(root)["stored.png"].uri, max_bytes=1000) == png(3)


def test_pipes_and_sockets_are_refused_and_never_opened(tmp_path, png):
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "a.png").write_bytes(png(1))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        problems = {name: item.problem for name, item in listed(tmp_path).items()}
    assert problems == {"a.png": "not-a-file", "pipe.png": "not-a-file", "s.png": "not-a-file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_is_one_problem(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert [item.problem for item in Folder(str(tmp_path))()] == ["unreadable"]


def test_names_that_are_not_utf8_open_and_have_distinct_utf8_locators(tmp_path, png):
    for index, name in enumerate(
        (b"\xff.png", rb"\udcff.png", b"a!b@1+2", b"caf\xc3\xa9 %41.png", b"d\xfe/x.png")
    ):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(png(index))
    items = list(Folder(str(tmp_path))())
    assert len({item.locator for item in items}) == 5
    for item in items:
        assert item.locator.encode("utf-8") and item.uri.encode("utf-8")
        assert open_local(item.uri).size == len(read_bytes(item.uri, max_bytes=1000))
    assert {read_bytes(item.uri, max_bytes=1000) for item in items} == {png(index) for index in range(5)}


def test_the_fingerprint_follows_the_medium_and_its_texts(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(1))
    first = listed(tmp_path)["a.png"].fingerprint
    assert listed(tmp_path)["a.png"].fingerprint == first
    (tmp_path / "a.txt").write_text("one")
    os.utime(tmp_path / "a.txt", ns=(1, 1))
    second = listed(tmp_path)["a.png"].fingerprint
    (tmp_path / "a.txt").write_text("two")
    os.utime(tmp_path / "a.txt", ns=(1, 1))  # same size and time, other text
    third = listed(tmp_path)["a.png"].fingerprint
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert len({first, second, third, listed(tmp_path)["a.png"].fingerprint}) == 4


def test_a_missing_folder_is_a_source_error(tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "none", tmp_path / "file", "memory://nowhere", "nosuch://x"):
        with pytest.raises(SourceError):
            list(Folder(str(wrong))())


def test_folders_nested_deeper_than_the_stack_are_walked(tmp_path, png):
    deep = str(tmp_path)
    for _ in range(300):
        deep += "/d"
        os.mkdir(deep)
    with open(deep + "/a.png", "wb") as file:
        file.write(png(1))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        sizes = [item.size_bytes for item in Folder(str(tmp_path))()]
    finally:
        sys.setrecursionlimit(limit)
    assert sizes == [len(png(1))]


def test_lists_an_object_store_like_a_folder(png):
    store = fsspec.filesystem("memory")
    store.pipe({"/m1/a.png": png(1), "/m1/a.txt": b"one", "/m1/b/c d.png": png(2), "/m1/.x/y.png": png(3)})
    items = list(Folder("memory://m1")())
    assert [(item.locator, item.texts) for item in items] == [
        ("a.png", (ItemText("one"),)),
        ("b/c d.png", (ItemText("c d", "", "file-name"),)),
    ]
    assert [read_bytes(item.uri, max_bytes=1000) for item in items] == [png(1), png(2)]
    assert open_local(items[0].uri) is None
    store.pipe("/m1/a.png", png(9))
    assert next(Folder("memory://m1")()).fingerprint != items[0].fingerprint


def test_four_thousand_files_take_under_a_cpu_second(tmp_path):
    for index in range(4000):
        (tmp_path / f"{index}.png").touch()
    began = time.process_time()
    assert sum(1 for _ in Folder(str(tmp_path))()) == 4000
    assert time.process_time() - began < 1


@pytest.mark.slow
def test_lists_and_reads_a_bucket(png, monkeypatch):
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    type(
        fsspec.filesystem("s3", skip_instance_cache=True)
    ).clear_instance_cache()  # of an earlier test's server
    try:
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("bucket")
        store.pipe({"bucket/p/a.png": png(1), "bucket/p/a.txt": b"one", "bucket/p/b/c.png": png(2)})
        items = list(Folder("s3://bucket/p")())
        assert [item.locator for item in items] == ["a.png", "b/c.png"]
        assert items[0].texts == (ItemText("one"),)
        assert [read_bytes(item.uri, max_bytes=1000) for item in items] == [png(1), png(2)]
    finally:
        server.stop()
