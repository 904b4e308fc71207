"""OpenMoji from npm: rows from a tiny package, and tarballs that mean harm."""

import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from schemas.errors import CorpusError
from tasks.corpora import npm
from tasks.corpora.npm import unpack, verify
from tasks.corpora.openmoji import TREE, OpenMoji, read_emoji, tags

SVG = b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 72 72'><circle cx='36' cy='36' r='20'/></svg>"
WANTED = TREE.wanted


def an_emoji(hexcode: str, annotation: str, **fields: str) -> dict[str, object]:
    empty = dict.fromkeys(("tags", "openmoji_tags", "skintone", "subgroups"), "")
    named = {"hexcode": hexcode, "annotation": annotation, "openmoji_author": "A. Drawer", "group": "objects"}
    return {**empty, **named, "order": 1, **fields}


EMOJI = [
    an_emoji("1F9E0", "brain", tags="mind, organ", openmoji_tags="organ, human", subgroups="body-parts"),
    an_emoji("1F44B", "waving hand", group="people-body", openmoji_author=""),
    an_emoji("1F44B-1F3FB", "waving hand: light skin tone", skintone=1),
    an_emoji("1F3C1", "chequered flag", group="flags"),
    an_emoji("1FAAA", "no drawing of this one"),
]


def members(top: str = "package") -> dict[str, bytes]:
    drawn = [str(one["hexcode"]) for one in EMOJI[:-1]]
    return {
        f"{top}/package.json": b"{}",
        **{f"{top}/color/svg/{hexcode}.svg": SVG for hexcode in drawn},
        f"{top}/color/svg/notes.svg": SVG,
        f"{top}/black/svg/1F9E0.svg": SVG,
        f"{top}/data/openmoji.json": json.dumps(EMOJI).encode(),
    }


def a_tarball(path: Path, files: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 499162500
            archive.addfile(member, io.BytesIO(data))
        for member in extra:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.fixture(autouse=True)
def no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XMODAL_OPENMOJI", raising=False)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An unpacked copy with four drawings."""
    for name, data in members().items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "copy" / "package"


SMALL = replace(TREE, expected=(("color/svg/*.svg", 4), ("data/openmoji.json", 1)))


@pytest.fixture
def no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[npm.NpmTree, Path]]:
    """A registry on loopback with the tiny package, and the file it serves."""
    root = tmp_path / "registry"
    tarball = root / "openmoji" / "-" / "openmoji-17.0.0.tgz"
    tarball.parent.mkdir(parents=True)
    a_tarball(tarball, members())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digest = hashlib.sha512(tarball.read_bytes()).hexdigest()
    yield replace(SMALL, sha512=digest, registry=f"http://127.0.0.1:{server.server_port}"), tarball
    server.shutdown()
    server.server_close()


def rows_of(manifest: Path) -> list[dict]:
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def test_a_row_is_an_emoji_with_its_name_and_tags(package: Path, tmp_path: Path, reports: list[str]) -> None:
    manifest = OpenMoji(unpacked=package, tree=SMALL).get(tmp_path / "cache", report=reports.append)
    brain, hand, flag = rows_of(manifest)
    assert brain == {
        "media": "color/svg/1F9E0.svg",
        "texts": [
            {"text": "brain", "language": "en", "origin": "raw", "role": "caption"},
            {"text": "mind, organ, human", "language": "en", "origin": "raw", "role": "keywords"},
        ],
        "licence": "CC-BY-SA-4.0",
        "credit": "OpenMoji; A. Drawer",
        "category": "objects",
        "folder": "body-parts",
        "hexcode": "1F9E0",
    }
    assert [text["role"] for text in hand["texts"]] == ["caption"]
    assert hand["credit"] == "OpenMoji"
    assert flag["category"] == "flags"
    assert (manifest.parent / brain["media"]).read_bytes() == SVG


def test_skin_tones_and_emoji_without_a_drawing_are_counted_out(
    package: Path, tmp_path: Path, reports: list[str]
) -> None:
    manifest = OpenMoji(unpacked=package, tree=SMALL).get(tmp_path / "cache", report=reports.append)
    assert "openmoji: 3 emoji; 1 skin-tone variants left out, 1 without a drawing passed over" in reports
    assert {path.name for path in manifest.parent.rglob("*.svg")} == {"1F9E0.svg", "1F44B.svg", "1F3C1.svg"}


