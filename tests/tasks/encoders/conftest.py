"""Tiny random dual encoders, saved as users have them: a folder written by save_pretrained."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

WORDS = ("a", "red", "blue", "square", "circle", "dog", "barks", "on", "the", "sea", "photo", "of")
TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
PIXELS = {"image_size": 32, "patch_size": 8}
POSITIONS = 16


def tokenizer(**settings: object) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words: <s> w1 w2 ... </s>."""
    vocabulary = {word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special, **settings)


def text_tower(**settings: object) -> dict[str, object]:
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": len(WORDS) + 4}
    return {**TINY, **ids, "max_position_embeddings": POSITIONS, **settings}


def save(folder: Path, *parts: object) -> str:
    for part in parts:
        part.save_pretrained(folder)  # type: ignore[attr-defined]
    return str(folder)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text_tower(), vision_config={**TINY, **PIXELS}, projection_dim=24)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    words = tokenizer(model_input_names=["input_ids", "attention_mask"])
    return save(tmp_path_factory.mktemp("clip"), CLIPModel(config), words, pictures)


@pytest.fixture(scope="session")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    config = SiglipConfig(text_config=text_tower(), vision_config={**TINY, **PIXELS})
    pictures = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    words = tokenizer(model_input_names=["input_ids"])
    return save(tmp_path_factory.mktemp("siglip"), SiglipModel(config), words, pictures)


@pytest.fixture(scope="session")
def clap(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(2)
    sounds = {"patch_size": 4, "patch_stride": [4, 4], "window_size": 4, "num_mel_bins": 64, "spec_size": 256}
    widths = {
        "patch_embeds_hidden_size": 16,
        "hidden_size": 32,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
    }
    config = ClapConfig(
        text_config=text_tower(max_position_embeddings=POSITIONS + 2),
        audio_config={**sounds, **widths, "num_hidden_layers": 2},
        projection_dim=24,
    )
    rates = {"sampling_rate": 8000, "hop_length": 80, "max_length_s": 1, "frequency_max": 4000}
    hearing = ClapFeatureExtractor(**rates, truncation="rand_trunc")
    words = tokenizer(model_input_names=["input_ids", "attention_mask"])
    return save(tmp_path_factory.mktemp("clap"), ClapModel(config), words, hearing)


def pictures(count: int) -> list[NDArray[np.uint8]]:
    chance = np.random.default_rng(3)
    shapes = [(40, 30), (33, 64), (3, 3), (1, 50), (32, 32), (90, 45), (128, 20)]
    return [
        chance.integers(0, 256, (*shapes[i % len(shapes)], 3), dtype=np.uint8) // (1 + i % 3)
        for i in range(count)
    ]


def sounds(count: int) -> list[NDArray[np.float32]]:
    chance = np.random.default_rng(4)
    return [chance.standard_normal(2000 * (i + 1)).astype(np.float32) for i in range(count)]


def texts(count: int) -> list[str]:
    known = [
        "a red square",
        "",
        "the dog barks on the sea",
        "photo of a blue circle",
        "Über 東京!",
        "a " * 60,
        "?!",
    ]
    return [f"{known[i % len(known)]} {'sea ' * (i // len(known))}".strip() for i in range(count)]


@pytest.fixture(scope="session")
def items_of() -> dict[str, Callable[[int], Sequence[object]]]:
    """Items of each kind, of unlike sizes."""
    return {"text": texts, "image": pictures, "audio": sounds}
