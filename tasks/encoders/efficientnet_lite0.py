"""Pictures alone: pooled features of a small classifier, for what learns its own common space."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.encoders import _lite_features
from tasks.encoders.contract import Items, kind_of
from tasks.encoders.identity import EXECUTION


@dataclass(frozen=True)
class EfficientNetLite0:
    """Where pictures lie by what an ImageNet classifier sees in them; texts have no place in this space.

    Vectors are the pooled last feature map, the mean over the picture and its mirror image.

    Args:
        batch_size: Pictures in one pass; changes speed and memory only.

    Raises:
        ValueError: `batch_size` is under 1.
    """

    name: ClassVar[str] = "efficientnet-lite0"
    source: ClassVar[Source] = Source(
        title="EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        authors="Tan and Le",
        year=2019,
        url="https://arxiv.org/abs/1905.11946",
        departs="the Lite0 variant without squeeze-and-excitation; mean over the picture and its mirror image",
    )
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})

    batch_size: int = field(default=16, metadata=EXECUTION)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1: {self}")

    @property
    def dim(self) -> int:
        """Return D, 1280."""
        return _lite_features.FEATURES

    def weights_digest(self) -> str:
        """Return SHA-256 hex over the backbone's files.

        Raises:
            EncoderError: A file is missing.
        """
        return _lite_features.backbone_digest()

    def __call__(self, items: Items) -> NDArray[np.float32]:
        """Return where pictures lie. Shape (N, 1280), float32, unit length.

        Raises:
            ValueError: The items are no pictures.
        """
        kind = kind_of(items)
        if not kind:
            return np.empty((0, self.dim), np.float32)
        if kind != "image":
            raise ValueError(f"{self.name} takes pictures; found {kind}")
        pooled = _lite_features.image_views(items, self.batch_size).mean(axis=0)  # type: ignore[arg-type]
        length = np.linalg.norm(pooled, axis=1, keepdims=True)
        return np.asarray(pooled / np.maximum(length, 1e-12), dtype=np.float32)