def test_a_link_out_of_the_copy_is_passed_over(package: Path, tmp_path: Path, reports: list[str]) -> None:
    (tmp_path / "secret.svg").write_bytes(SVG)
    (package / "color/svg/1F9E0.svg").unlink()
    (package / "color/svg/1F9E0.svg").symlink_to(tmp_path / "secret.svg")
    manifest = OpenMoji(unpacked=package, tree=SMALL).get(tmp_path / "cache", report=reports.append)
    assert [row["hexcode"] for row in rows_of(manifest)] == ["1F44B", "1F3C1"]


def test_tags_of_both_lists_are_there_once() -> None:
    assert tags({"tags": "a, b ,", "openmoji_tags": "b, c"}) == "a, b, c"
    assert tags({"tags": "", "openmoji_tags": ""}) == ""


@pytest.mark.parametrize("data", [b"", b"{}x", b'{"a": 1}', b'[{"hexcode": "1F600"}]', b"[3]"])
def test_data_that_is_no_list_of_emoji_is_refused(data: bytes) -> None:
    with pytest.raises(CorpusError, match="no list of emoji"):
        read_emoji(data)


def test_a_hexcode_that_would_lead_elsewhere_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"\.\./x"):
        read_emoji(json.dumps([an_emoji("../x", "evil")]).encode())


