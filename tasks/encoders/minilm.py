"""Texts alone: sentence vectors, for what learns its own common space."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.encoders import _lite_features
from tasks.encoders.contract import Items, kind_of
from tasks.encoders.identity import EXECUTION


@dataclass(frozen=True)
class MiniLM:
    """Where English texts lie by what they mean; media have no place in this space.

    Args:
        batch_size: Texts in one pass; changes speed and memory only.

    Raises:
        ValueError: `batch_size` is under 1.
    """

    name: ClassVar[str] = "minilm"
    source: ClassVar[Source] = Source(
        title="MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers",
        authors="Wang et al.",
        year=2020,
        url="https://arxiv.org/abs/2002.10957",
        departs="the sentence-transformers checkpoint all-MiniLM-L6-v2; reads 128 tokens",
    )
    modalities: ClassVar[frozenset[str]] = frozenset({"text"})

    batch_size: int = field(default=64, metadata=EXECUTION)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1: {self}")

    @property
    def dim(self) -> int:
        """Return D, 384."""
        return _lite_features.TEXT_FEATURES

    def weights_digest(self) -> str:
        """Return SHA-256 hex over the backbone's files.

        Raises:
            EncoderError: A file is missing.
        """
        return _lite_features.backbone_digest()

    def __call__(self, items: Items) -> NDArray[np.float32]:
        """Return where texts lie. Shape (N, 384), float32, unit length.

        Raises:
            ValueError: The items are no texts.
        """
        kind = kind_of(items)
        if not kind:
            return np.empty((0, self.dim), np.float32)
        if kind != "text":
            raise ValueError(f"{self.name} takes texts; found {kind}")
        return _lite_features.text_features(items, self.batch_size)  # type: ignore[arg-type]
