"""Lists of URLs."""

from schemas.items import ItemText
from schemas.recipes import SourceRef
from tasks.sources import reader


def listed(path):
    return list(reader(SourceRef(name="s", kind="urls", location=str(path)))())


def test_reads_one_url_a_line_with_an_optional_caption(tmp_path):
    lines = ["# list", "http://h/a.png\ta dog", "", "https://h/b.png", "http://h/a.png\ta cat"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    items = listed(tmp_path / "list.txt")
    assert [item.locator for item in items] == ["http://h/a.png", "https://h/b.png", "http://h/a.png#2"]
    assert [item.uri for item in items] == ["http://h/a.png", "https://h/b.png", "http://h/a.png"]
    assert [item.texts for item in items] == [(ItemText("a dog"),), (), (ItemText("a cat"),)]
    assert len({item.fingerprint for item in items}) == 3


def test_refuses_bad_lines_only(tmp_path):
    lines = [
        b"http://h/a.png",
        b"file:///etc/passwd",
        b"http://u:p@h/",
        b"http://h/\xff",
        b"http://h/\tx\0y",
        b"nonsense",
    ]
    lines += [b"http://h/" + b"x" * 9000, b"http://h/c\t" + b"x" * 20_001, b"http://", b"http://h:99999/"]
    (tmp_path / "list.txt").write_bytes(b"\n".join(lines))
    assert [item.problem for item in listed(tmp_path / "list.txt")] == [
        "", "bad-url", "bad-url", "bad-encoding", "nul-bytes", "bad-url", "bad-url", "text-too-long",
        "bad-url", "bad-url",
    ]  # fmt: skip


def test_reads_a_manifest_with_a_url_column_and_no_other_address(tmp_path):
    (tmp_path / "list.csv").write_text(
        "url,text\nhttps://h/a.png,dog\nlist.csv,x\ns3://b/c,x\nhttps://h/d,\n"
    )
    items = listed(tmp_path / "list.csv")
    assert [item.problem for item in items] == ["", "bad-url", "bad-url", "missing-text"]
    assert [item.uri for item in items] == ["https://h/a.png", "", "", ""]