@pytest.mark.parametrize("named", ["copy", "copy/package"])
def test_the_setting_names_a_copy(
    package: Path, tmp_path: Path, reports: list[str], monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("XMODAL_OPENMOJI", str(tmp_path / named))
    assert len(rows_of(OpenMoji(tree=SMALL).get(tmp_path / "cache", report=reports.append))) == 3


def test_a_named_copy_that_is_not_whole_is_an_error(tmp_path: Path, reports: list[str]) -> None:
    with pytest.raises(CorpusError, match="no whole copy of openmoji@17.0.0: 0 files match.*XMODAL_OPENMOJI"):
        OpenMoji(unpacked=tmp_path).get(tmp_path / "cache", report=reports.append)
    assert not list((tmp_path / "cache").rglob("manifest.jsonl"))


def test_without_npm_the_registry_is_asked(
    registry: tuple[npm.NpmTree, Path], no_npm: None, package: Path, tmp_path: Path, reports: list[str]
) -> None:
    tree, _ = registry
    fetched = OpenMoji(tree=tree).get(tmp_path / "a", report=reports.append)
    copied = OpenMoji(tree=SMALL, unpacked=package).get(tmp_path / "b", report=reports.append)
    assert fetched.read_bytes() == copied.read_bytes()
    assert any("fetching http" in line for line in reports)
    assert not list((tmp_path / "a" / "npm").iterdir())
    assert (fetched.parent / "color/svg/1F9E0.svg").stat().st_mtime == 499162500


def test_a_tarball_that_is_not_the_pinned_one_is_refused(
    registry: tuple[npm.NpmTree, Path], no_npm: None, tmp_path: Path, reports: list[str]
) -> None:
    tree, tarball = registry
    a_tarball(tarball, {**members(), "package/color/svg/1F600.svg": SVG})
    with pytest.raises(CorpusError, match=r"integrity sha512-.* is pinned: refused.*XMODAL_OPENMOJI=DIR"):
        OpenMoji(tree=tree).get(tmp_path / "cache", report=reports.append)
    assert not list((tmp_path / "cache").rglob("*.svg"))


def test_a_download_without_end_is_stopped(
    registry: tuple[npm.NpmTree, Path],
    no_npm: None,
    tmp_path: Path,
    reports: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(npm, "MAX_TARBALL_BYTES", 100)
    with pytest.raises(CorpusError, match="larger than 100 bytes"):
        OpenMoji(tree=registry[0]).get(tmp_path / "cache", report=reports.append)


def test_without_npm_and_network_the_message_says_what_to_do(
    no_npm: None, tmp_path: Path, reports: list[str]
) -> None:
    nowhere = replace(SMALL, registry="http://127.0.0.1:9")
    with pytest.raises(CorpusError) as caught:
        OpenMoji(tree=nowhere).get(tmp_path / "cache", report=reports.append)
    message = str(caught.value)
    for needed in (
        "no npm here",
        "http://127.0.0.1:9/openmoji/-/openmoji-17.0.0.tgz",
        "npm pack openmoji@17.0.0",
        "tar -xzf",
        "--from DIR",
        "XMODAL_OPENMOJI=DIR",
    ):
        assert needed in message
    assert "\n" not in message


def test_npm_is_told_to_run_no_script(
    tmp_path: Path, reports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in npm that packs the tiny package and writes down what it was asked.
    tarball = a_tarball(tmp_path / "tiny.tgz", members())
    fake = tmp_path / "bin" / "npm"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncp {tarball} openmoji-17.0.0.tgz\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    tree = replace(SMALL, sha512=hashlib.sha512(tarball.read_bytes()).hexdigest())
    assert len(rows_of(OpenMoji(tree=tree).get(tmp_path / "cache", report=reports.append))) == 3
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:2] == ["pack", "openmoji@17.0.0"]
    assert "--ignore-scripts" in asked


def test_where_npm_fails_the_registry_is_asked(
    registry: tuple[npm.NpmTree, Path], tmp_path: Path, reports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "npm"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    assert len(rows_of(OpenMoji(tree=registry[0]).get(tmp_path / "cache", report=reports.append))) == 3


def test_verify_refuses_another_digest(tmp_path: Path) -> None:
    file = tmp_path / "x.tgz"
    file.write_bytes(b"abc")
    # FIPS 180-2, C.1
    verify(
        file,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    )
    with pytest.raises(CorpusError, match="refused"):
        verify(file, "00" * 64)


def test_only_wanted_files_are_unpacked(tmp_path: Path) -> None:
    tarball = a_tarball(tmp_path / "x.tgz", members())
    assert unpack(tarball, tmp_path / "tree", wanted=WANTED) == 5
    found = {path.relative_to(tmp_path / "tree").as_posix() for path in (tmp_path / "tree").rglob("*.*")}
    drawn = {f"color/svg/{one['hexcode']}.svg" for one in EMOJI[:-1]}
    assert found == drawn | {"data/openmoji.json"}


@pytest.mark.parametrize(
    ("evil", "complaint"),
    [
        (member("../evil.svg", size=1), "leads out"),
        (member("package/color/svg/../../../evil.svg", size=1), "leads out"),
        (member("/etc/evil.svg", size=1), "leads out"),
        (member("package\\..\\evil.svg", size=1), "leads out"),
        (member("package/color/svg/AAAA.svg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
        (
            member("package/color/svg/AAAA.svg", type=tarfile.LNKTYPE, linkname="package/package.json"),
            "no plain file",
        ),
        (member("package/color/svg/AAAA.svg", type=tarfile.FIFOTYPE), "no plain file"),
        (member("package/color/svg/AAAA.svg", type=tarfile.CHRTYPE), "no plain file"),
        (member("package/color/svg/1F9E0.svg", size=1), "File exists"),
    ],
)
def test_a_member_that_means_harm_is_refused(tmp_path: Path, evil: tarfile.TarInfo, complaint: str) -> None:
    tarball = a_tarball(tmp_path / "x.tgz", members(), evil)
    with pytest.raises(CorpusError, match=complaint):
        unpack(tarball, tmp_path / "deep" / "tree", wanted=WANTED)
    assert not list(tmp_path.rglob("evil.svg"))
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("limit", "value"), [("MAX_MEMBERS", 3), ("MAX_MEMBER_BYTES", 50), ("MAX_UNPACKED_BYTES", 200)]
)
def test_a_tarball_beyond_the_limits_is_refused(
    tmp_path: Path, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npm, limit, value)
    with pytest.raises(CorpusError, match="too large"):
        unpack(a_tarball(tmp_path / "x.tgz", members()), tmp_path / "tree", wanted=WANTED)


@pytest.mark.parametrize(
    "data", [b"", b"no gzip", gzip.compress(b"no tar" * 200, mtime=0), gzip.compress(b"x", mtime=0)[:9]]
)
def test_a_broken_tarball_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tgz").write_bytes(data)
    with pytest.raises(CorpusError, match=r"x\.tgz cannot be unpacked"):
        unpack(tmp_path / "x.tgz", tmp_path / "tree", wanted=WANTED)


def test_a_tarball_cut_short_is_refused(tmp_path: Path) -> None:
    whole = a_tarball(tmp_path / "x.tgz", {**members(), "package/big": bytes(range(256)) * 400}).read_bytes()
    (tmp_path / "x.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        unpack(tmp_path / "x.tgz", tmp_path / "tree", wanted=WANTED)


def test_the_pins_are_what_they_should_be() -> None:
    assert TREE.url == "https://registry.npmjs.org/openmoji/-/openmoji-17.0.0.tgz"
    assert len(bytes.fromhex(TREE.sha512)) == 64
