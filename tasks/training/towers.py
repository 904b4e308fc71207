"""What training leaves behind: a head a side, and the scale its input is brought to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.heads.contract import Head
from tasks.training._seeding import build_seeded

if TYPE_CHECKING:
    from torch import Tensor, nn

_CHUNK = 8192  # rows that pass a head at once
_SIDES = ("media", "text")


@dataclass(frozen=True)
class Tower:
    """One side: standardise, then the head.

    Args:
        head: (N, D) -> (N, K), rows of unit length.
        mean: (D,) subtracted from the input.
        scale: (D,) the input is divided by afterwards; positive.
    """

    head: "nn.Module"
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, K) unit vectors of (N, D) vectors, float32.

        Raises:
            ValueError: The vectors have another width than the tower was trained on.
        """
        import torch

        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise ValueError(
                f"vectors are {vectors.shape} but this head was trained on (N, {len(self.mean)}); "
                "use the encoder it was trained with"
            )
        starts = range(0, max(len(vectors), 1), _CHUNK)
        with torch.no_grad():
            chunks = [
                self.head(self.standardised(vectors[start : start + _CHUNK])).numpy() for start in starts
            ]
        return np.concatenate(chunks).astype(np.float32)

    def standardised(self, vectors: NDArray[np.float32]) -> "Tensor":
        """Return what the head reads. (N, D), float32."""
        import torch

        return torch.from_numpy(((vectors - self.mean) / self.scale).astype(np.float32, copy=False))


@dataclass(frozen=True)
class Towers:
    """Brings media and texts into one space.

    Args:
        media_tower: Of the media.
        text_tower: Of the texts.
    """

    media_tower: Tower
    text_tower: Tower

    def media(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where media lie. (N, Dm) to (N, K), float32, unit length."""
        return self.media_tower(vectors)

    def text(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where texts lie. (N, Dt) to (N, K), float32, unit length."""
        return self.text_tower(vectors)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of all numbers by name: "media.mean", "media.scale", "media.head.1.weight", ..."""
        state: dict[str, NDArray[np.float32]] = {}
        for side, tower in zip(_SIDES, (self.media_tower, self.text_tower), strict=True):
            state[f"{side}.mean"], state[f"{side}.scale"] = tower.mean.copy(), tower.scale.copy()
            for name, tensor in tower.head.state_dict().items():
                state[f"{side}.head.{name}"] = tensor.detach().cpu().numpy().copy()
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.float32]], head: Head, *, seed: int = 0) -> Self:
        """Return the towers that `state` was taken from.

        Args:
            state: What `state` returned.
            head: The head they were built with.
            seed: Of what a head draws when training goes on, as dropout does.

        Raises:
            DataError: The state lacks arrays, has others, or arrays of another shape than the head's.
        """
        import torch

        towers = []
        for side in _SIDES:
            if f"{side}.mean" not in state or f"{side}.scale" not in state:
                raise DataError(f"the state has no {side}.mean or {side}.scale; it has {sorted(state)}")
            mean = np.array(state[f"{side}.mean"], np.float32)
            scale = np.array(state[f"{side}.scale"], np.float32)
            module = build_seeded(head, len(mean), seed=seed)
            prefix = f"{side}.head."
            weights = {
                name.removeprefix(prefix): torch.from_numpy(np.array(array))
                for name, array in state.items()
                if name.startswith(prefix)
            }
            try:
                module.load_state_dict(weights)
            except RuntimeError as error:
                raise DataError(f"the state is not one of {head} on {len(mean)}-d {side}: {error}") from error
            towers.append(Tower(module.eval(), mean, scale))
        return cls(*towers)
