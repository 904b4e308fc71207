"""A pretrained model's files: a local folder, or a commit of the Hugging Face hub. Found, checked and digested."""

import contextlib
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from schemas.errors import EncoderError

Stamp = tuple[tuple[str, int, int], ...]  # name, bytes and modification time in ns of each file

# What is fetched from the hub and covered by the digest: all that decides what a model says, and no code.
FILES = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
)


def unpinned(model: str, revision: str | None) -> str:
    """Return what is wrong with a model's name and revision; "" for a folder without one and a hub id with a commit."""
    if Path(model).is_dir():
        return "" if revision is None else f"{model!r} is a local folder; leave revision out"
    if re.fullmatch("[0-9a-f]{40}", revision or ""):
        return ""
    return (
        f"{model!r} is no local folder, and as a hub id it must be pinned, but revision is"
        f" {revision!r}; write revision: <the commit's 40 hex digits, from the hub's page>"
    )


@functools.lru_cache(maxsize=64)
def folder_of(model: str, revision: str | None, files: tuple[str, ...]) -> Path:
    """Return the folder that holds the model; of a hub id `files` are fetched, unless they lie in the hub's cache.

    Raises:
        EncoderError: They cannot be fetched.
    """
    if revision is None:
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    fetch = functools.partial(snapshot_download, model, revision=revision, allow_patterns=list(files))
    with contextlib.suppress(LocalEntryNotFoundError):
        cached = Path(fetch(local_files_only=True))
        if (cached / "config.json").exists() and any(cached.glob("model*.safetensors")):
            return cached
    try:
        return Path(fetch())
    except Exception as error:  # the hub's own, the network's and the disk's
        raise EncoderError(f"cannot fetch {model!r} at {revision}: {error}") from error


def stamp_of(folder: Path, files: Iterable[str]) -> Stamp:
    """Return what tells whether the folder's files have changed, without reading them.

    Raises:
        EncoderError: Configuration or weights are missing.
    """
    found = {path.name: path.stat() for pattern in files for path in folder.glob(pattern) if path.is_file()}
    if not any(name.endswith(".safetensors") for name in found) or "config.json" not in found:
        raise EncoderError(
            f"{folder} must hold config.json and model.safetensors (save_pretrained writes both; weights in"
            f" pickled formats are never opened), but holds {', '.join(sorted(found)) or 'neither'}"
        )
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in sorted(found.items()))


@functools.lru_cache(maxsize=64)
def digest_of(folder: Path, stamp: Stamp) -> str:
    """Return SHA-256 hex over the names and contents of the stamped files."""
    digest = hashlib.sha256()
    for name, _, _ in stamp:
        with (folder / name).open("rb") as content:
            digest.update(f"{name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def require_whole(folder: Path, report: Mapping[str, Any], more: str = "") -> None:
    """Check the report of an opened model.

    Args:
        folder: Where the model lies.
        report: What transformers gives as `output_loading_info`.
        more: What else to say of a model that lacks weights.

    Raises:
        EncoderError: Weights are missing.
    """
    if absent := sorted(report["missing_keys"]):
        raise EncoderError(
            f"{folder} lacks {len(absent)} of the model's weights, {absent[0]!r} first, and transformers"
            f" would draw them at random; save the whole model again{more}"
        )
