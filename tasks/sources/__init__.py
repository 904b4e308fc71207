"""Readers of raw media: where they are, which texts belong to them, and how to open them."""

from schemas.recipes import MethodRef, SourceRef
from tasks.catalog import build, catalog
from tasks.sources.contract import SourceReader
from tasks.sources.folder import Folder
from tasks.sources.manifest import Manifest
from tasks.sources.read import LocalSpan, open_local, read_bytes
from tasks.sources.urls import Urls
from tasks.sources.webdataset import WebDataset

__all__ = ["SOURCES", "LocalSpan", "SourceReader", "open_local", "read_bytes", "reader"]

SOURCES: dict[str, type[SourceReader]] = catalog(
    Folder,
    Manifest,
    Urls,
    WebDataset,
)


def reader(ref: SourceRef) -> SourceReader:
    """Make the reader that `ref` names.

    Raises:
        UnknownMethod: No reader has the name `ref.kind`; a corpus is resolved to a manifest before.
        InvalidParameter: The reader takes no such option, or refuses its value.
    """
    return build(SOURCES, MethodRef(name=ref.kind, params={"location": ref.location, **ref.options}))
