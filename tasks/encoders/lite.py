"""The encoder that works offline: two small frozen backbones and a head trained here."""

import functools
import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from schemas.errors import EncoderError
from schemas.source import Source
from tasks.encoders import _lite_features
from tasks.encoders.contract import Items, kind_of
from tasks.encoders.identity import EXECUTION

HEAD = Path(__file__).with_name("lite_head.safetensors")
HINGE = 0.5  # the constant that a hubness coordinate is multiplied with on the other side
Weights = dict[str, NDArray[np.float32]]
Floats = NDArray[np.floating[Any]]
_OPENING = threading.Lock()  # lru_cache alone lets two threads open the same weights at once


@dataclass(frozen=True)
class Lite:
    """Joins two spaces: what a picture is called, and what a trained map makes of it.

    A vector is two halves. The first is the class bridge: a picture lies at the weighted mean of the
    sentence vectors of the ImageNet classes it resembles more than drawings on average do, a text at its own
    sentence vector. It knows photographs. The second is a linear map per side, trained with InfoNCE on clip
    art and emoji. It knows drawings. Two more coordinates take from the similarity of a pair half of how
    close each of the two is to anchors of the other side, as CSLS does: what is near everything is no answer
    to anything. Up to a constant and near-unit factors, the dot product is the weighted mean of the halves'
    cosines less that.

    It knows English only, and of pictures what 1,000 classes and 12,000 drawings teach.

    Args:
        batch_size: Pictures in one pass of the backbone; changes speed and memory only.

    Raises:
        ValueError: `batch_size` is under 1.

    Example:
        >>> picture = np.full((64, 64, 3), 255, np.uint8)
        >>> Lite()([picture]).shape, Lite()(["a red kangaroo"]).shape
        ((1, 768), (1, 768))
    """

    name: ClassVar[str] = "lite"
    source: ClassVar[Source] = Source(
        title="Zero-Shot Learning by Convex Combination of Semantic Embeddings",
        authors="Norouzi et al.",
        year=2014,
        url="https://arxiv.org/abs/1312.5650",
        departs="EfficientNet-Lite0 classes and MiniLM sentence vectors of names and definitions; "
        "joined with a linear head trained by symmetric InfoNCE (Radford et al., 2021) on frozen features; "
        "hubs corrected as in CSLS (Conneau et al., 2018) against fixed anchors",
    )
    modalities: ClassVar[frozenset[str]] = frozenset({"image", "text"})

    batch_size: int = field(default=16, metadata=EXECUTION)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1: {self}")

    @property
    def dim(self) -> int:
        """Return D: 384 of the bridge, 382 trained, 2 against hubs."""
        return 2 * _lite_features.TEXT_FEATURES

    def weights_digest(self) -> str:
        """Return SHA-256 hex over the head and the files of both backbones.

        Raises:
            EncoderError: A file is missing.
        """
        return hashlib.sha256((_head_digest() + _lite_features.backbone_digest()).encode()).hexdigest()

    def __call__(self, items: Items) -> NDArray[np.float32]:
        """Return where texts or pictures lie. Shape (N, 768), float32, unit length.

        Raises:
            ValueError: The items are of several kinds, or sounds.
            EncoderError: The head cannot be read.
        """
        kind = kind_of(items)
        if not kind:
            return np.empty((0, self.dim), np.float32)
        if kind not in self.modalities:
            raise ValueError(f"lite takes texts or pictures, one kind at a time; found {kind}")
        weights = _head()
        if kind == "text":
            return place_texts(_lite_features.text_features(items), weights)  # type: ignore[arg-type]
        seen = _lite_features.image_features(items, self.batch_size)  # type: ignore[arg-type]
        return place_images(seen, weights)


def place_texts(features: NDArray[np.float32], weights: Weights) -> NDArray[np.float32]:
    """Return the texts' vectors, (N, 768), from their sentence vectors, (N, 384)."""
    joined = join_texts(features, weights)
    hub = _hubness(joined, weights["anchor_media"], weights) - weights["text_hubness"]
    return _unit(np.concatenate([joined, -hub / HINGE, np.full_like(hub, HINGE)], axis=1))


def place_images(seen: _lite_features.ImageFeatures, weights: Weights) -> NDArray[np.float32]:
    """Return the pictures' vectors, (N, 768), from pooled features and class logits."""
    joined = join_images(seen, weights)
    hub = _hubness(joined, weights["anchor_text"], weights) - weights["media_hubness"]
    return _unit(np.concatenate([joined, np.full_like(hub, HINGE), -hub / HINGE], axis=1))


def join_texts(features: NDArray[np.float32], weights: Weights) -> NDArray[np.float32]:
    """Return the two halves of the texts' vectors, (N, 766), unit length."""
    return _join(features, (features - weights["text_mean"]) @ weights["text_map"], weights)


def join_images(seen: _lite_features.ImageFeatures, weights: Weights) -> NDArray[np.float32]:
    """Return the two halves of the pictures' vectors, (N, 766), unit length."""
    above = seen.logits - weights["class_prior"]
    named = class_shares(above, float(weights["bridge_temperature"]), int(weights["bridge_classes"]))
    scaled = (seen.pooled - weights["image_mean"]) / weights["image_scale"]
    trained = scaled @ weights["image_map"] + weights["image_bias"]
    return _join(named @ weights["class_text"], trained, weights)


def class_shares(logits: NDArray[np.float32], temperature: float, classes: int) -> NDArray[np.float32]:
    """Return the softmax of each row, with all but its largest entries set to zero. Shape (N, 1000)."""
    shares = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    kept = np.partition(shares, -classes, axis=1)[:, -classes, None]
    return np.where(shares >= kept, shares, 0).astype(np.float32)


def _join(named: Floats, trained: Floats, weights: Weights) -> NDArray[np.float32]:
    share = float(weights["bridge_share"])  # of the bridge's cosine in the similarity
    halves = (np.sqrt(share) * _unit(named), np.sqrt(1 - share) * _unit(trained))
    return np.concatenate(halves, axis=1).astype(np.float32)


def _hubness(
    joined: NDArray[np.float32], anchors: NDArray[np.float32], weights: Weights
) -> NDArray[np.float32]:
    """Return half the mean similarity to the nearest anchors of the other side. Shape (N, 1)."""
    nearest = int(weights["anchor_neighbours"])
    return np.partition(joined @ anchors.T, -nearest, axis=1)[:, -nearest:].mean(axis=1, keepdims=True) / 2


def _unit(vectors: Floats) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return (vectors / lengths).astype(np.float32)


def open_head(path: Path) -> Weights:
    """Return a head's tensors as float32.

    Raises:
        EncoderError: The file is missing or no safetensors file.
    """
    try:
        return {name: tensor.astype(np.float32) for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"cannot read the lite head {path}: {error}; reinstall xmodal") from error


def _head() -> Weights:
    with _OPENING:
        return _open_committed()


@functools.lru_cache(maxsize=1)
def _open_committed() -> Weights:
    return open_head(HEAD)


@functools.lru_cache(maxsize=1)
def _head_digest() -> str:
    try:
        return hashlib.sha256(HEAD.read_bytes()).hexdigest()
    except OSError as error:
        raise EncoderError(f"cannot read the lite head {HEAD}: {error}; reinstall xmodal") from error
