"""Corpora to try everything on: one ships with the code, the others are packages of Debian and npm fetched on demand."""

from pathlib import Path

from tasks.catalog import catalog
from tasks.corpora._manifest import MANIFEST, corpus_folder
from tasks.corpora.clipart import Clipart
from tasks.corpora.contract import Corpus
from tasks.corpora.demo import Demo
from tasks.corpora.openmoji import OpenMoji
from tasks.corpora.stamps import Stamps

CORPORA: dict[str, type[Corpus]] = catalog(
    Clipart,
    Demo,
    OpenMoji,
    Stamps,
)


def manifest_if_here(name: str, cache: Path) -> Path | None:
    """Return the manifest of a corpus that needs no fetching any more, else None."""
    folder = Path(__file__).parent / "demo" if name == Demo.name else corpus_folder(cache, name)
    manifest = folder / MANIFEST
    return manifest if manifest.is_file() else None
