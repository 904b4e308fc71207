"""Trained heads by content: what was trained, from which rows, and by what recipe."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from schemas.errors import LakeError
from storage.lake import Lake
from storage.remembered import Remembered

FOLDER = "checkpoints"
SUFFIX = ".safetensors"
# What every checkpoint says of itself. More keys may follow.
FACTS = ("recipe", "snapshot_id", "snapshot_digest", "seed", "loss", "head", "run_id")
_CIRCUMSTANCE = "run_id"  # who trained it changes nothing about what was trained
_HEADER = "checkpoint"  # the one key of the file's own metadata; a JSON object
_ID = re.compile(r"[0-9a-f]{32}")
_CHANGES = ("size", "mtime", "ino", "ETag", "LastModified")  # if the file does
_HEADERS = Remembered(1024)
_LENGTH_BYTES = 8  # a file starts with the length of its header, little-endian


@dataclass(frozen=True)
class Checkpoint:
    """A trained state, and where it comes from.

    Args:
        id: 32 hex digits over the state and the facts, the run apart.
        state: The arrays by name.
        meta: The facts: `recipe`, `snapshot_id` and `snapshot_digest` of the data, `seed`, `loss`, `head`,
            `run_id` of the run that wrote it first, and what else was given.
    """

    id: str
    state: dict[str, NDArray[Any]]
    meta: dict[str, Any]


def save(lake: Lake, state: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> str:
    """Write a checkpoint to `checkpoints/<id>.safetensors`, unless it is there, and return its id.

    A reader sees all of the file or none. The same state by the same facts is the same checkpoint, whichever
    run it comes from.

    Args:
        lake: Where to.
        state: Arrays by name; at least one.
        meta: Facts that JSON can hold, at least those of `FACTS`.

    Raises:
        ValueError: A fact is missing or not JSON, or there is no array.
    """
    if missing := [fact for fact in FACTS if fact not in meta]:
        raise ValueError(f"the checkpoint's meta lacks {', '.join(missing)}; it has {', '.join(meta)}")
    if not state:
        raise ValueError("the checkpoint's state has no arrays; save what Towers.state() returns")
    try:
        facts = json.loads(_json(meta))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint's meta is not JSON: {error}") from error
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    checkpoint_id = _digest(arrays, facts)
    path = _path(lake, checkpoint_id)
    if not lake.place.fs.exists(path):
        lake.place.write(path, to_bytes(arrays, metadata={_HEADER: _json(facts)}))
    return checkpoint_id


def load(lake: Lake, checkpoint_id: str) -> Checkpoint:
    """Return a checkpoint.

    Raises:
        LakeError: The lake has none of this id, or its file is not what was written.
    """
    try:
        data = lake.place.fs.cat_file(_path(lake, checkpoint_id))
    except FileNotFoundError as error:
        raise _unknown(lake, checkpoint_id) from error
    try:
        state, meta = from_bytes(data), _facts(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _corrupt(lake, checkpoint_id, str(error)) from error
    if (found := _digest(state, meta)) != checkpoint_id:
        raise _corrupt(lake, checkpoint_id, f"its content has the id {found}")
    return Checkpoint(checkpoint_id, state, meta)


def checkpoints(lake: Lake) -> dict[str, dict[str, Any]]:
    """Return {id: meta} of all checkpoints, by id; empty for a lake without. Reads headers only.

    Raises:
        LakeError: A header cannot be read.
    """
    fs, folder = lake.place.fs, lake.place.path(FOLDER)
    if not fs.exists(folder):
        return {}
    found = {str(entry["name"]).rsplit("/", 1)[-1]: entry for entry in fs.ls(folder, detail=True)}
    ids = {name.removesuffix(SUFFIX): found[name] for name in sorted(found) if name.endswith(SUFFIX)}
    return {
        one: dict(
            _HEADERS.get(
                (lake.place.address, one, *(str(entry.get(fact)) for fact in _CHANGES)),
                partial(_read_header, lake, one),
            )
        )
        for one, entry in ids.items()
        if _ID.fullmatch(one)
    }


def _read_header(lake: Lake, checkpoint_id: str) -> dict[str, Any]:
    with lake.place.fs.open(_path(lake, checkpoint_id), "rb") as file:
        start = file.read(_LENGTH_BYTES)
        size = file.size if hasattr(file, "size") else None
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or (size is not None and length > size):
            raise _corrupt(lake, checkpoint_id, "its header is longer than the file")
        header = file.read(length)
    try:
        return _facts(start + header)
    except (ValueError, KeyError) as error:
        raise _corrupt(lake, checkpoint_id, str(error)) from error


def _facts(data: bytes) -> dict[str, Any]:
    """Return the facts from the start of a file."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    facts = json.loads(header["__metadata__"][_HEADER]) if isinstance(header, dict) else None
    if not isinstance(facts, dict):
        raise ValueError("its header does not say where it comes from")
    return facts


def _digest(state: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> str:
    """Return 32 hex digits over names, types, shapes and numbers of a state, and over its facts."""
    digest = hashlib.sha256()
    digest.update(_json({fact: value for fact, value in meta.items() if fact != _CIRCUMSTANCE}).encode())
    for name in sorted(state):
        array = state[name]
        digest.update(_json([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def _json(value: Any) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, sort_keys=True, allow_nan=False)


def _path(lake: Lake, checkpoint_id: str) -> str:
    if not _ID.fullmatch(checkpoint_id):
        raise _unknown(lake, checkpoint_id)
    return lake.place.path(FOLDER, f"{checkpoint_id}{SUFFIX}")


def _unknown(lake: Lake, checkpoint_id: str) -> LakeError:
    return LakeError(f"{lake.uri} has no checkpoint {checkpoint_id!r}; list them, or train again")


def _corrupt(lake: Lake, checkpoint_id: str, why: str) -> LakeError:
    return LakeError(
        f"checkpoint {checkpoint_id} in {lake.uri} is corrupt: {why}; delete {FOLDER}/{checkpoint_id}{SUFFIX} "
        "and train again"
    )
