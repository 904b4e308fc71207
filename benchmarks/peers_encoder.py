"""The peers' network as an encoder, so that the embed job of `benchmarks.compare` runs the same one everywhere.

Importing this adds it to the catalogue; Dask workers import it too (DASK_DISTRIBUTED__WORKER__PRELOAD). The folder of the
peers' scripts is named by XMODAL_BENCH_PEERS.
"""

import os
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.source import Source
from tasks.encoders import ENCODERS
from tasks.encoders.contract import Items

sys.path.insert(0, os.environ["XMODAL_BENCH_PEERS"])
import common  # noqa: E402 - of the peers


@dataclass(frozen=True)
class PeersVit:
    """A seeded vision transformer of four blocks, random weights: it measures engines, not vectors."""

    name: ClassVar[str] = "peers-vit"
    source: ClassVar[Source] = Source(
        title="An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        authors="Dosovitskiy et al.",
        year=2021,
        url="https://arxiv.org/abs/2010.11929",
        departs="four blocks, mean-pooled, random seeded weights",
    )
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})

    @property
    def dim(self) -> int:
        """D, width of the vectors."""
        return 384

    def weights_digest(self) -> str:
        """Return what stands for the weights: they follow from the seed."""
        return "seed 0"

    def __call__(self, items: Items) -> NDArray[np.float32]:
        """Return unit vectors of pictures. Shape (N, 384), float32."""
        if not len(items):
            return np.empty((0, self.dim), np.float32)
        found: NDArray[np.float32] = common.embed_images(
            [Image.fromarray(np.asarray(item)) for item in items]
        )
        return found


ENCODERS.setdefault(PeersVit.name, PeersVit)
