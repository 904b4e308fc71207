"""Recipes that ship, and how a word on the command line becomes one."""

from pathlib import Path
from typing import Literal, cast

from schemas.errors import RecipeError, SourceError
from schemas.recipes import SourceRef

FOLDER = Path(__file__).parent

Kind = Literal["folder", "manifest", "webdataset", "urls", "corpus"]
_BY_SUFFIX: dict[str, Kind] = {
    ".csv": "manifest", ".jsonl": "manifest", ".parquet": "manifest", ".tar": "webdataset", ".txt": "urls",
}  # fmt: skip


def shipped(kind: str = "") -> dict[str, Path]:
    """Return the recipes in this package by name: of curations, or of another kind by its folder ("captions")."""
    return {path.stem: path for path in sorted((FOLDER / kind).glob("*.yaml"))}


def find_recipe(named: Path, kind: str = "") -> Path:
    """Return a recipe's file: a path, or the name of one that ships.

    Raises:
        RecipeError: It is neither.
    """
    if named.is_file():
        return named
    if str(named) in shipped(kind):
        return shipped(kind)[str(named)]
    raise RecipeError(
        f"no recipe at {named}, and none that ships has this name; those are {', '.join(shipped(kind))}"
    )


def source_of(location: str, *, kind: str | None = None, name: str | None = None) -> SourceRef:
    """Return the source a location stands for, its kind guessed by its form.

    Raises:
        SourceError: The kind cannot be guessed, or there is no such kind.
    """
    from tasks.corpora import CORPORA

    guessed = cast(Kind | None, kind) or _kind(location, set(CORPORA))
    if guessed is None:
        raise SourceError(f"{location!r} is no folder, manifest, tar or corpus I know; say which with --kind")
    if guessed != "corpus" and "://" not in location:
        location = str(Path(location).resolve())
    return SourceRef(
        name=name or Path(location.rstrip("/")).stem or "source", kind=guessed, location=location
    )


def _kind(location: str, corpora: set[str]) -> Kind | None:
    if location in corpora:
        return "corpus"
    if "{" in location or "*" in location:
        return "webdataset"
    path = Path(location)
    if path.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix]
    return "folder" if path.is_dir() or "://" in location else None
