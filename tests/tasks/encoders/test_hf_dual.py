"""Ours against transformers called by hand, and every way weights can be wrong."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    ClapFeatureExtractor,
)

from schemas.errors import EncoderError, InvalidParameter
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.encoders import hf_dual
from tasks.encoders.hf_dual import HfDual, batch_size_for, in_batches, middle

TEXTS = ["a red square", "the dog barks on the sea", "photo of a blue circle"]
COMMIT = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"


def by_hand(features: object) -> NDArray[np.float32]:
    pooled = features.pooler_output.detach().numpy()  # type: ignore[attr-defined]
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


@pytest.fixture
def copy_of_clip(clip: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip, tmp_path / "clip"))


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_pictures_match_transformers_called_by_hand(
    family: str, request: pytest.FixtureRequest, items_of: dict[str, object]
) -> None:
    folder = request.getfixturevalue(family)
    pictures = [p for p in items_of["image"](7) if min(p.shape[:2]) > 3]  # type: ignore[operator]
    pixels = AutoImageProcessor.from_pretrained(folder)(images=pictures, return_tensors="pt")
    expected = by_hand(AutoModel.from_pretrained(folder).eval().get_image_features(**pixels))
    np.testing.assert_allclose(HfDual(folder)(pictures), expected, atol=1e-5)


@pytest.mark.parametrize(("family", "padding"), [("clip", True), ("siglip", "max_length"), ("clap", True)])
def test_texts_match_transformers_called_by_hand(
    family: str, padding: object, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family)
    cut = {"padding": padding, "truncation": True, "max_length": 16}
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, **cut, return_tensors="pt")
    expected = by_hand(AutoModel.from_pretrained(folder).eval().get_text_features(**tokens))
    np.testing.assert_allclose(HfDual(folder)(TEXTS), expected, atol=1e-5)


def test_sounds_match_transformers_called_by_hand(clap: str, items_of: dict[str, object]) -> None:
    sounds = items_of["audio"](4)  # type: ignore[operator]  # up to 8000 samples, all the model reads
    mel = AutoFeatureExtractor.from_pretrained(clap)(sounds, sampling_rate=8000, return_tensors="pt")
    expected = by_hand(AutoModel.from_pretrained(clap).eval().get_audio_features(**mel))
    np.testing.assert_allclose(HfDual(clap)(sounds), expected, atol=1e-5)


def test_a_long_sound_is_its_first_second(clap: str, items_of: dict[str, object]) -> None:
    long = items_of["audio"](7)[6]  # type: ignore[operator]
    np.testing.assert_array_equal(HfDual(clap)([long]), HfDual(clap)([long[:8000]]))


def test_knows_what_each_model_takes(clip: str, clap: str) -> None:
    assert HfDual.modalities == {"text", "image", "audio"}
    assert HfDual(clip).modalities == {"text", "image"} and HfDual(clip).sampling_rate_hz is None
    assert HfDual(clap).modalities == {"text", "audio"} and HfDual(clap).sampling_rate_hz == 8000
    with pytest.raises(EncoderError, match="encodes image, text, but the items are audio"):
        HfDual(clip)([np.zeros(9, np.float32)])


def test_long_texts_are_cut_to_what_the_model_reads(clip: str, clap: str) -> None:
    for folder in (clip, clap):  # 16 positions: 14 words between <s> and </s>
        long, cut = HfDual(folder)(["sea " * 50, "sea " * 14])
        np.testing.assert_allclose(long, cut, atol=1e-6)
    short, three = HfDual(clip, max_length=5)(["red blue dog sea sea", "red blue dog"])
    np.testing.assert_allclose(short, three, atol=1e-6)


def test_a_line_of_a_picture_is_encoded_by_its_middle(clip: str) -> None:
    line = np.zeros((2, 100_000, 3), np.uint8)
    line[:, 49_992:50_008] = 200
    assert middle(line).shape == (2, 16, 3) and (middle(line) == 200).all()
    assert middle(line.transpose(1, 0, 2)).shape == (16, 2, 3)
    np.testing.assert_array_equal(HfDual(clip)([line]), HfDual(clip)([np.full((2, 16, 3), 200, np.uint8)]))


@pytest.mark.parametrize(
    "file", ["model.safetensors", "tokenizer.json", "config.json", "preprocessor_config.json"]
)
def test_any_changed_file_changes_the_digest(copy_of_clip: Path, file: str) -> None:
    before = HfDual(str(copy_of_clip)).weights_digest()
    content = bytearray((copy_of_clip / file).read_bytes())
    content[-2] ^= 1
    (copy_of_clip / file).write_bytes(content)
    assert HfDual(str(copy_of_clip)).weights_digest() != before


def test_a_readme_does_not_change_the_digest(copy_of_clip: Path) -> None:
    before = HfDual(str(copy_of_clip)).weights_digest()
    (copy_of_clip / "README.md").write_text("new")
    assert HfDual(str(copy_of_clip)).weights_digest() == before


def test_changed_weights_are_opened_anew(copy_of_clip: Path) -> None:
    before = HfDual(str(copy_of_clip))(TEXTS)
    weights = load_file(copy_of_clip / "model.safetensors")
    weights["text_projection.weight"] *= torch.arange(1, 25)[:, None]
    save_file(weights, copy_of_clip / "model.safetensors", metadata={"format": "pt"})
    assert not np.allclose(HfDual(str(copy_of_clip))(TEXTS), before, atol=1e-3)


def test_weights_are_opened_once_per_process_however_many_threads(copy_of_clip: Path) -> None:
    opened = hf_dual._open.cache_info().misses
    with ThreadPoolExecutor(4) as pool:
        vectors = list(
            pool.map(lambda size: HfDual(str(copy_of_clip), batch_size=size)(TEXTS), [1, 2, 3, 4] * 3)
        )
    assert hf_dual._open.cache_info().misses == opened + 1
    for other in vectors[1:]:
        np.testing.assert_allclose(other, vectors[0], atol=1e-5)


def test_making_one_opens_nothing(clip: str) -> None:
    code = (
        "import sys; from tasks.encoders import ENCODERS; from tasks.encoders.hf_dual import HfDual;"
        f"HfDual({clip!r});"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:7], COMMIT.upper()])
def test_refuses_a_hub_id_that_is_not_pinned(revision: str | None) -> None:
    with pytest.raises(InvalidParameter, match="must be pinned.*write revision"):
        HfDual("openai/clip-vit-base-patch32", revision=revision)


def test_takes_a_pinned_hub_id_without_asking_the_hub() -> None:
    assert HfDual("openai/clip-vit-base-patch32", revision=COMMIT).revision == COMMIT


def test_refuses_a_revision_of_a_folder_and_sizes_under_one(clip: str) -> None:
    for wrong in ({"revision": COMMIT}, {"batch_size": 0}, {"max_length": 0}):
        with pytest.raises(InvalidParameter):
            HfDual(clip, **wrong)  # type: ignore[arg-type]


def test_is_built_from_a_recipe(clip: str) -> None:
    methods = {"hf-dual": HfDual}
    assert build(methods, MethodRef(name="hf-dual", params={"model": clip, "batch_size": 2})).batch_size == 2
    with pytest.raises(InvalidParameter, match="must be pinned"):
        build(methods, MethodRef(name="hf-dual", params={"model": "openai/clip-vit-base-patch32"}))
    with pytest.raises(InvalidParameter, match="float32"):
        build(methods, MethodRef(name="hf-dual", params={"model": clip, "dtype": "float8"}))


def test_refuses_a_folder_without_safetensors(copy_of_clip: Path) -> None:
    weights = load_file(copy_of_clip / "model.safetensors")
    (copy_of_clip / "model.safetensors").unlink()
    torch.save(weights, copy_of_clip / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"must hold config.json and model.safetensors"):
        HfDual(str(copy_of_clip))(TEXTS)


def test_refuses_weights_that_transformers_would_draw_at_random(copy_of_clip: Path) -> None:
    weights = load_file(copy_of_clip / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, copy_of_clip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        EncoderError, match="lacks 1 of the model's weights, 'visual_projection.weight' first"
    ):
        HfDual(str(copy_of_clip))(TEXTS)


def test_refuses_truncated_weights(copy_of_clip: Path) -> None:
    content = (copy_of_clip / "model.safetensors").read_bytes()
    (copy_of_clip / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError, match="cannot open"):
        HfDual(str(copy_of_clip))(TEXTS)


def test_refuses_weights_that_give_no_direction(copy_of_clip: Path) -> None:
    weights = load_file(copy_of_clip / "model.safetensors")
    weights["text_projection.weight"][:] = torch.nan
    save_file(weights, copy_of_clip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="no direction .* for 3 of 3"):
        HfDual(str(copy_of_clip))(TEXTS)


def test_refuses_a_model_of_texts_alone(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="'bert', which is no dual encoder"):
        HfDual(str(tmp_path))(TEXTS)


def test_refuses_code_that_comes_with_a_model(copy_of_clip: Path) -> None:
    config = json.loads((copy_of_clip / "config.json").read_text())
    config |= {"model_type": "stranger", "auto_map": {"AutoConfig": "ours.Config", "AutoModel": "ours.Model"}}
    (copy_of_clip / "config.json").write_text(json.dumps(config))
    (copy_of_clip / "ours.py").write_text("raise SystemExit('ran')")
    with pytest.raises(EncoderError, match="cannot read"):
        HfDual(str(copy_of_clip))(TEXTS)


def test_bfloat16_stays_near_float32_and_comes_out_as_float32(clip: str) -> None:
    half = HfDual(clip, dtype="bfloat16", device="cpu")(TEXTS)
    assert half.dtype == np.float32
    np.testing.assert_allclose((half * HfDual(clip)(TEXTS)).sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("kind", ["cuda", "host"])
def test_batches_halve_when_memory_runs_out_and_nothing_is_lost(kind: str) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory") if kind == "cuda" else MemoryError()
    sizes: list[int] = []

    def takes_three(batch: Sequence[int]) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error
        return list(batch)

    assert sum(in_batches(takes_three, range(10), 8), []) == list(range(10))
    assert sizes == [8, 4, 2, 2, 2, 2, 2]


def test_one_item_too_large_and_other_errors_are_raised() -> None:
    def never(batch: Sequence[int]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(batch: Sequence[int]) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(torch.OutOfMemoryError):
        in_batches(never, range(4), 4)
    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(broken, range(4), 4)


def test_batches_fit_the_free_memory() -> None:
    assert 1 <= batch_size_for(torch.device("cpu")) <= 32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_and_processor_agree(clip: str, items_of: dict[str, object]) -> None:
    for items in (TEXTS, items_of["image"](7)):  # type: ignore[operator]
        on_gpu = HfDual(clip, device="cuda")(items)
        np.testing.assert_allclose(on_gpu, HfDual(clip, device="cpu")(items), atol=1e-3)


def test_a_picture_of_three_rows_keeps_its_colour(siglip: str) -> None:
    # an array of (3, 3, 3) could be read with its channels first
    small, large = np.zeros((3, 3, 3), np.uint8), np.zeros((40, 40, 3), np.uint8)
    small[..., 0] = large[..., 0] = 220
    np.testing.assert_allclose(HfDual(siglip)([small]), HfDual(siglip)([large]), atol=1e-6)


def test_no_sound_of_a_batch_is_drawn_to_be_the_longer_one(items_of: dict[str, object]) -> None:
    fused = ClapFeatureExtractor(sampling_rate=8000, hop_length=80, max_length_s=1, frequency_max=4000)
    opened = hf_dual._Opened(None, None, None, fused, threading.Lock())
    inputs = opened.of_sounds(items_of["audio"](7))  # type: ignore[operator]
    assert inputs["is_longer"].shape == (7, 1) and not inputs["is_longer"].any()
