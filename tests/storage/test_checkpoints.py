"""Checkpoints: found again by content, written once, and never read broken."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from schemas.errors import LakeError
from storage import checkpoints
from storage.lake import Lake

META = {
    "recipe": {"name": "ncr", "threshold": 0.5},
    "snapshot_id": "000007",
    "snapshot_digest": "ab" * 16,
    "seed": 3,
    "loss": {"name": "info-nce", "params": {"temperature": 0.05}},
    "head": {"name": "linear", "params": {}},
    "run_id": "run-1",
}


def made(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "media.mean": rng.normal(size=5).astype(np.float32),
        "media.head.1.weight": rng.normal(size=(3, 5)).astype(np.float32),
        "steps": np.array(7),
    }


@pytest.fixture(params=["local", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return Lake(
        str(tmp_path) if request.param == "local" else f"memory://{tmp_path.parent.name}-{tmp_path.name}"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def test_a_checkpoint_comes_back_as_it_was_saved(lake):
    state = made()
    found = checkpoints.load(lake, checkpoints.save(lake, state, META))
    assert found.meta == META
    assert found.state.keys() == state.keys()
    for name, array in state.items():
        assert found.state[name].dtype == array.dtype
        np.testing.assert_array_equal(found.state[name], array)


def test_lists_what_is_there_by_id(lake):
    assert checkpoints.checkpoints(lake) == {}
    ids = [checkpoints.save(lake, made(seed), META | {"seed": seed}) for seed in range(3)]
    found = checkpoints.checkpoints(lake)
    assert list(found) == sorted(ids)
    assert [found[checkpoint_id]["seed"] for checkpoint_id in ids] == [0, 1, 2]


def test_the_same_again_is_written_once_whichever_run_it_comes_from(tmp_path, folder):
    lake = Lake(str(tmp_path))
    first = checkpoints.save(lake, made(), META)
    path = folder / f"{first}.safetensors"
    os.utime(path, (1, 1))
    reordered = dict(reversed(list(made().items())))
    assert checkpoints.save(lake, reordered, META | {"run_id": "run-2"}) == first
    assert path.stat().st_mtime == 1
    assert [p.name for p in folder.iterdir()] == [path.name]
    assert checkpoints.load(lake, first).meta["run_id"] == "run-1"


def test_one_content_is_one_file_bit_for_bit(tmp_path):
    data = []
    for name in ("a", "b"):
        checkpoint_id = checkpoints.save(Lake(str(tmp_path / name)), made(), META)
        data.append((tmp_path / name / "checkpoints" / f"{checkpoint_id}.safetensors").read_bytes())
    assert data[0] == data[1]


@pytest.mark.parametrize("fact", [fact for fact in META if fact != "run_id"])
def test_another_fact_is_another_checkpoint(lake, fact):
    assert checkpoints.save(lake, made(), META) != checkpoints.save(lake, made(), META | {fact: "other"})


def test_another_number_name_shape_or_type_is_another_checkpoint(lake):
    state = made()
    weight = state["media.head.1.weight"]
    changed = weight.copy()
    changed[0, 0] = np.nextafter(weight[0, 0], np.float32(9))
    others = [
        state | {"media.head.1.weight": changed},
        state | {"media.head.1.weight": weight.reshape(5, 3)},
        state | {"media.head.1.weight": weight.view(np.int32)},
        {name.replace("media", "text"): array for name, array in state.items()},
    ]
    ids = {checkpoints.save(lake, one, META) for one in [state, *others]}
    assert len(ids) == 5


def test_arrays_that_are_views_are_saved_as_they_read(lake):
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    state = {"turned": whole.T, "strided": whole[::2, ::3]}
    found = checkpoints.load(lake, checkpoints.save(lake, state, META))
    np.testing.assert_array_equal(found.state["turned"], whole.T)
    np.testing.assert_array_equal(found.state["strided"], whole[::2, ::3])


def test_other_programs_can_read_the_file(tmp_path, folder):
    checkpoint_id = checkpoints.save(Lake(str(tmp_path)), made(), META)
    with safe_open(folder / f"{checkpoint_id}.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["checkpoint"]) == META
        np.testing.assert_array_equal(file.get_tensor("media.mean"), made()["media.mean"])


def test_says_when_there_is_no_such_checkpoint(lake):
    for unknown in ("0" * 32, "latest", "../secrets", ""):
        with pytest.raises(LakeError, match="has no checkpoint"):
            checkpoints.load(lake, unknown)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_refuses_a_file_that_ends_early(lake, keep):
    checkpoint_id = checkpoints.save(lake, made(), META)
    path = lake.place.path("checkpoints", f"{checkpoint_id}.safetensors")
    lake.place.write(path, lake.place.fs.cat_file(path)[:keep])
    with pytest.raises(LakeError, match=f"{checkpoint_id} .* is corrupt.*train again"):
        checkpoints.load(lake, checkpoint_id)
    if keep != -1:  # the list reads headers only, and this one is whole
        with pytest.raises(LakeError, match="is corrupt"):
            checkpoints.checkpoints(lake)


@pytest.mark.parametrize("place", [2, 60, -3])
def test_refuses_a_file_with_a_changed_byte(lake, place):
    checkpoint_id = checkpoints.save(lake, made(), META)
    path = lake.place.path("checkpoints", f"{checkpoint_id}.safetensors")
    data = bytearray(lake.place.fs.cat_file(path))
    data[place] ^= 0x11
    lake.place.write(path, bytes(data))
    with pytest.raises(LakeError, match="is corrupt"):
        checkpoints.load(lake, checkpoint_id)


@pytest.mark.parametrize("metadata", [None, {"checkpoint": "[]"}, {"checkpoint": "no"}])
def test_refuses_a_file_of_somebody_else(lake, metadata):
    from safetensors.numpy import save

    path = lake.place.path("checkpoints", f"{'0' * 32}.safetensors")
    lake.place.write(path, save(made(), metadata=metadata))
    with pytest.raises(LakeError, match="is corrupt"):
        checkpoints.load(lake, "0" * 32)
    with pytest.raises(LakeError, match="is corrupt"):
        checkpoints.checkpoints(lake)


def test_half_written_and_other_files_are_not_listed(tmp_path, folder):
    folder.mkdir()
    (folder / "notes.safetensors").write_bytes(b"mine")
    (folder / f"{'0' * 32}.safetensors.12.part").write_bytes(b"half")
    assert checkpoints.checkpoints(Lake(str(tmp_path))) == {}


@pytest.mark.parametrize("fact", META)
def test_refuses_a_checkpoint_that_does_not_say_where_it_comes_from(lake, fact):
    with pytest.raises(ValueError, match=f"lacks {fact}"):
        checkpoints.save(lake, made(), {k: v for k, v in META.items() if k != fact})


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), np.float32(1)])
def test_refuses_facts_that_are_not_json(lake, value):
    with pytest.raises(ValueError, match="not JSON"):
        checkpoints.save(lake, made(), META | {"recipe": {"x": value}})


def test_refuses_a_state_without_arrays(lake):
    with pytest.raises(ValueError, match="no arrays"):
        checkpoints.save(lake, {}, META)
