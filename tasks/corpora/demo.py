"""The corpus that ships with the code, so that the first command works offline."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from schemas.errors import CorpusError
from tasks.corpora._manifest import MANIFEST
from tasks.corpora.contract import Report


@dataclass(frozen=True)
class Demo:
    """A stratified sample of the Open Clip Art Library with its own, uncleaned texts."""

    name: ClassVar[str] = "demo"
    about: ClassVar[str] = "600 Open Clip Art drawings with their own, noisy texts; ships with Xmodal."
    licence: ClassVar[str] = "CC-PDDC"
    media_count: ClassVar[int] = 600

    def get(self, cache: Path, *, report: Report) -> Path:
        """Return the path of the manifest; nothing is fetched and `cache` is not touched.

        Raises:
            CorpusError: The installation lacks its data files.
        """
        manifest = Path(__file__).parent / "demo" / MANIFEST
        if not manifest.is_file():
            raise CorpusError(f"{manifest} is missing: the installation lacks its data files; install again")
        report(f"demo: at {manifest.parent}")
        return manifest
