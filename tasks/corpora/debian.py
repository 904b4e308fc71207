"""Debian packages as data: an installed copy where there is one, else fetched and unpacked without root."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import CorpusError
from tasks.corpora.contract import Report

TOOLS = ("apt-get", "apt-cache", "dpkg-deb")
REPORT_EVERY_S = 5.0


@dataclass(frozen=True)
class DebianTree:
    """A folder that Debian packages fill.

    Args:
        packages: Names of the packages that fill it together.
        folder: The folder, relative to the file system's root.
        setting: Environment variable that may name an unpacked copy.
        expected: (glob, count): the tree is whole if each glob finds at least so many files.
    """

    packages: tuple[str, ...]
    folder: str
    setting: str
    expected: tuple[tuple[str, int], ...]

    @contextmanager
    def open(
        self, cache: Path, *, report: Report, unpacked: Path | None = None, root: Path = Path("/")
    ) -> Iterator[Path]:
        """Give the resolved folder for the length of a `with` block.

        Looks at `unpacked`, then at the setting, then for an installed copy, then fetches.

        Args:
            cache: Where downloads and temporary files go.
            report: Called with lines of progress.
            unpacked: An unpacked copy: the folder itself, or the root it was unpacked into.
            root: Where installed packages lie.

        Raises:
            CorpusError: The copy named is not whole, or the packages cannot be fetched.
        """
        named = unpacked or (Path(os.environ[self.setting]) if os.environ.get(self.setting) else None)
        if named is not None:
            tree = named / self.folder if (named / self.folder).is_dir() else named
            if lack := self.lacks(tree):
                raise CorpusError(
                    f"{named} is no whole copy of {self._names}: {lack}; unpack the packages again, "
                    f"or drop the option and unset {self.setting} to have them fetched"
                )
            report(f"using the copy at {tree}")
            yield tree.resolve()
            return
        installed = root / self.folder
        lack = self.lacks(installed)
        if not lack:
            report(f"using the installed copy at {installed}")
            yield installed.resolve()
            return
        if installed.is_dir():
            report(f"passing over {installed}: {lack}")
        with self._fetched(cache, report) as tree:
            yield tree

    def lacks(self, tree: Path) -> str:
        """Say what the tree lacks; "" if nothing."""
        for pattern, at_least in self.expected:
            found = sum(path.is_file() for path in tree.glob(pattern))
            if found < at_least:
                return f"{found} files match {pattern}, at least {at_least} expected"
        return ""

    @property
    def _names(self) -> str:
        return " and ".join(self.packages)

    @contextmanager
    def _fetched(self, cache: Path, report: Report) -> Iterator[Path]:
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise CorpusError(f"no {missing[0]} here to fetch {self._names} with; {self._by_hand}")
        store = (cache / "debian").resolve()
        store.mkdir(parents=True, exist_ok=True)
        try:
            debs = [download(package, store, report=report) for package in self.packages]
        except CorpusError as error:
            raise CorpusError(f"{error}; or {self._by_hand}") from error
        with tempfile.TemporaryDirectory(prefix="unpacked-", dir=store) as temporary:
            for deb in debs:
                report(f"unpacking {deb.name}")
                _run(["dpkg-deb", "-x", str(deb), temporary])
            tree = Path(temporary) / self.folder
            if lack := self.lacks(tree):
                raise CorpusError(f"{self._names} no longer hold what they held: {lack}; {self._by_hand}")
            yield tree.resolve()
        for deb in debs:  # what was wanted has been taken from them
            deb.unlink(missing_ok=True)

    @property
    def _by_hand(self) -> str:
        return (
            f"get the .deb files of {self._names} from https://packages.debian.org, unpack each into one "
            "folder DIR with 'dpkg-deb -x FILE.deb DIR' (without dpkg: 'ar x FILE.deb', then "
            f"'tar -xf data.tar.xz -C DIR'), and pass '--from DIR' or set {self.setting}=DIR"
        )


def download(package: str, store: Path, *, report: Report) -> Path:
    """Return a verified .deb of the package in `store`, downloaded unless it is already there.

    Uses the machine's package lists; where they are missing, stale or not ours to read, lists of its own
    below `store`, which needs no root.

    Raises:
        CorpusError: Neither way delivers a .deb with the digest that the package lists name.
    """
    failures = []
    for options in ([], _private_lists(store)):
        try:
            if options:
                report(f"{package}: fetching package lists into {store}")
                _run(["apt-get", *options, "update"])
            return _download(package, store, options, report)
        except CorpusError as error:
            failures.append(str(error))
    raise CorpusError(f"{package} cannot be fetched: {' | '.join(dict.fromkeys(failures))}")


def verify(deb: Path, sha256: str) -> None:
    """Return if the file has this SHA-256.

    Raises:
        CorpusError: It has another.
    """
    with deb.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != sha256:
        raise CorpusError(
            f"{deb.name} has SHA-256 {found} but the package lists say {sha256}, so it is refused; "
            "try again, and if it stays so, the mirror is wrong"
        )


def _download(package: str, store: Path, options: Sequence[str], report: Report) -> Path:
    record = _run(["apt-cache", *options, "show", "--no-all-versions", package])
    fields = dict(re.findall(r"^(Version|SHA256|Size): (\S+)$", record, flags=re.MULTILINE))
    if len(fields) < 3:
        raise CorpusError(f"the package lists name no version, size and SHA-256 of {package}")
    folder = store / package
    folder.mkdir(exist_ok=True)
    for deb in folder.glob("*.deb"):
        try:
            verify(deb, fields["SHA256"])
            return deb  # an earlier get was stopped after the download
        except CorpusError:
            deb.unlink()
    size_mb = int(fields["Size"]) / 1e6
    report(f"{package} {fields['Version']}: downloading {size_mb:.0f} MB")
    _run(
        ["apt-get", *options, "-o", "Acquire::Retries=3", "download", f"{package}={fields['Version']}"],
        folder=folder,
        watch=lambda: report(f"{package}: {_size_mb(folder):.0f} of {size_mb:.0f} MB"),
    )
    found = sorted(folder.glob("*.deb"))
    if len(found) != 1:
        raise CorpusError(f"apt-get left {len(found)} .deb files of {package}")
    verify(found[0], fields["SHA256"])
    return found[0]


def _private_lists(store: Path) -> list[str]:
    """Options that keep apt off every folder that only root may write."""
    for folder in ("lists/partial", "cache/archives/partial", "log"):
        (store / "apt" / folder).mkdir(parents=True, exist_ok=True)
    places = {"Dir::State": "", "Dir::State::lists": "lists", "Dir::Cache": "cache", "Dir::Log": "log"}
    options = [f"{option}={store / 'apt' / place}/" for option, place in places.items()]
    options += ["Dir::State::status=/var/lib/dpkg/status", "APT::Sandbox::User=", "Acquire::Languages=none"]
    return [word for option in options for word in ("-o", option)]


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _run(
    command: Sequence[str], *, folder: Path | None = None, watch: Callable[[], None] | None = None
) -> str:
    """Return what the command prints, calling `watch` every few seconds while it runs."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        while True:
            try:
                printed, complaint = process.communicate(timeout=REPORT_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                if watch:
                    watch()
    finally:
        if process.poll() is None:  # interrupted: do not leave a download behind
            process.kill()
            process.wait()
    if process.returncode != 0:
        last = (complaint.strip() or printed.strip() or "no message").splitlines()[-1]
        raise CorpusError(f"'{' '.join([command[0], *command[-2:]])}' failed: {last}")
    return printed
