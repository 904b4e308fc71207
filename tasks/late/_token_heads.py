"""Two small linear heads that take tokens of frozen backbones to one space, trained on pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.late.contract import Tokens

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TokenHeads:
    """Fitted heads: a token x of a side lies at the unit vector of (x - mean) @ map.

    Args:
        media_mean: (D_m,).
        media_map: (D_m, width).
        text_mean: (D_t,).
        text_map: (D_t, width).
    """

    media_mean: Floats
    media_map: Floats
    text_mean: Floats
    text_map: Floats

    def media(self, tokens: Floats) -> Floats:
        """Return where tokens of media lie. (..., D_m) to (..., width), float32, unit length."""
        return _unit((tokens - self.media_mean) @ self.media_map)

    def text(self, tokens: Floats) -> Floats:
        """Return where tokens of texts lie. (..., D_t) to (..., width), float32, unit length."""
        return _unit((tokens - self.text_mean) @ self.text_map)

    def state(self) -> dict[str, Floats]:
        """Return everything there is to keep, by name."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Floats]) -> "TokenHeads":
        """Return the heads that `state` was taken from.

        Raises:
            DataError: An array is missing.
        """
        names = tuple(cls.__dataclass_fields__)
        if missing := [name for name in names if name not in state]:
            raise DataError(
                f"the state of token heads needs {', '.join(names)}; {', '.join(missing)} is missing"
            )
        return cls(**{name: state[name] for name in names})


@dataclass(frozen=True)
class Lesson:
    """How heads are trained: symmetric InfoNCE over batches of pairs.

    Args:
        compare: "late": each direction by the mean of best matches of its own tokens; "pooled": the cosine of the
            two sides' mean tokens, each taken through its head, which is the same number of weights.
        width: d of what comes out.
        epochs: Times every pair is seen.
        batch: Pairs in a batch.
        rate: Of Adam, falling to 0 along a cosine.
        decay: Weight decay.
        temperature: Divides similarities.
        seed: Of the start and of the order.

    Raises:
        ValueError: A parameter is out of range.
    """

    compare: Literal["late", "pooled"] = "late"
    width: int = 64
    epochs: int = 15
    batch: int = 128
    rate: float = 1e-3
    decay: float = 1e-2
    temperature: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.compare not in ("late", "pooled"):
            raise ValueError(f"compare must be late or pooled: {self}")
        if min(self.width, self.epochs) < 1 or self.batch < 2:
            raise ValueError(f"width and epochs must be at least 1 and batch at least 2: {self}")
        if min(self.rate, self.temperature) <= 0 or self.decay < 0:
            raise ValueError(f"rate and temperature must be positive and decay not negative: {self}")

    def __call__(self, media: Floats, texts: Sequence[Floats]) -> TokenHeads:
        """Return heads trained on pairs.

        Args:
            media: (N, m, D_m) tokens of each medium.
            texts: N texts' tokens, (n, D_t) each; text i belongs to medium i.

        Raises:
            DataError: The sides are not of the same pairs, or there are fewer than two.
        """
        import torch

        if len(media) != len(texts) or len(media) < 2:
            raise DataError(
                f"heads learn from at least 2 pairs; found {len(media)} media and {len(texts)} texts"
            )
        padded = Tokens.of(texts)
        media_mean = media.mean(axis=(0, 1))
        text_mean = padded.vectors[padded.mask].mean(axis=0)
        scales = [float(np.sqrt(((media - media_mean) ** 2).mean()))]
        scales.append(float(np.sqrt(((padded.vectors[padded.mask] - text_mean) ** 2).mean())))
        made = torch.Generator().manual_seed(self.seed)
        maps = [
            (torch.randn(width, self.width, generator=made) / width**0.5).requires_grad_()
            for width in (media.shape[2], padded.vectors.shape[2])
        ]
        optimiser = torch.optim.AdamW(maps, lr=self.rate, weight_decay=self.decay)
        order = np.random.default_rng(self.seed)
        steps = self.epochs * max(1, len(media) // self.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(self.epochs):
            rows = order.permutation(len(media))
            for start in range(0, max(1, len(rows) - self.batch + 1), self.batch):
                part = rows[start : start + self.batch]
                seen = torch.from_numpy((media[part] - media_mean) / scales[0]).float()
                longest = int(padded.mask[part].sum(axis=1).max())
                words = (padded.vectors[part, :longest] - text_mean) / scales[1]
                said, mask = torch.from_numpy(words).float(), torch.from_numpy(padded.mask[part, :longest])
                loss = self._loss(seen, said, mask, maps)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
        found = [matrix.detach().numpy() / scale for matrix, scale in zip(maps, scales, strict=True)]
        state = media_mean, found[0], text_mean, found[1]
        return TokenHeads(*(np.asarray(part, np.float32) for part in state))

    def _loss(
        self, seen: "torch.Tensor", said: "torch.Tensor", mask: "torch.Tensor", maps: "list[torch.Tensor]"
    ) -> "torch.Tensor":
        import torch
        from torch.nn.functional import cross_entropy, normalize

        target = torch.arange(len(seen))
        if self.compare == "pooled":
            words = (said * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
            cosines = normalize(seen.mean(dim=1) @ maps[0], dim=1) @ normalize(words @ maps[1], dim=1).T
            to_text = to_media = cosines / self.temperature
        else:
            media, text = normalize(seen @ maps[0], dim=2), normalize(said @ maps[1], dim=2)
            cosines = torch.einsum("imd,jnd->ijmn", media, text)  # (B, B, m, n)
            there = mask[None, :, None, :]
            best = cosines.masked_fill(~there, -torch.inf).amax(dim=3)  # of each region among the words
            to_text = best.mean(dim=2) / self.temperature
            found = (cosines.amax(dim=2) * mask[None]).sum(dim=2) / mask.sum(dim=1)[None]
            to_media = found / self.temperature
        return (cross_entropy(to_text, target) + cross_entropy(to_media.T, target)) / 2


def _unit(vectors: NDArray[np.floating[Any]]) -> Floats:
    lengths = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return np.asarray(vectors / lengths, np.float32)
