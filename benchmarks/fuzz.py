"""Coverage-guided fuzzing of our parsers with Atheris: `python -m benchmarks.fuzz TARGET -runs=100000`.

Needs the extra `fuzz` (wheels for CPython 3.11). A target ends with a traceback and the input on its first error that is
not one of ours. Options are libFuzzer's.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["tasks.media", "tasks.sources", "schemas", "storage.sql", "storage.conditions"]
):
    from schemas import yaml_text
    from schemas.errors import BadInput, DataError, SourceError, SqlError
    from storage import conditions
    from storage.sql import grammar
    from tasks.media import drawing, sniff
    from tasks.sources.manifest import Manifest
    from tasks.sources.urls import Urls
    from tasks.sources.webdataset import WebDataset

_FOLDER = Path(tempfile.mkdtemp(prefix="xmodal-fuzz-"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _sniffed(data: bytes) -> None:
    sniff.media_type(data)
    sniff.is_encrypted(data)


def _drawn(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        drawing._inspected_xml(b"<svg xmlns='http://www.w3.org/2000/svg' " + data)


def _listed(name: str, reader: Callable[[str], Callable[[], object]]) -> Callable[[bytes], None]:
    path = str(_FOLDER / name)

    def listed(data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)
        with contextlib.suppress(SourceError):
            for item in reader(path)():  # type: ignore[attr-defined]
                item.locator.encode("utf-8")
                item.problem_message.encode("utf-8")

    return listed


def _recipe(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        yaml_text.read(_text(data))


def _statement(data: bytes) -> None:
    with contextlib.suppress(SqlError):
        parsed = grammar.parse(_text(data))
        if parsed.tree is not None:
            grammar.written(parsed.tree)


def _condition(data: bytes) -> None:
    with contextlib.suppress(DataError):
        conditions.checked(_text(data), ["digest", "width_px", "kept"])


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sniff": _sniffed,
    "drawing": _drawn,
    "csv": _listed("rows.csv", Manifest),
    "jsonl": _listed("rows.jsonl", Manifest),
    "parquet": _listed("rows.parquet", Manifest),
    "tar": _listed("a.tar", WebDataset),
    "urls": _listed("urls.txt", Urls),
    "recipe": _recipe,
    "statement": _statement,
    "condition": _condition,
}


def main() -> None:
    """Fuzz the target that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"which target? {', '.join(TARGETS)}")
    target = TARGETS[sys.argv.pop(1)]
    os.chdir(_FOLDER)  # libFuzzer leaves what it found where it runs
    print(f"findings go to {_FOLDER}")
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
