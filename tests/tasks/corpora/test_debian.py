"""Fetching Debian packages, with apt and dpkg themselves and a repository on disk instead of the network."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from schemas.errors import CorpusError
from tasks.corpora import debian
from tasks.corpora.debian import DebianTree

needs_dpkg = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in debian.TOOLS), reason="needs apt and dpkg"
)


@pytest.fixture
def tiny_deb(tmp_path: Path) -> Path:
    """A package with one file, in a folder that apt can read as a repository."""
    build = tmp_path / "build"
    (build / "DEBIAN").mkdir(parents=True)
    (build / "DEBIAN/control").write_text(
        "Package: tiny-clips\nVersion: 1:2.0-1\nArchitecture: all\n"
        "Maintainer: T <t@example.org>\nDescription: tiny\n"
    )
    (build / "usr/share/tiny").mkdir(parents=True)
    (build / "usr/share/tiny/a.txt").write_text("a crow")
    deb = tmp_path / "repository" / "tiny-clips_2.0-1_all.deb"
    deb.parent.mkdir()
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", build, deb], check=True, capture_output=True)
    return deb


@pytest.fixture
def repository(tiny_deb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point apt at the repository on disk and at no package lists."""
    control = subprocess.run(["dpkg-deb", "-f", tiny_deb], check=True, capture_output=True, text=True).stdout
    digest = hashlib.sha256(tiny_deb.read_bytes()).hexdigest()
    (tiny_deb.parent / "Packages").write_text(
        f"{control}Filename: ./{tiny_deb.name}\nSize: {tiny_deb.stat().st_size}\nSHA256: {digest}\n"
    )
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{tiny_deb.parent} ./\n")
    (tmp_path / "no-lists/partial").mkdir(parents=True)
    config = tmp_path / "apt.conf"
    config.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "-";\n'
        f'Dir::State::lists "{tmp_path}/no-lists";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    return tiny_deb.parent


@needs_dpkg
def test_fetches_with_lists_of_its_own_where_the_machine_has_none(
    repository: Path, small_tree: DebianTree, tmp_path: Path, reports: list[str]
) -> None:
    with small_tree.open(
        tmp_path / "cache", report=reports.append, root=tmp_path / "nothing-installed"
    ) as tree:
        assert (tree / "a.txt").read_text() == "a crow"
    assert not tree.exists()
    assert not list((tmp_path / "cache").rglob("*.deb"))
    assert any("package lists" in line for line in reports)
    assert not list((tmp_path / "no-lists").glob("*Packages*"))


@needs_dpkg
def test_a_finished_download_is_not_downloaded_again(
    repository: Path, tmp_path: Path, reports: list[str]
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    first = debian.download("tiny-clips", store, report=reports.append)
    written = first.stat().st_mtime_ns
    assert debian.download("tiny-clips", store, report=reports.append) == first
    assert first.stat().st_mtime_ns == written
    assert sum("downloading" in line for line in reports) == 1


@needs_dpkg
def test_half_a_download_is_thrown_away(repository: Path, tmp_path: Path, reports: list[str]) -> None:
    half = tmp_path / "store/tiny-clips/tiny-clips_1%3a2.0-1_all.deb"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"!<arch>\n")
    deb = debian.download("tiny-clips", tmp_path / "store", report=reports.append)
    assert deb.read_bytes() == (repository / "tiny-clips_2.0-1_all.deb").read_bytes()


@needs_dpkg
def test_refuses_a_package_that_does_not_match_the_lists(
    repository: Path, small_tree: DebianTree, tmp_path: Path, reports: list[str]
) -> None:
    packages = repository / "Packages"
    digest = hashlib.sha256((repository / "tiny-clips_2.0-1_all.deb").read_bytes()).hexdigest()
    packages.write_text(packages.read_text().replace(digest, "0" * 64))
    with (
        pytest.raises(CorpusError, match="cannot be fetched"),
        small_tree.open(tmp_path / "cache", report=reports.append, root=tmp_path),
    ):
        pass


def test_verify_refuses_another_digest(tmp_path: Path) -> None:
    deb = tmp_path / "x.deb"
    deb.write_bytes(b"abc")
    debian.verify(deb, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")  # FIPS 180-2, B.1
    with pytest.raises(CorpusError, match="refused"):
        debian.verify(deb, "0" * 64)


@needs_dpkg
def test_an_unknown_package_says_how_to_go_on(repository: Path, tmp_path: Path, reports: list[str]) -> None:
    tree = DebianTree(("no-such-clips",), "usr/share/none", "XMODAL_TINY", (("*", 1),))
    with (
        pytest.raises(CorpusError, match="no-such-clips.*dpkg-deb -x.*XMODAL_TINY"),
        tree.open(tmp_path / "cache", report=reports.append, root=tmp_path),
    ):
        pass


@needs_dpkg
def test_a_package_that_lacks_files_is_refused(repository: Path, tmp_path: Path, reports: list[str]) -> None:
    tree = DebianTree(("tiny-clips",), "usr/share/tiny", "XMODAL_TINY", (("**/*.txt", 2),))
    with (
        pytest.raises(CorpusError, match=r"1 files match \*\*/\*\.txt, at least 2 expected"),
        tree.open(tmp_path / "cache", report=reports.append, root=tmp_path),
    ):
        pass


def test_without_apt_the_message_says_what_to_do(
    small_tree: DebianTree, tmp_path: Path, reports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with (
        pytest.raises(CorpusError) as caught,
        small_tree.open(tmp_path / "cache", report=reports.append, root=tmp_path),
    ):
        pass
    message = str(caught.value)
    for needed in (
        "no apt-get",
        "tiny-clips",
        "packages.debian.org",
        "ar x",
        "--from DIR",
        "XMODAL_TINY=DIR",
    ):
        assert needed in message
    assert "\n" not in message


def test_an_installed_copy_is_used_and_nothing_is_fetched(
    small_tree: DebianTree, tmp_path: Path, reports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    installed = tmp_path / "root/usr/share/tiny"
    installed.mkdir(parents=True)
    (installed / "a.txt").write_text("a crow")
    with small_tree.open(tmp_path / "cache", report=reports.append, root=tmp_path / "root") as tree:
        assert tree == installed
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("named", ["copy", "copy/usr/share/tiny"])
def test_the_setting_names_a_copy_or_the_root_it_was_unpacked_into(
    small_tree: DebianTree, tmp_path: Path, reports: list[str], monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (tmp_path / "copy/usr/share/tiny").mkdir(parents=True)
    (tmp_path / "copy/usr/share/tiny/a.txt").write_text("a crow")
    monkeypatch.setenv("XMODAL_TINY", str(tmp_path / named))
    with small_tree.open(tmp_path / "cache", report=reports.append, root=tmp_path) as tree:
        assert tree == tmp_path / "copy/usr/share/tiny"


def test_a_named_copy_that_is_not_whole_is_an_error(
    small_tree: DebianTree, tmp_path: Path, reports: list[str]
) -> None:
    with (
        pytest.raises(CorpusError, match="no whole copy of tiny-clips: 0 files match"),
        small_tree.open(tmp_path / "cache", report=reports.append, unpacked=tmp_path),
    ):
        pass
