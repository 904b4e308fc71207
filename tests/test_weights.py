"""Nobody's weights run code: no loader of ours opens pickles, and one that is planted as weights stays unopened."""

import ast
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import EncoderError, XmodalError
from schemas.recipes import MethodRef
from storage.checkpoints import load
from storage.lake import Lake
from tasks.captioners import CAPTIONERS
from tasks.catalog import build
from tasks.encoders import ENCODERS
from tests.regexes import sources

# What may stand in the product of each call that could run code it reads, and how.
_UNPICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def evil(path: Path) -> bytes:
    """Return a pickle that makes a file at `path` when it is read; that it would is seen first."""
    data = pickle.dumps(Evil(path), protocol=2)
    pickle.loads(data)
    assert path.exists()
    path.unlink()
    return data


def in_torchs_zip(data: bytes, path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3")
    return path.read_bytes()


@pytest.mark.parametrize("family", ["hf-dual", "hf-vision2seq"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "model.ckpt"])
@pytest.mark.parametrize("code", ["", '"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}, '])
def test_a_pickle_planted_as_weights_runs_nothing(tmp_path, family, name, code):
    trace, folder = tmp_path / "ran", tmp_path / "model"
    folder.mkdir()
    data = evil(trace)
    for each in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        (folder / each).write_text(f'{{{code}"model_type": "clip", "architectures": ["CLIPModel"]}}')
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w')")
    for content in (data, in_torchs_zip(data, tmp_path / "zip"), struct.pack("<Q", 1 << 62) + data):
        (folder / name).write_bytes(content)
        methods = ENCODERS if family == "hf-dual" else CAPTIONERS
        method = build(methods, MethodRef(name=family, params={"model": str(folder)}))
        with pytest.raises(EncoderError):
            method(["a text"])  # weights are opened before anything is looked at
        assert not trace.exists()


def test_a_pickle_planted_as_a_checkpoint_runs_nothing(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    trace = tmp_path / "ran"
    place = Path(lake.place.path("checkpoints", f"{'0' * 32}.safetensors"))
    place.parent.mkdir(parents=True)
    place.write_bytes(evil(trace))
    with pytest.raises(XmodalError, match="corrupt"):
        load(lake, "0" * 32)
    assert not trace.exists()


def test_numpy_reads_no_objects_unless_asked(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Evil(tmp_path / "ran")], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(tmp_path / "a.npy")
    assert not (tmp_path / "ran").exists()


def test_no_module_of_ours_unpickles():
    found = []
    for module, text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = (
                    [name.name for name in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                )
                found += [
                    f"{module}:{node.lineno} imports {name}"
                    for name in names
                    if name.split(".")[0] in _UNPICKLES
                ]
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
            ):
                continue
            call = f"{node.func.value.id}.{node.func.attr}"
            said = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if call == "torch.load" and said.get("weights_only") != "True":
                found.append(f"{module}:{node.lineno} torch.load without weights_only=True")
            if said.get("allow_pickle") == "True" or said.get("trust_remote_code") == "True":
                found.append(f"{module}:{node.lineno} {call} with {said}")
            if call in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") or said.get("shell") == "True":
                found.append(f"{module}:{node.lineno} {call}")
    assert found == []
